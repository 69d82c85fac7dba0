"""emodna-bench table: the paper's tables, ours beside the paper's numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench.options import check_folder, out_option

if TYPE_CHECKING:
    from emodna.model.bench.tables import Table

_NAMES: Final = ("2", "3", "4", "5", "6", "sensitivity", "pairs")
FORMATS: Final = ("text", "markdown", "latex", "csv", "json")
_ALSO: Final = {"md": "markdown", "tex": "latex"}
_BY_SUFFIX: Final = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "text"}


@click.command()
@click.argument("name", metavar="|".join(_NAMES), type=click.Choice(_NAMES))
@out_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, *_ALSO]),
    help="Form of the table; md is markdown, tex latex.  [default: as the suffix of --to says: .md, .tex, .csv, .json, "
    ".txt; printed: text]",
    show_default=False,
)
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of printing.")
@common.config_option
@common.common_options
def table(name: str, out: Path, form: str | None, to: Path | None, as_json: bool) -> None:
    """Show one of the paper's tables, ours beside the paper's, or how sensitive Emo-DNA is to its settings.

    2 and 3 compare methods in arousal and valence, 4 leaves out parts of Emo-DNA, 5 adds its contrastive loss to other
    methods, 6 varies its pseudo-labels; `pairs` has all rows that were run, pair by pair. Each number is the mean over
    the targets of a source, then over the sources; its standard deviation is that of this mean over the seeds. A
    benchmark that is not finished has its table, too: it says what is missing, and where ours cannot be compared with
    the paper's.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form}: give one of them")
    if as_json and to is not None:
        raise click.UsageError("--json prints; to write a file, give --to with --format json")
    form = "json" if as_json else _ALSO.get(form, form) if form else _form_of(to)
    check_folder(to)
    from emodna.model.bench.spec import Experiment
    from emodna.model.bench.tables import table as made

    found = made(Experiment.read(out), name)
    if to is not None:
        from emodna.pipeline.files import write_atomically

        write_atomically(to, _written(found, form).encode())
        common.note(f"wrote {common.safe(to)}")
    elif form == "text" and common.out.is_terminal:
        from emodna.cli.bench.formats import print_text

        print_text(found, common.out)
    else:
        click.echo(_written(found, form), nl=False)


def _form_of(to: Path | None) -> str:
    """The form that a file's suffix asks for; text, where it is printed."""
    from emodna.pipeline.errors import EmodnaError

    if to is None:
        return "text"
    if to.suffix.lower() not in _BY_SUFFIX:
        raise EmodnaError(f"--to {to}: its form is not known by its suffix ({', '.join(_BY_SUFFIX)}); give --format")
    return _BY_SUFFIX[to.suffix.lower()]


def _written(found: "Table", form: str) -> str:
    """Return a table in one of the forms, as a file holds it."""
    from emodna.cli.bench import formats

    if form == "json":
        return common.json_text(formats.document(found)) + "\n"
    return {"markdown": formats.markdown, "latex": formats.latex, "csv": formats.table_csv, "text": formats.text}[form](
        found
    )
