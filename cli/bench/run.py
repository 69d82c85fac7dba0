"""emodna-bench run and retry: execute the runs of an experiment."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from emodna.cli import common
from emodna.cli.bench import execution, out_option
from emodna.cli.bench.planning import (
    SENSITIVITY,
    Earlier,
    add_target_labels,
    find_grid,
    group_methods,
    leave_out,
    merge_experiments,
    plan_experiment,
)
from emodna.cli.options import (
    CLASSES,
    TASK,
    TASK_FILE,
    TEXT_PATH,
    Command,
    cache_option,
    common_options,
    config_option,
    device_option,
    parse_settings,
)
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Conditions, Experiment, find_uneven_corpora, note_shared_recordings
from emodna.model.config import apply_shared_settings
from emodna.model.errors import BenchError
from emodna.pipeline.errors import EmodnaError, Remedy
from emodna.pipeline.tasks import EMOTION_TASK, TASKS, Task

#: Key that --set refuses -> remedy.
_REFUSED: Final = {
    **{key: f"use {{{key}}}" for key in ("feature_set", "steps", "seeds", "threads")},
    "seed": "use {seeds}",
}

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
        "Data": "corpora tasks task_files classes cache",
        "Feature": "feature_set",
        "Training": "methods tables target_labels seeds steps settings",
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
    "--tasks",
    multiple=True,
    metavar="TASK",
    help=f"{', '.join(TASK.choices)}, one of --out; repeatable.  [default: {' and '.join(TASKS)}, or of --table]",
)
@click.option(
    "--task-file", "task_files", multiple=True, type=TASK_FILE, metavar="FILE", help="TOML file of a task; repeatable."
)
@click.option(
    "--classes", type=CLASSES, metavar="LIST", help="Classes of task emotion.  [default: those that a pair shares]"
)
@click.option(
    "--methods", multiple=True, metavar="SPEC", help="Method spec; repeatable.  [default: those of tables 2 and 3]"
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(["2", "3", "4", "5", "6", SENSITIVITY]),
    help="Methods of a table of the paper, or of the sensitivity study; repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="Number of seeds, counted from 0.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Training steps of each run.  [default: those of --out, else by feature set]",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of all runs; repeatable.")
@click.option(
    "--feature-set",
    multiple=True,
    metavar="NAME",
    help="Feature set of the methods; repeatable.  [default: the first of --out, else mfcc40]",
)
@click.option(
    "--target-labels",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="K",
    help="Target labels per class to train with; repeatable, 0 for none.",
)
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
    tasks: tuple[str, ...],
    task_files: tuple[Task, ...],
    classes: Task | None,
    methods: tuple[str, ...],
    tables: tuple[str, ...],
    seeds: int,
    steps: int | None,
    settings: tuple[str, ...],
    feature_set: tuple[str, ...],
    target_labels: tuple[int, ...],
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

    SPEC is a method with optional settings, such as dan:add=scl or emo-dna:feature_set=mfcc39. Methods without a
    feature set of their own run on each --feature-set, and methods without target_labels of their own with each number
    of --target-labels.
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

    apply_shared_settings(parsed_settings)
    if classes is not None and EMOTION_TASK not in tasks:
        raise click.UsageError(f"--classes is for --tasks {EMOTION_TASK}")
    if len({task.name for task in task_files}) < len(task_files):
        raise click.UsageError("two of the --task-file have tasks of the same name")
    earlier = Earlier.read(out)
    tasks, definitions = earlier.choose_tasks(tasks, [*task_files, *([classes] if classes else [])])
    method_groups = group_methods(tasks, [MethodSpec.parse(text) for text in methods], tables)
    method_groups = add_target_labels(method_groups, target_labels)
    grid = find_grid(earlier, cache, corpora, feature_set, method_groups)
    if not methods:
        grid = leave_out(grid, parsed_settings)
    # The counts of earlier tasks follow their corpora, too.
    grid = replace(grid, definitions={**earlier.definitions, **definitions})
    resources = execution.resolve_resources(workers, scheduler, threads, device)
    decisive_threads = threads if resources.kind == "cpu" else 1  # irrelevant on CUDA
    steps = earlier.choose_steps(steps)
    conditions = Conditions(steps, grid.default, parsed_settings, resources.kind, decisive_threads)
    new_experiment = plan_experiment(out, grid, seeds, conditions)
    with lock_experiment(out):
        experiment, runs = merge_experiments(new_experiment)
        for name in find_uneven_corpora(experiment):
            text = f"{name} has other utterances or labels in some feature sets, so their scores differ for that reason"
            common.note(f"[yellow]warning:[/yellow] {common.escape(text)}")
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
