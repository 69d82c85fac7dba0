"""Predict in bulk in this process, with small parts."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emodna.model.inference.bulk import BulkRequest, open_bulk
from emodna.model.inference.bulk_workers import Reply, Workers, WorkerSetup, dump_inputs, make_predictor
from emodna.model.inference.inputs import Input, find_inputs
from emodna.model.inference.predict import predict
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.rows import RowFormat
from emodna.model.inference.trained_model import TrainedModel


@dataclass
class ThreadWorkers:
    """A factory of one worker in a thread of this process, which calls `before` with the files of each batch."""

    before: Callable[[list[str]], object] = lambda _files: None
    attempts: int = 1
    batches: list[list[str]] = field(default_factory=list)
    """Names of the files of each batch."""

    @contextmanager
    def __call__(self, setup: WorkerSetup) -> Iterator[Workers]:
        predictor = make_predictor(setup)

        def predict_batch(batch: Sequence[Input]) -> Reply:
            files = [Path(each.file).name for each in batch]
            self.batches.append(files)
            self.before(files)
            return predictor(dump_inputs(batch))

        with ThreadPoolExecutor(1) as pool:
            try:
                yield Workers(pool, 1, predict_batch, self.attempts)
            finally:
                pool.shutdown(cancel_futures=True)


def make_request(*runs: Path, **options: Any) -> BulkRequest:
    rows = RowFormat([TrainedModel.load(run).task for run in runs], runs)
    return BulkRequest(runs, rows, {"windows": None, **options})


def predict_in_bulk(
    request: BulkRequest,
    inputs: Sequence[Path] | Sequence[Input],
    out: Path,
    workers: ThreadWorkers | None = None,
    *,
    resume: bool = False,
) -> list[Prediction]:
    found = list_inputs(inputs)
    with (
        open_bulk(request, found, out, resume=resume) as bulk,
        closing(bulk.predict(workers or ThreadWorkers())) as all,
    ):
        return [prediction for _, prediction in all]


def predict_at_once(request: BulkRequest, inputs: Sequence[Path] | Sequence[Input], file: Path) -> pa.Table:
    """Return the table that one process writes to a file."""
    models = [TrainedModel.load(run) for run in request.runs]
    with file.open("wb") as stream, request.rows.write_parquet(stream, request.columns) as add:
        for given, prediction in predict(models, list_inputs(inputs), **request.options):
            add(request.rows.make_row(prediction), {}, given.number)
    return pq.read_table(file)


def list_inputs(inputs: Sequence[Path] | Sequence[Input]) -> list[Input]:
    return [each for one in inputs for each in ([one] if isinstance(one, Input) else find_inputs([str(one)]))]
