"""emodna-bench report: write all tables and figures of an experiment as one HTML page."""

from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.bench import check_output, check_tasks, format_count, out_option, task_option
from emodna.cli.options import FILE, Command, common_options, config_option
from emodna.model.bench.spec import Experiment
from emodna.pipeline.files import write_atomically

_FILE = "report.html"


@click.command(
    cls=Command,
    groups={"Data": "out tasks features", "Output": "to"},
    examples=("emodna-bench report", "emodna-bench report --task arousal --no-features --to report.html"),
)
@out_option
@click.option("--to", type=FILE, help=f"HTML file to write or replace.  [default: <out>/{_FILE}]")
@task_option
@click.option(
    "--features/--no-features", default=True, help="Show figures of the models' features; takes minutes the first time."
)
@config_option
@common_options
def report(out: Path, to: Path | None, tasks: tuple[str, ...], features: bool, as_json: bool) -> None:
    """Write all tables, figures and the list of runs as one HTML page.

    The page loads nothing from the network. It lists the parts that are missing because their runs are not finished.
    """
    check_output(to)
    from emodna.cli.bench.page import build_page, render_page

    experiment = Experiment.read(out)
    check_tasks(experiment, tasks)
    page = build_page(experiment, tasks, common.note, features=features)
    path = to or out / _FILE
    content = render_page(page).encode("utf-8", "backslashreplace")
    write_atomically(path, content)
    sections = [each for section in page.sections for each in (section, *section.parts)]
    missing = [line for section in sections for line in section.missing]
    if as_json:
        common.print_json(
            {
                "page": str(path.absolute()),
                "bytes": len(content),
                "sections": [section.id for section in sections],
                "figures": [figure.id for section in sections for figure in section.figures],
                "missing": missing,
            }
        )
        return
    for line in missing:
        common.detail(common.escape(line))
    left_out = f"; {format_count(missing, 'part')} left out, listed on the page" if missing else ""
    common.out.print(f"wrote {common.escape(path)} ({len(content) / 1e6:.1f} MB){left_out}")
