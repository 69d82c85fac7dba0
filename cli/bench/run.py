"""emodna-bench run and retry: every ordered pair of corpora, by tasks, methods and seeds."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench import execution, out_option
from emodna.cli.options import Command, FeatureSetOption, cache_option, common_options, config_option, parse_settings
from emodna.model.bench.paper import PAPER_TABLES, SENSITIVITY_METHODS, UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, MethodSpec, RunSpec, note_shared_recordings
from emodna.model.config import DEFAULT_STEPS, apply_shared_settings
from emodna.model.errors import BenchError
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import EmodnaError, PrepareCorpus, Remedy

if TYPE_CHECKING:
    from emodna.model.bench.grid import MethodGroup
    from emodna.pipeline.store import FeatureStore

#: Of --table, beside those of the paper.
_SENSITIVITY: Final = "sensitivity"
#: What --set is not for: key -> option.
_OPTIONS: Final = {"steps": "--steps", "seed": "--seeds", "seeds": "--seeds", "threads": "--threads"}

_workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Runs side by side.  [default: as many as there are cores for; on CUDA, 4 per GPU at most]",
)
_scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS|FILE",
    help="Run on a Dask cluster: the address of its scheduler, or the .json file that it wrote.",
)
_device_option = click.option(
    "--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N."
)


@click.command(cls=Command, environment="EMODNA_BENCH_RUN")
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
@click.option("--steps", type=click.IntRange(min=1), default=DEFAULT_STEPS, help="Training steps of each run.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As of emodna-fit, for all; repeatable.")
@click.option(
    "--feature-set",
    cls=FeatureSetOption,
    help="{names}, or the full folder name of the stores.  [default: mfcc40]",
)
@cache_option
@out_option
@_workers_option
@_scheduler_option
@_device_option
@click.option("--threads", type=click.IntRange(min=1), default=1, help="CPU threads of each run.")
@config_option
@common_options
@click.pass_context
def run(
    context: click.Context,
    corpora: tuple[str, ...],
    tasks: tuple[Task, ...],
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
) -> None:
    """Run all ordered pairs of corpora by tasks, methods and seeds, each as emodna-fit would.

    Killed and started again, it goes on: finished cells stay, interrupted ones go on from their checkpoints. More
    corpora, methods or seeds go into the same --out. A cell that fails is written down, and the others go on.
    """
    began = time.monotonic()
    if methods and tables:
        raise click.UsageError("--methods and --table exclude each other")
    parsed = parse_settings(settings)
    for key, option in _OPTIONS.items():
        if key in parsed:
            raise EmodnaError(f"--set {key}: use {option}")
    # What needs no torch comes first: a mistake should not wait seconds for its answer.
    from emodna.model.bench.runner import lock_experiment
    from emodna.pipeline.catalogue import resolve_folder_name
    from emodna.pipeline.store import FeatureStore

    apply_shared_settings(parsed)
    method_groups = _resolve_wishes(tasks, [MethodSpec.parse(text) for text in methods], tables)
    if not corpora and Experiment.exists(out):
        corpora = tuple(Experiment.read(out).corpora)
    stores = [FeatureStore(path) for path in _find_stores(cache, corpora, feature_set)]
    where = execution.resolve_execution(workers, scheduler, threads, device)
    decisive_threads = threads if where.kind == "cpu" else 1  # on CUDA they decide nothing
    conditions = Conditions(steps, resolve_folder_name(feature_set), parsed, where.kind, decisive_threads)
    asked = _plan_experiment(out, stores, method_groups, seeds, conditions)
    with lock_experiment(out):
        experiment, runs = _merge_experiments(asked)
        pairs = {run.pair for run in runs}
        for line in note_shared_recordings(
            {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}
        ):
            common.note(f"[yellow]warning:[/yellow] {common.escape(line)}")
        code = execution.execute_experiment(experiment, runs, where, began=began, restart=False, as_json=as_json)
    context.exit(code)


@click.command(cls=Command, environment="EMODNA_BENCH_RETRY")
@out_option
@_workers_option
@_scheduler_option
@_device_option
@config_option
@common_options
@click.pass_context
def retry(
    context: click.Context,
    out: Path,
    workers: int | None,
    scheduler: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Run the cells of a benchmark again that failed.

    Each goes on from its checkpoint if that can be used, and begins anew otherwise.
    """
    began = time.monotonic()
    from emodna.model.bench.results import read_run_results
    from emodna.model.bench.runner import lock_experiment

    experiment = Experiment.read(out)
    where = execution.resolve_execution(workers, scheduler, experiment.conditions.threads, device)
    if where.kind != experiment.conditions.device:
        raise BenchError(f"--device {device}: the benchmark in {out} is of {experiment.conditions.device}")
    with lock_experiment(out):
        failed = [each.run for each in read_run_results(experiment) if each.state == "failed"]
        code = execution.execute_experiment(experiment, failed, where, began=began, restart=True, as_json=as_json)
    context.exit(code)


