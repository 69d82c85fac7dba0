"""The folder of predictions in bulk: a Parquet file per part, and the request that they all belong to."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq

from emodna.model.errors import PredictionError
from emodna.model.inference.rows import AddRow, RowFormat
from emodna.model.run_folder import describe_differences, read_json, write_json
from emodna.pipeline.errors import Remedy
from emodna.pipeline.files import flush_folder, is_temporary, make_folder, open_atomically

#: Version of the folder's layout.
_FORMAT: Final = 1
#: Everything that decides the predictions. Readers of Parquet folders ignore names that begin with "_" or ".".
_REQUEST: Final = "_request.json"
#: The recordings in order, with the size and modification time of each.
_RECORDINGS: Final = "_recordings.feather"
#: Folder of the finished parts while others are missing, so that nothing reads a part of the table as the whole.
_UNFINISHED: Final = "_unfinished"
_LOCK: Final = ".lock"
#: Timeout in s for the lock.
_LOCK_SECONDS: Final = 0.2

#: Schema of the table of recordings.
RECORDINGS: Final = pa.schema([("file", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64())])


class BulkFolder:
    """A folder of predictions in bulk.

    Parameters
    ----------
    path
        Path of the folder.
    rows
        Format of the rows.
    manifest
        Other columns of the manifest, or None.
    recordings
        Table of all recordings in order, with the schema `RECORDINGS`.
    per_part
        Number of recordings per part, or the smallest one if `starts` are given.
    starts
        Place at which each part begins among the recordings; None: parts of equal size.
    """

    def __init__(
        self,
        path: Path,
        rows: RowFormat,
        manifest: pa.Table | None,
        recordings: pa.Table,
        per_part: int,
        starts: Sequence[int] | None = None,
    ) -> None:
        self.path, self.rows, self._manifest = path, rows, manifest
        self._recordings, self._per_part = recordings, per_part
        self._starts = starts or range(0, max(1, len(recordings)), per_part)
        self.parts = range(len(self._starts))
        """Numbers of the parts. Without recordings, one part is empty."""

    @contextmanager
    def claim(self, decisive: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Lock the folder for a new request, or with `resume` also for an earlier one with the same predictions.

        Raises PredictionError if the folder has other content, or another process holds the lock.
        """
        request = {"format": _FORMAT, **decisive, "per_part": self._per_part, "recordings": self._describe_recordings()}
        request = json.loads(json.dumps(request))
        self._check(request, resume=resume)  # before writing: the folder may belong to somebody else
        make_folder(self.path)
        try:
            with filelock.FileLock(self.path / _LOCK, timeout=_LOCK_SECONDS):
                self._check(request, resume=resume)  # another process may have started meanwhile
                make_folder(self.path / _UNFINISHED)
                for leftover in filter(is_temporary, [*self.path.iterdir(), *(self.path / _UNFINISHED).iterdir()]):
                    leftover.unlink(missing_ok=True)
                if not (self.path / _REQUEST).exists():
                    with open_atomically(self.path / _RECORDINGS) as stream:
                        pyarrow.feather.write_feather(self._recordings, stream)
                    write_json(self.path / _REQUEST, request)
                yield
        except filelock.Timeout:
            raise PredictionError("another process is writing this folder", field="out", value=self.path) from None

    def locate(self, part: int) -> slice:
        """Return the places of the recordings of a part among all recordings."""
        end = len(self._recordings) if part + 1 == len(self._starts) else self._starts[part + 1]
        return slice(self._starts[part], end)

    def count_failures(self, part: int) -> int | None:
        """Return the number of rows of unusable recordings in a finished part; None if it is missing or damaged."""
        path = self._find(part)
        if not path.exists():
            return None
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            return None
        expected = self._recordings["file"][self.locate(part)].to_pylist()
        if not table.schema.equals(self.rows.make_schema(self._manifest)):
            return None
        files = [file for file, _ in groupby(table["file"].to_pylist())]
        if files != [file for file, _ in groupby(expected)]:
            return None
        failed = pc.and_(pc.is_valid(table["error"]), pc.is_null(table["start"]))
        return int(pc.sum(failed, min_count=0).as_py())

    @contextmanager
    def write_part(self, part: int) -> Iterator[AddRow]:
        """Write a part; it appears when it is complete."""
        path = self.path / _UNFINISHED / _name_part(part)
        with open_atomically(path) as stream, self.rows.write_parquet(stream, self._manifest) as add:
            yield add

    def finish(self) -> None:
        """Move the finished parts to the place where readers look for them."""
        unfinished = self.path / _UNFINISHED
        for path in sorted(unfinished.iterdir()):
            path.replace(self.path / path.name)
        flush_folder(self.path)
        unfinished.rmdir()

    def _find(self, part: int) -> Path:
        """Return the path of a part. One that was made again replaces an earlier one."""
        name = _name_part(part)
        again = self.path / _UNFINISHED / name
        return again if again.exists() else self.path / name

    def _describe_recordings(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for batch in self._recordings.to_batches():
            digest.update(json.dumps(batch.to_pylist()).encode())
        return {"count": len(self._recordings), "sha256": digest.hexdigest()}

    def _check(self, request: Mapping[str, Any], *, resume: bool) -> None:
        paths = list(self.path.iterdir()) if self.path.exists() else []
        # A process that was killed before it saved its request leaves only these.
        own = (_LOCK, _RECORDINGS, _UNFINISHED)
        if all(path.name in own or is_temporary(path) for path in paths):
            return
        choose = Remedy("choose another {out}")
        if not (self.path / _REQUEST).exists():
            raise PredictionError("contains other files", field="out", value=self.path, remedy=choose)
        if not resume:
            state = "unfinished" if (self.path / _UNFINISHED).exists() else "finished"
            remedy = Remedy("set {resume=True} to continue or check them, or choose another {out}")
            raise PredictionError(f"contains {state} predictions", field="out", value=self.path, remedy=remedy)
        earlier = read_json(self.path / _REQUEST)
        if earlier.get("recordings") != request["recordings"]:
            problem = f"started with other recordings: {self._describe_other_recordings()}"
            raise PredictionError(problem, field="out", value=self.path, remedy=choose)
        if differences := describe_differences(earlier, request):
            remedy = Remedy("use the same models, options and versions, or choose another {out}")
            problem = f"started with other settings: {differences}"
            raise PredictionError(problem, field="out", value=self.path, remedy=remedy)

    def _describe_other_recordings(self) -> str:
        """Describe the differences to the recordings of the earlier request."""
        try:
            earlier = pyarrow.feather.read_table(self.path / _RECORDINGS)
        except (pa.ArrowException, OSError):
            return f"{_RECORDINGS} is damaged"
        before, now = (
            {row["file"]: (row["size"], row["mtime_ns"]) for row in table.to_pylist()}
            for table in (earlier, self._recordings)
        )
        changes: dict[str, Sequence[str]] = {
            "new": [file for file in now if file not in before],
            "missing": [file for file in before if file not in now],
            "changed": [file for file, stamp in now.items() if before.get(file, stamp) != stamp],
        }
        parts = [f"{len(files)} {kind}, such as {files[0]}" for kind, files in changes.items() if files]
        return "; ".join(parts) or "their order or their repetitions differ"


def _name_part(part: int) -> str:
    return f"part-{part:05d}.parquet"
