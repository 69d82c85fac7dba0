"""emodna-bench run: every ordered pair of corpora, by tasks, methods and seeds."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench.options import STEPS, execution_options, out_option
from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.spec import Conditions, Experiment, MethodSpec, RunSpec
    from emodna.pipeline.emotions import Task
    from emodna.pipeline.store import FeatureStore

#: Of --table, beside those of the paper.
_SENSITIVITY: Final = "sensitivity"
#: What --set is not for: key -> option.
_OPTIONS: Final = {"steps": "--steps", "seed": "--seeds", "seeds": "--seeds", "threads": "--threads"}


@common.environment("EMODNA_BENCH_RUN")
@click.command(context_settings=common.CONTEXT)
@click.option(
    "--corpora",
    multiple=True,
    metavar="CORPUS",
    help="Prepared corpora, of which all ordered pairs are run; repeatable.  "
    "[default: those of the benchmark in --out, or all in the cache]",
)
@click.option(
    "--tasks",
    multiple=True,
    type=click.Choice(TASKS),
    help="What to recognise; repeatable.  [default: both, or those of --table]",
)
@click.option(
    "--methods",
    multiple=True,
    metavar="METHOD[:KEY=VALUE,...]",
    help="A method, with its own settings, such as dann:add=scl; repeatable.  [default: those of tables 2 and 3]",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(["2", "3", "4", "5", "6", _SENSITIVITY]),
    help="What a table of the paper, or the study of settings, is made of; repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="How many: 0, 1, ...; seed 0 of all comes first.")
@click.option("--steps", type=click.IntRange(min=1), default=STEPS, help="Training steps of each run.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As of emodna-fit, for all; repeatable.")
@click.option(
    "--feature-set",
    cls=common.FeatureSetOption,
    help="{names}, or the full folder name of the stores.  [default: mfcc40]",
)
@common.cache_option
@out_option
@execution_options
@click.option("--threads", type=click.IntRange(min=1), default=1, help="CPU threads of each run.")
@common.config_option
@common.common_options
@click.pass_context
def run(
    context: click.Context,
    corpora: tuple[str, ...],
    tasks: "tuple[Task, ...]",
    methods: tuple[str, ...],
    tables: tuple[str, ...],
    seeds: int,
    steps: int,
    settings: tuple[str, ...],
    feature_set: str | None,
    cache: Path,
    out: Path,
    workers: int | None,
    scheduler: str | None,
    threads: int,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run all ordered pairs of corpora by tasks, methods and seeds, each as emodna-fit would.

    Killed and started again, it goes on: finished cells stay, interrupted ones go on from their checkpoints. More
    corpora, methods or seeds go into the same --out. A cell that fails is written down, and the others go on.
    """
    began = time.monotonic()
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if methods and tables:
        raise click.UsageError("--methods and --table exclude each other")
    parsed = common.parse_settings(settings)
    for key, option in _OPTIONS.items():
        if key in parsed:
            raise EmodnaError(f"--set {key}: use {option}")
    # What needs no torch comes first: a mistake should not wait seconds for its answer.
    from emodna.cli.bench.executing import Execution, carry_out
    from emodna.model.bench.spec import Conditions, MethodSpec
    from emodna.model.config import shared_settings
    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.catalogue import folder_name

    shared_settings(parsed)
    wishes = _wishes(tasks, [MethodSpec.parse(text) for text in methods], tables)
    stores = [FeatureStore(path) for path in _stores(cache, corpora or _corpora_there(out), feature_set)]
    execution = Execution.of(workers, scheduler, threads, device)
    conditions = Conditions(steps, folder_name(feature_set), parsed, execution.kind, execution.decisive_threads)
    from emodna.model.bench.running.execute import only_run

    asked = _asked(out, stores, wishes, seeds, conditions)
    with only_run(out):
        bench, cells = _together(asked)
        _tell_of_shared(bench, cells)
        code = carry_out(bench, cells, execution, began=began, again=False, as_json=as_json, quiet=quiet)
    context.exit(code)


def _wishes(
    tasks: "tuple[Task, ...]", rows: "list[MethodSpec]", tables: tuple[str, ...]
) -> "list[tuple[tuple[Task, ...], list[MethodSpec]]]":
    """Which rows of which tasks."""
    from emodna.model.bench.presets import PRESETS, SENSITIVITY

    if rows:
        return [(tasks or TASKS, list(dict.fromkeys(rows)))]
    if not tables:
        return [(tasks or TASKS, list(dict.fromkeys([*PRESETS["2"].methods, *PRESETS["3"].methods])))]
    of_table = {table: (preset.tasks, preset.methods) for table, preset in PRESETS.items()}
    of_table[_SENSITIVITY] = ("arousal",), list(SENSITIVITY)
    return [(tasks or of_table[table][0], of_table[table][1]) for table in dict.fromkeys(tables)]


