"""emodna-bench run and retry: execute the runs of an experiment."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench import execution, out_option
from emodna.cli.options import (
    TEXT_PATH,
    Command,
    FeatureSetOption,
    cache_option,
    common_options,
    config_option,
    device_option,
    parse_settings,
)
from emodna.model.bench.paper import PAPER_TABLES, SENSITIVITY_METHODS, UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, MethodSpec, RunSpec, note_shared_recordings
from emodna.model.config import DEFAULT_STEPS, apply_shared_settings
from emodna.model.errors import BenchError
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import EmodnaError, PrepareCorpus, Remedy

if TYPE_CHECKING:
    from emodna.model.bench.grid import MethodGroup
    from emodna.pipeline.store import FeatureStore

#: Value of --table for the sensitivity study.
_SENSITIVITY: Final = "sensitivity"
#: Key that --set refuses -> remedy.
_REFUSED: Final = {"steps": "use {steps}", "seed": "use {seeds}", "seeds": "use {seeds}", "threads": "use {threads}"}

_workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Parallel runs.  [default: one per core; on CUDA at most 4 per GPU]"
)
_scheduler_option = click.option(
    "--scheduler", type=TEXT_PATH, metavar="ADDRESS|FILE", help="Use the Dask cluster of this scheduler."
)


@click.command(
    cls=Command,
    environment="EMODNA_BENCH_RUN",
    groups={
        "Data": "corpora tasks cache",
        "Feature": "feature_set",
        "Training": "methods tables seeds steps settings",
        "Worker": "workers scheduler device threads",
        "Output": "out",
    },
    examples=(
        "emodna-bench run --corpora emodb --corpora ravdess --methods dan --methods dann:add=scl --seeds 2",
        "emodna-bench run --table 2 --set frames=64 --out bench-64",
    ),
)
@click.option(
    "--corpora", multiple=True, metavar="CORPUS", help="Corpus; repeatable.  [default: those of --out, else of --cache]"
)
@click.option(
    "--tasks", multiple=True, type=click.Choice(TASKS), help="Task; repeatable.  [default: both, or those of --table]"
)
@click.option(
    "--methods", multiple=True, metavar="SPEC", help="Method spec; repeatable.  [default: those of tables 2 and 3]"
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(["2", "3", "4", "5", "6", _SENSITIVITY]),
    help="Methods of a table of the paper, or of the sensitivity study; repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="Number of seeds, counted from 0.")
@click.option("--steps", type=click.IntRange(min=1), default=DEFAULT_STEPS, help="Training steps of each run.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of all runs; repeatable.")
@click.option("--feature-set", cls=FeatureSetOption, help="{names}, or the folder name of a store.  [default: mfcc40]")
@cache_option
@out_option
@_workers_option
@_scheduler_option
@device_option
@click.option("--threads", type=click.IntRange(min=1), default=1, help="CPU threads of each run.")
@config_option
@common_options
def run(
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
) -> int:
    """Train and evaluate methods on all ordered pairs of corpora.

    An experiment is the grid of pairs, tasks, methods and seeds; each run is the same as one of emodna-fit. Run the
    command again to resume: finished runs are kept, interrupted ones continue from their checkpoints. Use the same
    --out to add corpora, methods or seeds. If a run fails, its error is recorded and the others continue. The exit code
    is 1 if a run failed.

    SPEC is a method with optional settings, such as dan:add=scl.
    """
    start = time.monotonic()
    if methods and tables:
        raise click.UsageError("--methods and --table exclude each other")
    parsed_settings = parse_settings(settings)
    for key, remedy in _REFUSED.items():
        if key in parsed_settings:
            raise EmodnaError("not a setting of an experiment", field="settings", value=key, remedy=Remedy(remedy))
    # Checks that need no torch come first: they report mistakes at once.
    from emodna.model.bench.runner import lock_experiment
    from emodna.pipeline.store import FeatureStore

    apply_shared_settings(parsed_settings)
    method_groups = _group_methods(tasks, [MethodSpec.parse(text) for text in methods], tables)
    if not corpora and Experiment.exists(out):
        corpora = tuple(Experiment.read(out).corpora)
    stores = [FeatureStore(path) for path in _find_stores(cache, corpora, feature_set)]
    resources = execution.resolve_resources(workers, scheduler, threads, device)
    decisive_threads = threads if resources.kind == "cpu" else 1  # irrelevant on CUDA
    conditions = Conditions(steps, stores[0].path.name, parsed_settings, resources.kind, decisive_threads)
    new_experiment = _plan_experiment(out, stores, method_groups, seeds, conditions)
    with lock_experiment(out):
        experiment, runs = _merge_experiments(new_experiment)
        pairs = {run.pair for run in runs}
        shared_recordings = {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}
        for line in note_shared_recordings(shared_recordings):
            common.note(f"[yellow]warning:[/yellow] {common.escape(line)}")
        return execution.execute_experiment(experiment, runs, resources, start=start, restart=False, as_json=as_json)


@click.command(
    cls=Command,
    environment="EMODNA_BENCH_RETRY",
    groups={"Data": "out", "Worker": "workers scheduler device"},
    examples=("emodna-bench retry", "emodna-bench retry --out bench --workers 2"),
)
@out_option
@_workers_option
@_scheduler_option
@device_option
@config_option
@common_options
def retry(out: Path, workers: int | None, scheduler: str | None, device: str, as_json: bool) -> int:
    """Run the failed runs of an experiment again.

    Each run continues from its checkpoint if that is usable, or starts over. The exit code is 1 if a run fails.
    """
    start = time.monotonic()
    from emodna.model.bench.results import read_run_results
    from emodna.model.bench.runner import lock_experiment

    experiment = Experiment.read(out)
    resources = execution.resolve_resources(workers, scheduler, experiment.conditions.threads, device)
    if resources.kind != experiment.conditions.device:
        problem = f"the experiment was run on {experiment.conditions.device}"
        raise BenchError(problem, where=out, field="device", value=device)
    with lock_experiment(out):
        failed = [each.run for each in read_run_results(experiment) if each.state == "failed"]
        if not (failed or as_json):
            common.out.print("no failed runs")
            return 0
        return execution.execute_experiment(experiment, failed, resources, start=start, restart=True, as_json=as_json)


def _group_methods(tasks: tuple[Task, ...], methods: list[MethodSpec], tables: tuple[str, ...]) -> "list[MethodGroup]":
    if not tables:
        methods = methods or [*PAPER_TABLES["2"].methods, *PAPER_TABLES["3"].methods]
        return [(tasks or TASKS, list(dict.fromkeys(methods)))]
    of_table: dict[str, MethodGroup] = {name: (preset.tasks, preset.methods) for name, preset in PAPER_TABLES.items()}
    of_table[_SENSITIVITY] = ("arousal",), list(SENSITIVITY_METHODS)
    return [(tasks or of_table[name][0], of_table[name][1]) for name in dict.fromkeys(tables)]


def _find_stores(cache: Path, corpora: tuple[str, ...], feature_set: str | None) -> list[Path]:
    from emodna.pipeline.catalogue import find_all_stores, find_stores, resolve_folder_name

    stores = find_stores(cache, sorted(corpora), feature_set) if corpora else find_all_stores(cache, feature_set)
    found = {path.parent.name: path for path in stores}
    if len(found) < 2:
        if corpora:
            raise EmodnaError("only one corpus", field="corpora", value=corpora[0], remedy="give at least two")
        found_text = f"found only {next(iter(found))}" if found else "found none"
        problem = f"needs at least two corpora with the feature set {resolve_folder_name(feature_set)}, {found_text}"
        remedy = Remedy("prepare more", PrepareCorpus(None, cache, feature_set))
        raise EmodnaError(problem, field="cache", value=cache, remedy=remedy)
    return list(found.values())


def _plan_experiment(
    out: Path, stores: "list[FeatureStore]", method_groups: "list[MethodGroup]", seeds: int, conditions: Conditions
) -> Experiment:
    """Plan the experiment, and print which corpora cannot be sources.

    Raise BenchError if no corpus can be a source, and the errors of `plan_experiment`.
    """
    from emodna.model.bench.grid import plan_experiment

    experiment = plan_experiment(out, stores, method_groups, seeds, conditions)
    tasks = [task for task in TASKS if any(task in group_tasks for group_tasks, _ in method_groups)]
    missing_labels = {
        corpus.name: reasons
        for corpus in experiment.corpora.values()
        if (reasons := [reason for task in tasks if (reason := corpus.find_missing_labels(task))])
    }
    if not experiment.runs:
        found = "; ".join(f"{name} has {' and '.join(reasons)}" for name, reasons in missing_labels.items())
        raise BenchError(f"no corpus can be a source: {found}", remedy="prepare a corpus with labels of both classes")
    for name, reasons in missing_labels.items():
        common.note(f"{common.escape(name)} has {' and '.join(reasons)}: used as a target only")
    return experiment


def _merge_experiments(new: Experiment) -> tuple[Experiment, list[RunSpec]]:
    """Return the planned experiment merged with the one in its folder, and the runs to execute.

    Raise BenchError if the one in the folder has other conditions and at least one run.
    """
    if not Experiment.exists(new.out):
        return new, list(new.runs)
    from emodna.model.bench.grid import update_labels

    old = Experiment.read(new.out)
    has_runs = any(old.run_folder(run).path.exists() for run in old.runs)
    if old.conditions != new.conditions and not has_runs:
        return new, list(new.runs)
    old.check_conditions(new.conditions)
    # The upper bound does not use its source: with more corpora, keep its runs from the old ones.
    kept_runs = [run for run in old.runs if run.method == UPPER_BOUND and run.src in new.corpora]
    upper_bounds = {(run.tgt, run.task, run.method, run.seed): run for run in kept_runs}
    runs = [upper_bounds.get((run.tgt, run.task, run.method, run.seed), run) for run in new.runs]
    return update_labels(old).merge(new, runs), runs
