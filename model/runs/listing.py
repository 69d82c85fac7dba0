"""Runs on disk: found and read without torch, whatever state they were left in."""

import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from emodna.model.errors import RunError
from emodna.model.label import BLIND, label_of
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import JOIN, RunFolder, read_json

State = Literal["done", "running", "interrupted", "damaged"]

#: Scores in percent, in the order in which they are shown; a constant answer has a UAR of 50.
#: What a run is asked for, with the type of each.
_ASKED: Final[Mapping[str, type]] = {"src": str, "tgt": str, "task": str, "method": str, "seed": int, "steps": int}

Scores = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder as it was found; what could not be read is None or empty."""

    folder: RunFolder
    state: State
    problem: str | None
    """Of a damaged run: what is wrong."""
    config: Mapping[str, Any]
    """Content of config.json, of which `asked` and `decisive` are sure to be of the right types."""
    step: int | None
    """Steps that are done: of a running one those that are logged, else those that a resume would keep."""
    scores: Scores
    """Of `SCORE_NAMES`, in percent; None before the run is done, and without labels of the target."""
    constants: Mapping[str, Scores]
    """The same of the constant answers."""
    changed: float
    """When the run last wrote, in seconds since 1970."""
    bytes: int

    @property
    def decisive(self) -> Mapping[str, Any]:
        """What decides the weights."""
        found = self.config.get("decisive")
        return found if isinstance(found, dict) else {}

    @property
    def asked(self) -> dict[str, Any]:
        """src, tgt, task, method, seed and steps; None where they are not known."""
        found = self.decisive
        return {key: found[key] if type(found.get(key)) is kind else None for key, kind in _ASKED.items()}

    @property
    def supervision(self) -> str | None:
        """Whose labels it learns from, as `Method.supervision`; None where that is not known."""
        return str(self.config.get("supervision", BLIND)) if self.decisive else None

    @property
    def label(self) -> str | None:
        """What the method is called beside the run's results; None where that is not known."""
        return label_of(self.config)

    @property
    def sources(self) -> list[str]:
        """Corpora of the source."""
        src = self.asked["src"]
        return [] if src is None else src.split(JOIN)

    @property
    def best_constant(self) -> dict[str, float | None]:
        """The best of the constant answers by each score."""
        known = {key: [each[key] for each in self.constants.values()] for key in SCORE_NAMES}
        return {key: max((value for value in found if value is not None), default=None) for key, found in known.items()}


def find_runs(places: Iterable[Path]) -> Iterator[Run]:
    """All runs in and below some folders, in order of their paths.

    Raises
    ------
    RunError
        A place that is no folder.
    """
    for place in places:
        if not place.is_dir():
            raise RunError(f"{place}: no such folder")
        for parent, folders, files in os.walk(place):
            folder = RunFolder(Path(parent))
            folders.sort()
            if folder.config.name in files and (run := _read(folder)) is not None:
                folders.clear()  # a run keeps no run in it
                yield run


def open_run(path: Path) -> Run:
    """Read the run in a folder, damaged or not.

    Raises
    ------
    RunError
        There is none.
    """
    run = _read(RunFolder(path)) if path.is_dir() else None
    if run is None:
        raise RunError(f"{path}: not a run's folder; emodna-runs ls finds those below a folder")
    return run


def curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each quantity in metrics.jsonl, in order; lines that cannot be read are left out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in _logged(run.folder):
        for name, value in line.items():
            if name != "step" and (number := _number(value)) is not None:
                found.setdefault(name, []).append((line["step"], number))
    return found


