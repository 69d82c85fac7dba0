"""Predict in bulk: by worker processes, into a folder of Parquet files, resumable after any interruption."""

import dataclasses
import hashlib
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from emodna.model.errors import PredictionError
from emodna.model.inference.bulk_folder import RECORDINGS, BulkFolder
from emodna.model.inference.bulk_workers import Reply, WorkerFactory, WorkerSetup, hash_model, predict_with_survivors
from emodna.model.inference.inputs import Input
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.rows import RowFormat, make_encodable
from emodna.model.inference.speakers import split_by_speaker
from emodna.model.run_folder import RunFolder
from emodna.pipeline.prepare.extract import read_feature_versions, read_package_versions

#: Recordings per part, without and with windows. An interruption loses the parts that workers are predicting.
_WHOLE_PER_PART: Final = 64
_CUT_PER_PART: Final = 8
#: Largest number of parts; a part of more recordings is larger.
_MAX_PARTS: Final = 2000


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """The models of a prediction in bulk, and everything else that decides its rows, except for the recordings."""

    runs: Sequence[Path]
    rows: RowFormat
    options: Mapping[str, Any]
    """Options of `predict`; values are JSON types or dataclasses of them."""
    device: str = "cpu"
    """Torch name of the device."""
    manifest: Path | None = None
    columns: pa.Table | None = None
    """Columns of the manifest that are copied to the rows."""
    ffmpeg: bool = False
    """True if ffmpeg decodes some of the recordings."""
    packages: Sequence[str] = ()
    """Further packages whose versions affect the features."""
    per_speaker: bool = False
    """True if a model normalises by speaker: then no speaker is in two parts."""


class BulkPrediction:
    """A prediction in bulk, whose folder is locked."""

    def __init__(self, folder: BulkFolder, recordings: Sequence[Input], setup: WorkerSetup) -> None:
        self._folder, self._recordings, self._setup = folder, recordings, setup
        failures = {part: folder.count_failures(part) for part in folder.parts}
        self._missing = [part for part, count in failures.items() if count is None]
        self.recordings = len(recordings)
        """Number of all recordings."""
        self.finished = self.recordings - sum(len(recordings[folder.locate(part)]) for part in self._missing)
        """Number of recordings in finished parts."""
        self.failed = sum(filter(None, failures.values()))
        """Number of rows of unusable recordings in parts that were finished before."""

    def predict(self, start_workers: WorkerFactory) -> Generator[tuple[Input, Prediction], None, None]:
        """Predict for all parts that are missing or damaged; yield the predictions of each part once it is written."""
        if self._missing and not self._recordings:
            self._write(self._missing[0], [], [])
        elif self._missing:
            with start_workers(self._setup) as workers:
                pending: dict[Future[Reply], tuple[int, Sequence[Input]]] = {}
                remaining = iter(self._missing)
                while True:
                    for part in islice(remaining, workers.max_pending - len(pending)):
                        batch = self._recordings[self._folder.locate(part)]
                        pending[workers.pool.submit(predict_with_survivors, workers, batch, self._setup)] = part, batch
                    if not pending:
                        break
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        part, batch = pending.pop(future)
                        reply = future.result()
                        self._write(part, batch, reply)
                        self.finished += len(batch)
                        yield from ((batch[number], prediction) for number, prediction in reply)
        self._folder.finish()

    def _write(self, part: int, batch: Sequence[Input], reply: Reply) -> None:
        with self._folder.write_part(part) as add:
            for number, prediction in reply:
                add(self._folder.rows.make_row(prediction), {}, batch[number].number)


@contextmanager
def open_bulk(
    request: BulkRequest, inputs: Iterable[Input], out: Path, *, resume: bool = False
) -> Iterator[BulkPrediction]:
    """List the recordings, lock the folder `out`, and yield the prediction; with `resume`, an earlier one.

    Raises PredictionError: a stream among the inputs, a folder with other content or of another request, or another
    process that uses the folder.
    """
    # Other cells of the rows are in `request.columns`.
    recordings = [replace(each, row={}) for each in inputs]
    table = pa.Table.from_pylist(list(map(_describe, recordings)), RECORDINGS)
    smallest = _CUT_PER_PART if request.options.get("windows") else _WHOLE_PER_PART
    per_part = max(smallest, math.ceil(len(recordings) / _MAX_PARTS))
    models = [(path, hash_model(path)) for path in (RunFolder(run).find_model().resolve() for run in request.runs)]
    starts = split_by_speaker(recordings, per_part) if request.per_speaker else None
    folder = BulkFolder(out, request.rows, request.columns, table, per_part, starts)
    manifest = None if request.manifest is None else hashlib.sha256(request.manifest.read_bytes()).hexdigest()
    versions = read_feature_versions(ffmpeg=request.ffmpeg) | read_package_versions(request.packages)
    decisive = {
        "models": {f"{number}": sha256 for number, (_, sha256) in enumerate(models, start=1)},
        "columns": list(request.rows.make_schema(request.columns).names),
        "runs": list(map(str, request.runs)) if len(request.runs) > 1 else None,  # one run has no column
        "options": {name: _to_json(value) for name, value in request.options.items()},
        "device": request.device.partition(":")[0],
        "manifest": manifest,
        "versions": versions,
    }
    with folder.claim(decisive, resume=resume):
        setup = WorkerSetup(models, request.device, request.options, versions, per_speaker=request.per_speaker)
        yield BulkPrediction(folder, recordings, setup)


def _to_json(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _describe(recording: Input) -> dict[str, Any]:
    if recording.read_stamp is None:
        problem, remedy = "a stream, which cannot be read again to resume", "save it as a file"
        raise PredictionError(problem, where=recording.file, remedy=remedy)
    stamp = recording.read_stamp()
    size, mtime_ns = (None, None) if stamp is None else stamp
    return {"file": make_encodable(recording.file), "size": size, "mtime_ns": mtime_ns}
