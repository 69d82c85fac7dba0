"""Command `emodna-bench report`: all tables and figures of an experiment as one page."""

from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.bench import check_folder, out_option
from emodna.cli.options import Command, common_options, config_option
from emodna.model.bench.spec import Experiment
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.files import write_atomically

_FILE = "report.html"


@click.command(cls=Command)
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
@config_option
@common_options
def report(
    out: Path,
    to: Path | None,
    tasks: tuple[Task, ...],
    features: bool,
    as_json: bool,
) -> None:
    """Write tables, figures and all cells as one HTML page, which needs no network.

    What is not there yet is left out, and the page says so.
    """
    check_folder(to)
    from emodna.cli.bench.page import build_page, html

    page = build_page(Experiment.read(out), tasks, common.note, features=features)
    path = to or out / _FILE
    written = html(page).encode("utf-8", "backslashreplace")
    write_atomically(path, written)
    sections = [each for section in page.sections for each in (section, *section.parts)]
    missing = [line for section in sections for line in section.missing]
    if as_json:
        common.print_json(
            {
                "page": str(path.absolute()),
                "bytes": len(written),
                "sections": [section.id for section in sections],
                "figures": [figure.id for section in sections for figure in section.figures],
                "missing": missing,
            }
        )
        return
    for line in missing:
        common.detail(common.escape(line))
    left_out = f"; {len(missing)} parts left out, as the page says" if missing else ""
    common.out.print(f"wrote {common.escape(path)} ({len(written) / 1e6:.1f} MB){left_out}")
