"""emodna-bench report: the command."""

import importlib.util
from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.bench.options import check_folder, out_option
from emodna.pipeline.emotions import TASKS

_FILE = "report.html"


@click.command()
@out_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The page; an existing one is overwritten.  [default: {_FILE} in the folder of the benchmark]",
)
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only this task.")
@click.option(
    "--features/--no-features",
    default=True,
    help="Show figures of the trained models' features, which take minutes the first time.",
)
@common.config_option
@common.common_options
def report(
    out: Path,
    to: Path | None,
    tasks: tuple[str, ...],
    features: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write tables, figures and all cells as one HTML page, which needs no network.

    What is not there yet is left out, and the page says so.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    check_folder(to)
    from emodna.model.bench.spec import Experiment
    from emodna.model.errors import BenchError
    from emodna.pipeline.files import write_atomically

    bench = Experiment.read(out)
    if importlib.util.find_spec("plotly") is None:
        raise BenchError("the page needs plotly: pip install 'emodna[figures]'")
    from emodna.cli.bench.report.build import build
    from emodna.cli.bench.report.page import html

    page = build(bench, [task for task in TASKS if task in tasks], common.note, features=features)
    path = to or out / _FILE
    written = html(page).encode("utf-8", "backslashreplace")
    write_atomically(path, written)
    missing = [line for section in page.every_section() for line in section.missing]
    if as_json:
        common.print_json(
            {
                "page": str(path.absolute()),
                "bytes": len(written),
                "sections": [section.id for section in page.every_section()],
                "figures": [figure.id for section in page.every_section() for figure in section.figures],
                "missing": missing,
            }
        )
        return
    for line in missing:
        common.detail(common.safe(line))
    left_out = f"; {len(missing)} parts left out, as the page says" if missing else ""
    common.out.print(f"wrote {common.safe(path)} ({len(written) / 1e6:.1f} MB){left_out}")