def _resolve_wishes(tasks: tuple[Task, ...], methods: list[MethodSpec], tables: tuple[str, ...]) -> "list[MethodGroup]":
    """Return which methods are run in which tasks."""
    if not tables:
        methods = methods or [*PAPER_TABLES["2"].methods, *PAPER_TABLES["3"].methods]
        return [(tasks or TASKS, list(dict.fromkeys(methods)))]
    of_table: dict[str, MethodGroup] = {name: (preset.tasks, preset.methods) for name, preset in PAPER_TABLES.items()}
    of_table[_SENSITIVITY] = ("arousal",), list(SENSITIVITY_METHODS)
    return [(tasks or of_table[name][0], of_table[name][1]) for name in dict.fromkeys(tables)]


def _find_stores(cache: Path, corpora: tuple[str, ...], feature_set: str | None) -> list[Path]:
    """Stores of the corpora, in order of their names."""
    from emodna.pipeline.catalogue import find_store, list_stores, resolve_folder_name

    if corpora:
        found = {corpus: find_store(cache, corpus, feature_set) for corpus in sorted(corpora)}
    else:
        found = {path.parent.name: path for path in list_stores(cache) if path.name == resolve_folder_name(feature_set)}
    if len(found) < 2:
        if corpora:
            raise EmodnaError(f"--corpora {corpora[0]}: a pair needs two corpora; give another")
        there = f"only {next(iter(found))} has" if found else "no corpus has"
        raise EmodnaError(
            f"{there} features {resolve_folder_name(feature_set)}, and a pair needs two corpora",
            field="cache",
            value=cache,
            remedy=Remedy("prepare more", PrepareCorpus(None, cache, feature_set)),
        )
    return list(found.values())


def _plan_experiment(
    out: Path, stores: "list[FeatureStore]", method_groups: "list[MethodGroup]", seeds: int, conditions: Conditions
) -> Experiment:
    """Plan the experiment of all wishes together, and tell what can be no source.

    Raise BenchError if no corpus can be one, and the errors of `plan_experiment`.
    """
    from emodna.model.bench.grid import plan_experiment

    experiment = plan_experiment(out, stores, method_groups, seeds, conditions)
    asked = [task for task in TASKS if any(task in tasks for tasks, _ in method_groups)]
    without = {
        corpus.name: reasons
        for corpus in experiment.corpora.values()
        if (reasons := [reason for task in asked if (reason := corpus.find_missing_labels(task))])
    }
    if not experiment.runs:
        told = "; ".join(f"{name} has {' and '.join(reasons)}" for name, reasons in without.items())
        raise BenchError(f"nothing to learn from: {told}; prepare a corpus with labels of both classes")
    for name, reasons in without.items():
        common.note(f"{common.escape(name)} has {' and '.join(reasons)}: only a target")
    return experiment


def _merge_experiments(asked: Experiment) -> tuple[Experiment, list[RunSpec]]:
    """Return what was asked for together with what is in its folder, and the runs to be executed.

    Raise BenchError if the folder's experiment is of other conditions, and has begun.
    """
    if not Experiment.exists(asked.out):
        return asked, list(asked.runs)
    there = Experiment.read(asked.out)
    begun = any(there.run_folder(run).path.exists() for run in there.runs)
    if there.conditions != asked.conditions and not begun:
        return asked, list(asked.runs)
    there.check_conditions(asked.conditions)
    # The source has no part in the ceiling: with more corpora, it is not to be run again from another one.
    ceilings = {
        (run.tgt, run.task, run.seed): run
        for run in there.runs
        if run.method == UPPER_BOUND and run.src in asked.corpora
    }
    runs = [
        ceilings.get((run.tgt, run.task, run.seed), run) if run.method == UPPER_BOUND else run for run in asked.runs
    ]
    return there.merge(asked, runs), runs
