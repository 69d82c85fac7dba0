"""A run's folder: its files by name, and the configuration that a resume must find unchanged."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import filelock

from emodna.model.errors import RunError
from emodna.pipeline.files import is_temporary, write_atomically

#: Between the names of several source corpora; no corpus's name has it.
JOIN: Final = "+"
_LOCK: Final = ".lock"
#: Seconds: whoever looks whether a run is at work holds its lock for an instant.
_LOCK_SECONDS: Final = 0.2


class _File:
    """A file of a run's folder, by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunFolder", _owner: type) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and its files by name."""

    path: Path

    #: Everything that decides the run, resolved, with versions and the stores' fingerprints.
    config = _File("config.json")
    #: One line of JSON every so many steps.
    metrics = _File("metrics.jsonl")
    #: State of the training, to go on from.
    resume = _File("resume.safetensors")
    #: The trained model, with all that prediction needs.
    model = _File("model.safetensors")
    #: Probability and label of each target utterance.
    predictions = _File("predictions.parquet")
    #: Scores beside the constants'.
    result = _File("result.json")
    #: Folder of the method's states along the way, if there are any.
    snapshots = _File("snapshots")
    #: Each label-free criterion for each snapshot, if one was to choose.
    selection = _File("selection.json")
    #: Scores of each snapshot by the target's labels, if that was asked for: no result.
    oracle = _File("oracle.json")
    #: Term and step of a loss that ceased to be finite, and the ids of the batches.
    not_finite = _File("not_finite.json")
    #: Licences, citations and counts of a finished run's corpora.
    corpora = _File("corpora.json")
    #: The model card.
    card = _File("MODEL_CARD.md")
    #: The exported model, unless its user names another file.
    onnx = _File("model.onnx")
    #: Mark of a finished run.
    done = _File("done")
    #: Held while a run is at work.
    lock = _File(_LOCK)

    def find_model(self) -> Path:
        """Return the path of the trained model. A `RunError` if the run is not finished, or this is no run's folder."""
        if not self.model.exists():
            if self.config.exists():
                raise RunError(f"{self.path}: the run is not finished; emodna-fit with --resume goes on with it")
            raise RunError(f"{self.path}: {'' if self.path.exists() else 'no such folder: '}not a run's folder")
        return self.model

    @contextmanager
    def claim(self, config: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Be the only run in the folder: a new one, or if `resume` one of the same decisive configuration."""
        self._check(config, resume=resume)  # before anything is written into what may be somebody else's folder
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.lock, timeout=_LOCK_SECONDS):
                self._check(config, resume=resume)  # another run may have begun meanwhile
                for left in filter(is_temporary, list(self.path.iterdir())):  # by a kill
                    left.unlink(missing_ok=True)
                if not self.config.exists():
                    write_json(self.config, config)
                yield
        except filelock.Timeout:
            raise RunError(f"--out {self.path}: another run is at work in it") from None

    def check_free(self, *, resume: bool) -> None:
        """Raise `RunError` for a folder that holds something, unless a run is to be resumed."""
        if not resume and not self._is_empty():
            raise RunError(f"--out {self.path}: not empty; give --resume to go on with it, or another --out")

    def _is_empty(self) -> bool:
        # A run that was killed before its configuration was safe has left a temporary file at most.
        present = list(self.path.iterdir()) if self.path.exists() else []
        return all(path.suffix == ".tmp" or path.name == _LOCK for path in present)

    def _check(self, config: Mapping[str, Any], *, resume: bool) -> None:
        self.check_free(resume=resume)
        if self._is_empty():
            return
        earlier = read_json(self.config).get("decisive")
        if not isinstance(earlier, dict):
            raise RunError(f"{self.config}: damaged: not the configuration of a run")
        differing = _describe_differences(earlier, json.loads(json.dumps(config["decisive"])))
        if differing:
            raise RunError(f"--resume {self.path}: the run was begun with another configuration: {differing}")


def hash_settings(decisive: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that tell configurations apart."""
    return hashlib.sha256(json.dumps(dict(decisive), sort_keys=True).encode()).hexdigest()[:8]


def read_json(path: Path) -> dict[str, Any]:
    """Read a run's JSON file. A missing or damaged one is a `RunError`."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file: not a run's folder") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: damaged (not a JSON object)")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def _describe_differences(earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Keys whose values differ, as `key: earlier -> now`."""
    parts = []
    for key in sorted({*earlier, *now}):
        before, after = earlier.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            parts.append(_describe_differences(before, after, f"{prefix}{key}."))
        elif before != after:
            parts.append(f"{prefix}{key}: {before!s:.16} -> {after!s:.16}")
    return ", ".join(part for part in parts if part)
