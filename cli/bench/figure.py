"""emodna-bench figure: figures of a benchmark, as files, and the numbers behind them."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import out_option
from emodna.cli.options import Command, common_options, config_option
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import write_atomically

_ALL: Final = "all"
_FORMATS: Final = ("png", "svg", "pdf")


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...|all")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(TASKS),
    help="Whose classes are shown; repeatable.  [default: those of the benchmark]",
)
@click.option("--src", metavar="CORPUS", help="Source.  [default: what the figure finds]")
@click.option("--tgt", metavar="CORPUS", help="Target.  [default: what the figure finds]")
@click.option("--seed", type=click.IntRange(min=0), help="Of the runs.  [default: what the figure finds]")
@click.option(
    "--methods",
    multiple=True,
    metavar="METHOD[:KEY=VALUE,...]",
    help="Rows that are shown, in this order; repeatable.  [default: the figure's own]",
)
@click.option("--format", type=click.Choice(_FORMATS), default="png", help="Of the pictures.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the pictures.  [default: figures in that of the benchmark]",
)
@out_option
@config_option
@common_options
def figure(
    names: tuple[str, ...],
    tasks: tuple[Any, ...],
    src: str | None,
    tgt: str | None,
    seed: int | None,
    methods: tuple[str, ...],
    format: str,
    to: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw figures of what is finished; without NAME, list them.

    Each is NAME-TASK.png, with the numbers behind it in NAME-TASK.json beside it. What takes long to work out of a run
    is kept in the benchmark's folder. Existing pictures are overwritten.
    """
    if not names:
        _list_figures(as_json=as_json)
        return
    from emodna.cli.bench.draw import render_file
    from emodna.model.bench import figures

    wanted = list(figures.FIGURES) if _ALL in names else list(dict.fromkeys(names))
    for name in wanted:
        figures.check_figure_name(name)
    experiment = Experiment.read(out)
    for option, corpus in (("--src", src), ("--tgt", tgt)):
        if corpus not in (None, *experiment.corpora):
            raise EmodnaError(f"{option} {corpus}: not in this benchmark; valid: {', '.join(experiment.corpora)}")
    if src is not None and src == tgt:
        raise EmodnaError(f"--src {src} --tgt {tgt}: source and target are the same; a pair has two corpora")
    specs = tuple(map(MethodSpec.parse, methods)) or None
    tasks = tasks or tuple(experiment.tasks)
    to = to or out / "figures"
    written, left_out, failed = [], {}, False
    for name, task in itertools.product(wanted, tasks):
        try:
            picture = figures.make_figure(name, experiment, figures.FigureOptions(task, src, tgt, seed, specs))
            file, numbers = (to / f"{picture.name}-{task}.{suffix}" for suffix in (format, "json"))
            to.mkdir(parents=True, exist_ok=True)
            write_atomically(file, render_file(picture, format))
            write_atomically(numbers, common.format_json(asdict(picture)).encode() + b"\n")
            written.append({"figure": name, "task": task, "file": str(file), "numbers": str(numbers)})
        except EmodnaError as error:
            if _ALL not in names and len(tasks) == 1:
                raise
            left_out[f"{name}, {task}"] = str(error)
            failed = failed or not isinstance(error, figures.NoFigureDataError)
    if as_json:
        common.print_json({"written": written, "left_out": left_out})
    else:
        for each in written:
            common.out.print(f"wrote {common.escape(each['file'])} and {common.escape(Path(each['numbers']).name)}")
        for label, why in left_out.items():
            common.note(f"[yellow]left out:[/yellow] {label}: {common.escape(why)}")
    if failed or not written:
        raise click.exceptions.Exit(1)


def _list_figures(*, as_json: bool) -> None:
    from emodna.model.bench.figures import FIGURES

    if as_json:
        common.print_json([{"figure": name, "summary": entry.summary} for name, entry in FIGURES.items()])
        return
    width = max(map(len, FIGURES))
    for name, entry in FIGURES.items():
        common.out.print(f"{name:{width}}  {common.escape(entry.summary)}")
