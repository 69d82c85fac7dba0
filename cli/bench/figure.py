"""emodna-bench figure: draw figures of an experiment into files, with their numbers as JSON."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import check_tasks, out_option, task_option
from emodna.cli.options import FOLDER, Command, common_options, config_option
from emodna.cli.wording import word_error
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Experiment
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import write_atomically

_ALL_FIGURES: Final = "all"
_FORMATS: Final = ("png", "svg", "pdf")


@click.command(
    cls=Command,
    groups={"Data": "out tasks src tgt seed methods feature_set", "Output": "format to"},
    examples=("emodna-bench figure", "emodna-bench figure ranks languages --task arousal --format svg"),
)
@click.argument("names", nargs=-1, metavar="[NAME]...|all", help="Figures to draw.  [default: list all names]")
@task_option
@click.option("--src", metavar="CORPUS", help="Source corpus.  [default: chosen by the figure]")
@click.option("--tgt", metavar="CORPUS", help="Target corpus.  [default: chosen by the figure]")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the runs.  [default: chosen by the figure]")
@click.option(
    "--methods",
    multiple=True,
    metavar="SPEC",
    help="Method spec to show, in this order; repeatable.  [default: chosen by the figure]",
)
@click.option("--feature-set", metavar="NAME", help="Show only methods on this feature set.  [default: all]")
@click.option("--format", type=click.Choice(_FORMATS), default="png", help="File format.")
@click.option("--to", type=FOLDER, help="Folder to write to.  [default: <out>/figures]")
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
    feature_set: str | None,
    format: str,
    to: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw figures from finished runs, or list all figures.

    Writes NAME-TASK.png and its numbers, NAME-TASK.json; existing files are replaced. Slow analyses of a run are saved
    in the experiment folder. SPEC is a method with optional settings, such as dan:add=scl.
    """
    if not names:
        _list_figures(as_json=as_json)
        return
    from emodna.cli.bench.draw import render_file
    from emodna.model.bench import figures

    figure_names = list(figures.FIGURES) if _ALL_FIGURES in names else list(dict.fromkeys(names))
    for name in figure_names:
        figures.check_figure_name(name)
    experiment = Experiment.read(out)
    check_tasks(experiment, tasks)
    if feature_set is not None:
        experiment = experiment.select_feature_set(feature_set)
    for field, corpus in (("src", src), ("tgt", tgt)):
        if corpus not in (None, *experiment.corpora):
            raise EmodnaError("not in the experiment", field=field, value=corpus, valid=experiment.corpora)
    if src is not None and src == tgt:
        raise EmodnaError("also given as --src", field="tgt", value=tgt, remedy="choose two different corpora")
    specs = tuple(experiment.resolve_spec(MethodSpec.parse(text)) for text in methods) or None
    tasks = tasks or tuple(experiment.tasks)
    to = to or out / "figures"
    written_files, left_out, failed = [], {}, False
    for name, task in itertools.product(figure_names, tasks):
        try:
            data = figures.make_figure(name, experiment, figures.FigureOptions(task, src, tgt, seed, specs))
            file, numbers = (to / f"{data.name}-{task}.{suffix}" for suffix in (format, "json"))
            to.mkdir(parents=True, exist_ok=True)
            write_atomically(file, render_file(data, format))
            write_atomically(numbers, common.format_json(asdict(data)).encode() + b"\n")
            written_files.append({"figure": name, "task": task, "file": str(file), "numbers": str(numbers)})
        except EmodnaError as error:
            if _ALL_FIGURES not in names and len(tasks) == 1:
                raise
            left_out[f"{name}, {task}"] = error
            failed = failed or not isinstance(error, figures.NoFigureDataError)
    if as_json:
        errors = {label: word_error(error) for label, error in left_out.items()}
        common.print_json({"written": written_files, "left_out": errors})
    else:
        for each in written_files:
            common.out.print(f"wrote {common.escape(each['file'])} and {common.escape(Path(each['numbers']).name)}")
        for label, reason in left_out.items():
            common.note(f"[yellow]left out:[/yellow] {label}: {common.escape(word_error(reason))}")
    if failed or not written_files:
        raise click.exceptions.Exit(1)


def _list_figures(*, as_json: bool) -> None:
    from emodna.model.bench.figures import FIGURES

    if as_json:
        common.print_json([{"figure": name, "summary": entry.summary} for name, entry in FIGURES.items()])
        return
    width = max(map(len, FIGURES))
    for name, entry in FIGURES.items():
        common.out.print(f"{name:{width}}  {common.escape(entry.summary)}")
