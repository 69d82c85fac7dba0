"""Leftovers of an experiment: files that no run needs. Files with other names than the experiment's are kept."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from emodna.model.bench.spec import Experiment
from emodna.model.run_folder import RunFolder
from emodna.model.runs.listing import is_locked, list_files
from emodna.pipeline.files import is_temporary

LeftoverKind = Literal["old", "failed", "temporary"]

#: Names of `Experiment.run_name`.
_NAME: Final = re.compile(r".+-.+-[a-z0-9_]+-.+-s\d+-[0-9a-f]{8}", re.DOTALL)
_EVENTS: Final = "events.out.tfevents."


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or run folder that no run needs."""

    path: Path
    bytes: int
    kind: LeftoverKind
    """old: the run is not in the experiment. failed: the run failed. temporary: half written."""
    reason_to_keep: str | None = None
    """Reason not to delete it; None if it may be deleted."""

    def delete(self) -> None:
        """Delete the file or folder."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def find_leftovers(experiment: Experiment) -> list[Leftover]:
    """Return the leftovers of an experiment, sorted by path."""
    return sorted(_generate_leftovers(experiment), key=lambda leftover: leftover.path)


def _generate_leftovers(experiment: Experiment) -> Iterator[Leftover]:
    runs = {experiment.run_name(run): run for run in experiment.runs}
    json_folders = [experiment.out / "failures", experiment.out / "analysis"]
    for path in _list_folder(experiment.runs_folder):
        if not path.is_dir() or not _NAME.fullmatch(path.name):
            continue
        folder, run = RunFolder(path), runs.get(path.name)
        if run is None or (experiment.failure_file(run).exists() and not folder.done.exists()):
            size = sum(each.st_size for each in list_files(folder).values())
            yield Leftover(path, size, "old" if run is None else "failed", _find_reason_to_keep(folder))
        elif not is_locked(folder):
            yield from _find_temporary(path)
    for path in [*_list_folder(json_folders[0]), *_list_folder(json_folders[1])]:
        if _NAME.fullmatch(path.stem) and path.suffix == ".json" and path.stem not in runs:
            yield Leftover(path, path.stat().st_size, "old")
    for folder_path in (experiment.out, experiment.runs_folder, *json_folders):
        yield from _find_temporary(folder_path)


def _find_reason_to_keep(run: RunFolder) -> str | None:
    """Return the reason not to delete a run folder: it is in use, or contains other files; None without a reason."""
    if is_locked(run):
        return "a run is using it"
    run_files = {
        *(run.config, run.metrics, run.resume, run.model, run.predictions, run.result, run.snapshots, run.selection),
        *(run.oracle, run.not_finite, run.corpora, run.audio, run.card, run.onnx, run.done, run.lock),
    }
    for path in _list_folder(run.path):
        if path not in run_files and not is_temporary(path) and not path.name.startswith(_EVENTS):
            return f"it contains {path.name}, which is not a file of a run"
    return None


def _find_temporary(folder: Path) -> Iterator[Leftover]:
    for path in _list_folder(folder):
        if is_temporary(path) and path.is_file():
            yield Leftover(path, path.stat().st_size, "temporary")


def _list_folder(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
