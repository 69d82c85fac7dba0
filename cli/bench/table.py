"""emodna-bench table: the paper's tables, ours beside the paper's numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench.options import out_option

if TYPE_CHECKING:
    from emodna.model.bench.table_data import Table

_NAMES: Final = ("2", "3", "4", "5", "6", "sensitivity", "pairs")
FORMATS: Final = ("text", "markdown", "latex", "csv", "json")
_BY_SUFFIX: Final = {".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}


@click.command()
@click.argument("name", metavar="|".join(_NAMES), type=click.Choice(_NAMES))
@out_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Form of the table.  [default: as the suffix of --to says: .md, .tex, .csv, .json; else text]",
    show_default=False,
)
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of printing.")
@common.config_option
@common.common_options
def table(name: str, out: Path, form: str | None, to: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show one of the paper's tables, ours beside the paper's, or how sensitive Emo-DNA is to its settings.

    2 and 3 compare methods in arousal and valence, 4 leaves out parts of Emo-DNA, 5 adds its contrastive loss to other
    methods, 6 varies its pseudo-labels; `pairs` has all rows that were run, pair by pair. Each number is the mean over
    the targets of a source, then over the sources; its standard deviation is that of this mean over the seeds. A
    benchmark that is not finished has its table, too: it says what is missing, and where ours cannot be compared with
    the paper's.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form}: give one of them")
    form = "json" if as_json else form or (_BY_SUFFIX.get(to.suffix.lower(), "text") if to else "text")
    from emodna.model.bench.plan import Bench
    from emodna.model.bench.tables import table as made

    found = made(Bench.read(out), name)
    if to is not None:
        from emodna.pipeline.files import write_atomically

        write_atomically(to, _written(found, form).encode())
        common.note(f"wrote {common.safe(to)}")
    elif form == "text" and common.out.is_terminal:
        from emodna.cli.bench.formats.text import print_text

        print_text(found, common.out)
    else:
        click.echo(_written(found, form), nl=False)


def _written(found: "Table", form: str) -> str:
    """A table in one of the forms, as a file holds it."""
    match form:
        case "markdown":
            from emodna.cli.bench.formats.markdown import markdown

            return markdown(found)
        case "latex":
            from emodna.cli.bench.formats.latex import latex

            return latex(found)
        case "csv":
            from emodna.cli.bench.formats.values import values

            return values(found)
        case "json":
            from emodna.cli.bench.formats.document import document

            return common.json_text(document(found)) + "\n"
        case _:
            from emodna.cli.bench.formats.text import text

            return text(found)
