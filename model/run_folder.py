"""Access the files of a run folder, and protect it from other runs and other configurations."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import filelock

from emodna.model.errors import ListRuns, ResumeRun, RunError
from emodna.pipeline.audio.provenance import AudioProvenance
from emodna.pipeline.errors import Remedy, explain_os_error
from emodna.pipeline.files import is_temporary, write_atomically

#: Settings that runs of earlier versions do not have, with the value that is the same as theirs.
LATER_SETTINGS: Final[Mapping[str, str | int]] = {
    "train.class_weights": "none",
    "train.target_labels": 0,
    "method_config.network": "paper",
}
#: Separator of the names of several sources.
JOIN: Final = "+"
_LOCK: Final = ".lock"
#: Timeout in s: a check whether a run is training holds its lock for an instant.
_LOCK_SECONDS: Final = 0.2


class _File:
    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunFolder", _owner: type) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, with the paths of its files."""

    path: Path

    #: Complete configuration, with versions and the stores' fingerprints.
    config = _File("config.json")
    #: Logged values, one line of JSON per logged step.
    metrics = _File("metrics.jsonl")
    #: Checkpoint to resume from.
    resume = _File("resume.safetensors")
    #: Trained model, with everything that prediction needs.
    model = _File("model.safetensors")
    #: Probability and label of each target utterance.
    predictions = _File("predictions.parquet")
    #: Scores, with those of constant predictors.
    result = _File("result.json")
    snapshots = _File("snapshots")
    #: Label-free criteria of each model snapshot, if the run selects one.
    selection = _File("selection.json")
    #: Oracle analysis: scores of each model snapshot by the target's labels.
    oracle = _File("oracle.json")
    #: Term and step of a loss that was not finite, and the ids of its batches.
    not_finite = _File("not_finite.json")
    #: Licences, citations and counts of the corpora of a finished run.
    corpora = _File("corpora.json")
    #: SHA-256 of the recordings that a finished run was trained on, by role.
    audio = _File("audio.parquet")
    card = _File("MODEL_CARD.md")
    #: Default path of the exported model.
    onnx = _File("model.onnx")
    #: Mark of a finished run.
    done = _File("done")
    lock = _File(_LOCK)

    def find_model(self) -> Path:
        """Return the path of the trained model; raise a RunError if there is none."""
        if self.model.exists():
            return self.model
        if self.config.exists():
            remedy = Remedy("resume it with the same options", ResumeRun(self.path))
            raise RunError("the run is not finished", where=self.path, remedy=remedy)
        raise make_no_run_error(self.path)

    @contextmanager
    def claim(self, config: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Lock the folder for a new run or, with `resume`, for one of the same decisive configuration.

        Raises RunError if the folder has other content, or another process holds the lock.
        """
        self._check(config, resume=resume)  # before writing: the folder may belong to somebody else
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot be made: {explain_os_error(error)}", field="out", value=self.path) from error
        try:
            with filelock.FileLock(self.lock, timeout=_LOCK_SECONDS):
                self._check(config, resume=resume)  # another run may have started meanwhile
                for leftover in filter(is_temporary, list(self.path.iterdir())):
                    leftover.unlink(missing_ok=True)
                if not self.config.exists():
                    write_json(self.config, config)
                yield
        except filelock.Timeout:
            raise RunError("another process is training this run", where=self.path) from None

    def check_free(self, *, resume: bool) -> None:
        """Raise a RunError if the folder contains a run, except to resume it, or other files."""
        if self._is_empty() or (resume and self.config.exists()):
            return
        problem, remedy = "contains other files", Remedy("choose another {out}")
        if self.done.exists():
            problem = "contains a finished run"
        elif self.config.exists():
            problem = "contains an unfinished run"
            remedy = Remedy("set {resume=True} to continue it, or choose another {out}")
        raise RunError(problem, field="out", value=self.path, remedy=remedy)

    def _is_empty(self) -> bool:
        # A run that was killed before it saved its configuration leaves at most a temporary file.
        paths = list(self.path.iterdir()) if self.path.exists() else []
        return all(path.suffix == ".tmp" or path.name == _LOCK for path in paths)

    def _check(self, config: Mapping[str, Any], *, resume: bool) -> None:
        self.check_free(resume=resume)
        if self._is_empty():
            return
        earlier = read_json(self.config).get("decisive")
        if not isinstance(earlier, dict):
            raise RunError("damaged: not the configuration of a run", where=self.config)
        now = drop_later_settings(json.loads(json.dumps(config["decisive"])))
        if differences := describe_differences(drop_later_settings(earlier), now):
            remedy = Remedy("use the same settings, or choose another {out}")
            raise RunError(f"started with other settings: {differences}", field="out", value=self.path, remedy=remedy)


def make_no_run_error(path: Path) -> RunError:
    """Return the error of a path that is not a run folder."""
    if path.is_file():
        return RunError("a file, not a run folder", where=path)
    problem = "not a run folder" if path.exists() else "not found"
    return RunError(problem, where=path, remedy=Remedy("choose a run", ListRuns(path.parent)))


def read_target_channel(run: Path) -> int:
    """Return the channel of the recordings that a run was adapted to; 0 if its configuration cannot be read."""
    try:
        return AudioProvenance.read(read_json(RunFolder(run).config)["decisive"]["features"]).channel
    except (RunError, KeyError, TypeError, AttributeError):
        return 0


def hash_settings(decisive: Mapping[str, Any]) -> str:
    """Return a hash of a decisive configuration, 8 hexadecimal digits, the same as in earlier versions."""
    return hashlib.sha256(json.dumps(drop_later_settings(decisive), sort_keys=True).encode()).hexdigest()[:8]


def drop_later_settings(decisive: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decisive configuration without the settings of `LATER_SETTINGS` that have the value given there."""
    simplified = dict(decisive)
    for name, value in LATER_SETTINGS.items():
        part, _, key = name.partition(".")
        if isinstance(settings := simplified.get(part), dict) and settings.get(key) == value:
            simplified[part] = {other: each for other, each in settings.items() if other != key}
    return simplified


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run; raise a RunError if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError("not found", where=path) from None
    except json.JSONDecodeError as error:
        problem = f"not valid JSON (line {error.lineno})" if error.doc.strip() else "empty"
        raise RunError(f"damaged: {problem}", where=path) from error
    except (OSError, ValueError) as error:
        raise RunError(f"damaged: {getattr(error, 'strerror', None) or error}", where=path) from error
    if not isinstance(content, dict):
        raise RunError("damaged: not a JSON object", where=path)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def describe_differences(earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Return the keys with different values and both values; empty if there is none."""
    parts = []
    for key in sorted({*earlier, *now}):
        before, after = earlier.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            parts.append(describe_differences(before, after, f"{prefix}{key}."))
        elif before != after:
            parts.append(f"{prefix}{key} {before!s:.16}, now {after!s:.16}")
    return "; ".join(part for part in parts if part)