def _corpora_there(out: Path) -> tuple[str, ...]:
    """Corpora of the benchmark in a folder; none where there is no benchmark."""
    from emodna.model.bench.spec import Experiment

    return tuple(Experiment.read(out).corpora) if Experiment.exists(out) else ()


def _stores(cache: Path, corpora: tuple[str, ...], feature_set: str | None) -> list[Path]:
    """Stores of the corpora, in order of their names.

    Raises
    ------
    EmodnaError
        Fewer than two, or one that is not prepared.
    """
    from emodna.pipeline.store.catalogue import find_store, folder_name, in_cache, stores

    if corpora:
        found = {corpus: find_store(cache, corpus, feature_set) for corpus in sorted(corpora)}
    else:
        found = {path.parent.name: path for path in stores(cache) if path.name == folder_name(feature_set)}
    if len(found) < 2:
        if corpora:
            raise EmodnaError(f"--corpora {corpora[0]}: a pair needs two corpora; give another")
        there = f"only {next(iter(found))} has" if found else "no corpus has"
        raise EmodnaError(
            f"--cache {cache}: {there} features {folder_name(feature_set)}, and a pair needs two; prepare more by: "
            f"emodna-prep --corpus NAME{in_cache(cache)}"
        )
    return list(found.values())


def _asked(
    out: Path,
    stores: "list[FeatureStore]",
    wishes: "list[tuple[tuple[Task, ...], list[MethodSpec]]]",
    seeds: int,
    conditions: "Conditions",
) -> "Experiment":
    """The benchmark of all wishes together; says what can be no source.

    Raises
    ------
    BenchError
        No corpus can be one.
    ConfigError, PluginError
        As `grid`.
    """
    from dataclasses import replace

    from emodna.model.bench.grid import plan_experiment
    from emodna.model.errors import BenchError

    first, *others = [plan_experiment(out, stores, tasks, rows, seeds, conditions) for tasks, rows in wishes]
    for each in others:
        first = first.extended(each, each.runs)
    asked = [task for task in TASKS if any(task in tasks for tasks, _ in wishes)]
    without = {
        corpus.name: reasons
        for corpus in first.corpora.values()
        if (reasons := [reason for task in asked if (reason := corpus.lacks(task))])
    }
    if not first.runs:
        told = "; ".join(f"{name} has {' and '.join(reasons)}" for name, reasons in without.items())
        raise BenchError(f"nothing to learn from: {told}; prepare a corpus with labels of both classes")
    for name, reasons in without.items():
        common.note(f"{common.safe(name)} has {' and '.join(reasons)}: only a target")
    return replace(first, runs=tuple(sorted(first.runs, key=lambda cell: cell.seed)))


def _together(asked: "Experiment") -> "tuple[Experiment, list[RunSpec]]":
    """What was asked for, with what is in its folder already; and the cells that are to be run.

    Raises
    ------
    BenchError
        What is there is of other conditions, and has begun.
    """
    from emodna.model.bench.presets import CEILING
    from emodna.model.bench.spec import Experiment

    if not Experiment.exists(asked.out):
        return asked, list(asked.runs)
    there = Experiment.read(asked.out)
    if there.conditions != asked.conditions and not any(there.run_folder(run).path.exists() for run in there.runs):
        return asked, list(asked.runs)
    there.check_conditions(asked.conditions)
    # The source has no part in the ceiling: with more corpora, it is not to be run again from another one.
    ceilings = {
        (cell.tgt, cell.task, cell.seed): cell
        for cell in there.runs
        if cell.method == CEILING and cell.src in asked.corpora
    }
    cells = [
        ceilings.get((cell.tgt, cell.task, cell.seed), cell) if cell.method == CEILING else cell for cell in asked.runs
    ]
    return there.extended(asked, cells), cells


def _tell_of_shared(bench: "Experiment", cells: "list[RunSpec]") -> None:
    """Say which sources have recordings of their targets: they are trained on with their labels."""
    from emodna.model.bench.wording import shared_notes

    pairs = {(cell.src, cell.tgt) for cell in cells}
    for line in shared_notes({pair: count for pair, count in bench.shared.items() if pair in pairs}):
        common.note(f"[yellow]warning:[/yellow] {common.safe(line)}")