def files(folder: RunFolder) -> dict[str, os.stat_result]:
    """Name and status of each file of a run, in order; those that vanish meanwhile are left out."""
    found = {}
    with suppress(OSError):
        for path in sorted(folder.path.rglob("*")):
            with suppress(OSError):
                if path.is_file():
                    found[str(path.relative_to(folder.path))] = path.stat()
    return found


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with the keys of all levels joined by dots."""
    joined: dict[str, Any] = {}
    for key, value in config.items():
        joined |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return joined


def not_default(run: Run) -> dict[str, tuple[Any, Any]]:
    """Settings of a run that are not the defaults of its version: value, then default."""
    defaults = run.config.get("defaults")
    known = flat(defaults) if isinstance(defaults, dict) else {}
    mine = flat(run.decisive)
    return {key: (mine[key], default) for key, default in known.items() if key in mine and mine[key] != default}


def _read(folder: RunFolder) -> Run | None:
    """The run in a folder; None for a folder that is not a run's."""
    config: dict[str, Any] = {}
    scores: Scores = dict.fromkeys(SCORE_NAMES)
    constants: Mapping[str, Scores] = {}
    step = problem = None
    state: State = "damaged"
    try:
        config = _read_json(folder.config)
        _check_config(folder, config)
        if folder.done.exists():
            state, step = "done", config["decisive"]["steps"]
            scores, constants = _scores(folder)
        elif is_locked(folder):
            state, step = "running", max((line["step"] for line in _logged(folder)), default=0)
        else:
            state, step = "interrupted", _checkpoint_step(folder)
    except (RunError, OSError) as error:
        if not _looks_like_a_run(folder, config):
            return None
        state, problem = "damaged", str(error)
    statuses = files(folder).values()
    changed = max((status.st_mtime for status in statuses), default=0.0)
    size = sum(status.st_size for status in statuses)
    return Run(folder, state, problem, config, step, scores, constants, changed, size)


def _looks_like_a_run(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    """Whether a config.json that is not a run's lies beside something that only runs have: many a model has one."""
    return "decisive" in config or any(map(os.path.exists, (folder.metrics, folder.resume, folder.result)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except RecursionError:
        raise RunError(f"{path}: damaged (nested too deeply)") from None


def _check_config(folder: RunFolder, config: Mapping[str, Any]) -> None:
    decisive = config.get("decisive")
    if not isinstance(decisive, dict):
        raise RunError(f"{folder.config}: damaged: not the configuration of a run")
    for key, kind in _ASKED.items():
        if type(decisive.get(key)) is not kind:
            raise RunError(f"{folder.config}: damaged: {key} is {decisive.get(key)!r:.40}")


def _scores(folder: RunFolder) -> tuple[Scores, Mapping[str, Scores]]:
    result = _read_json(folder.result)
    constant = result.get("constant")
    if not isinstance(constant, dict) or not all(isinstance(each, dict) for each in constant.values()):
        raise RunError(f"{folder.result}: damaged: no scores of the constant answers")
    return _checked(folder, result), {str(name): _checked(folder, each) for name, each in constant.items()}


def _checked(folder: RunFolder, found: Mapping[str, Any]) -> Scores:
    for key in SCORE_NAMES:
        if key not in found or (found[key] is not None and _number(found[key]) is None):
            raise RunError(f"{folder.result}: damaged: {key} is {found.get(key)!r:.40}")
    return {key: _number(found[key]) for key in SCORE_NAMES}


def _checkpoint_step(folder: RunFolder) -> int:
    """Steps of the checkpoint, read off its head; 0 without one."""
    from safetensors import SafetensorError, safe_open

    if not folder.resume.exists():
        return 0
    try:
        with safe_open(folder.resume, framework="np") as file:
            step = json.loads(file.metadata()["emodna"])["facts"]["step"]
        if type(step) is int and step >= 0:
            return step
        reason: object = f"step {step!r:.40}"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error
    raise RunError(f"{folder.resume}: damaged ({reason})")


def _logged(folder: RunFolder) -> list[dict[str, Any]]:
    """The readable lines of metrics.jsonl: the last one of a run that is at work may be half written."""
    try:
        lines = folder.metrics.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and type(content.get("step")) is int:
            found.append(content)
    return found


def is_locked(folder: RunFolder) -> bool:
    """Whether a run is at work in a folder. A shared lock is tried, so that looking is no work."""
    try:
        with folder.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever made, or the file system has none
        return False
    return False


def _number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
