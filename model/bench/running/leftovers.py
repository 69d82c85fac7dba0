"""What no cell of a benchmark needs any more. Only what emodna-bench named itself is ever looked at."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from emodna.model.bench.spec import Experiment
from emodna.model.run_folder import RunFolder
from emodna.model.runs.listing import files, is_locked
from emodna.pipeline.files import is_temporary

Kind = Literal["old", "failed", "temporary"]

#: As `Experiment.name` makes them.
_NAME: Final = re.compile(r".+-.+-(arousal|valence)-.+-s\d+-[0-9a-f]{8}", re.DOTALL)
_EVENTS: Final = "events.out.tfevents."


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file, or a run's folder."""

    path: Path
    bytes: int
    kind: Kind
    """old: of other stores, rows or seeds than the benchmark names; failed: of a cell that came to nothing."""
    kept: str | None = None
    """Why it stays, if so."""

    def remove(self) -> None:
        """Delete it."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def leftovers(bench: Experiment) -> list[Leftover]:
    """All of them, in order of their paths."""
    return sorted(_found(bench), key=lambda each: each.path)


def _found(bench: Experiment) -> Iterator[Leftover]:
    named = {bench.run_name(cell): cell for cell in bench.runs}
    for path in _inside(bench.runs_folder):
        if not path.is_dir() or not _NAME.fullmatch(path.name):
            continue
        cell = named.get(path.name)
        if cell is None or (bench.failure(cell).exists() and not bench.run_folder(cell).done.exists()):
            yield _run(RunFolder(path), "old" if cell is None else "failed")
        elif not is_locked(RunFolder(path)):
            yield from _temporary(path)
    for path in _inside(bench.out / "failures"):
        if _NAME.fullmatch(path.stem) and path.suffix == ".json" and path.stem not in named:
            yield Leftover(path, path.stat().st_size, "old")
    for path in _inside(bench.out / "analysis"):
        if _NAME.fullmatch(path.stem) and path.suffix == ".json" and path.stem not in named:
            yield Leftover(path, path.stat().st_size, "old")
    for folder in (bench.out, bench.runs_folder, bench.out / "failures", bench.out / "analysis"):
        yield from _temporary(folder)


def _run(run: RunFolder, kind: Kind) -> Leftover:
    """A run's folder, which stays if it is at work, or if somebody laid something into it."""
    kept = "a run is at work in it" if is_locked(run) else None
    if kept is None and (other := next((path for path in _inside(run.path) if not _is_own(run, path)), None)):
        kept = f"it holds {other.name}, which no run writes"
    return Leftover(run.path, sum(each.st_size for each in files(run).values()), kind, kept)


def _is_own(run: RunFolder, path: Path) -> bool:
    known = {
        *(run.config, run.metrics, run.resume, run.model, run.predictions, run.result, run.snapshots, run.selection),
        *(run.oracle, run.not_finite, run.corpora, run.card, run.onnx, run.done, run.lock),
    }
    return path in known or is_temporary(path) or path.name.startswith(_EVENTS)


def _temporary(folder: Path) -> Iterator[Leftover]:
    for path in _inside(folder):
        if is_temporary(path) and path.is_file():
            yield Leftover(path, path.stat().st_size, "temporary")


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
