"""Prediction in bulk, as emodna-predict shows it: progress, and how to continue after an interruption."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import MofNCompleteColumn, TextColumn

from emodna.cli import common
from emodna.cli.options import resolve_workers
from emodna.cli.progress import count_progress
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    from emodna.model.inference.bulk import BulkPrediction, BulkRequest
    from emodna.model.inference.bulk_workers import WorkerFactory
    from emodna.model.inference.inputs import Input
    from emodna.model.inference.prediction import Prediction
    from emodna.model.inference.trained_model import TrainedModel


def check_options(*, is_folder: bool, audio: Sequence[str], threads: int | None, as_json: bool, as_csv: bool) -> None:
    """Raise a UsageError for options that need a folder, or that exclude it."""
    context = click.get_current_context()
    needy = [name for name in ("workers", "scheduler", "resume") if context.params[name]]
    for is_wrong, problem in (
        (bool(needy) and not is_folder, f"--{needy[0] if needy else ''} needs --out FOLDER"),
        (is_folder and threads is not None, "--threads and --out FOLDER exclude each other: use --workers"),
        (is_folder and (as_json or as_csv), f"--{'json' if as_json else 'csv'} and --out FOLDER exclude each other"),
        (is_folder and "-" in audio, "--out FOLDER needs files: standard input (-) cannot be read again to resume"),
    ):
        if is_wrong:
            raise click.UsageError(problem)


def prepare_workers(scheduler: str | None) -> None:
    """Let worker processes of this machine load their libraries while this process loads its own."""
    from emodna.pipeline.processes import start_preloading

    if scheduler is None:
        start_preloading(["emodna.model.inference.bulk_workers"])


def choose_workers(workers: int | None, scheduler: str | None, models: "Sequence[TrainedModel]") -> "WorkerFactory":
    """Return the factory of the workers that the options name; by default, a process per core."""
    from emodna.model.inference.bulk_workers import make_cluster_workers, make_local_workers

    if workers and scheduler:
        workers, scheduler = resolve_workers(workers, scheduler)
    if scheduler is None:
        return make_local_workers(workers or common.count_cores())
    return make_cluster_workers(scheduler, lambda line: common.note(common.escape(line)), models)


@contextmanager
def predict_into_folder(
    request: "BulkRequest", inputs: "Iterator[Input]", out: Path, start_workers: "WorkerFactory", *, resume: bool
) -> "Iterator[tuple[BulkPrediction, Iterator[tuple[Input, Prediction]]]]":
    """Yield the prediction in bulk, and its predictions as their parts are finished.

    On KeyboardInterrupt in the block, it raises another one whose text says how to continue.
    """
    from emodna.model.inference.bulk import open_bulk

    with open_bulk(request, inputs, out, resume=resume) as bulk:
        if bulk.finished:
            state = "all" if bulk.finished == bulk.recordings else f"{bulk.finished} of"
            common.note(f"{state} {format_count(bulk.recordings, 'recording')} were finished before")
        if bulk.failed:
            common.print_error(f"{format_count(bulk.failed, 'row')} without a prediction: see column error")
        try:
            with closing(_show_progress(bulk, start_workers)) as found:
                yield bulk, found
        except KeyboardInterrupt:
            count = f"{bulk.finished} of {format_count(bulk.recordings, 'recording')}"
            raise KeyboardInterrupt(f"{count} are finished; continue with --resume") from None


def _show_progress(
    bulk: "BulkPrediction", start_workers: "WorkerFactory"
) -> "Generator[tuple[Input, Prediction], None, None]":
    seconds = 0.0
    latest = None
    with (
        count_progress("predicting", MofNCompleteColumn(), TextColumn("{task.fields[tally]}")) as counter,
        closing(bulk.predict(start_workers)) as found,
    ):
        counter.begin(bulk.recordings)
        for given, prediction in found:
            if given is not latest:
                latest = given
                seconds += prediction.duration or 0.0
            counter.reach(bulk.finished, f"{seconds / 3600:.2f} h of audio")
            yield given, prediction
