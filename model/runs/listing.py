"""Runs on disk: found and read without torch, in any state, with the stores that they were trained on."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from emodna.model.errors import RunError
from emodna.model.label import SCORE_NAMES, SOURCE_SUPERVISION, read_label
from emodna.model.run_folder import JOIN, RunFolder, read_json
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.pipeline.store import FeatureStore

State = Literal["done", "running", "interrupted", "damaged"]

#: Keys of the configuration that identify a run.
_IDENTITY: Final = ("src", "tgt", "task", "method", "seed", "steps")

Scores = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder as it was found; unreadable parts are None or empty."""

    folder: RunFolder
    state: State
    problem: str | None
    """Damage, in words."""
    config: Mapping[str, Any]
    """Content of config.json; empty if that is damaged."""
    step: int | None
    """Finished steps: of a running run those that are logged, else those that a resume would keep."""
    scores: Scores
    """The scores of `SCORE_NAMES` in percent; None before the run is done, and without labels of the target."""
    constants: Mapping[str, Scores]
    """The same of the constant predictors."""
    changed: float
    """Time of the run's last write, in seconds since 1970."""
    bytes: int

    @property
    def decisive(self) -> Mapping[str, Any]:
        """The part of the configuration that decides the weights."""
        return self.config.get("decisive", {})  # type: ignore[no-any-return]

    @property
    def identity(self) -> dict[str, Any]:
        """src, tgt, task, method, seed and steps; None if unknown."""
        return {key: self.decisive.get(key) for key in _IDENTITY}

    @property
    def supervision(self) -> str | None:
        """The labels that it learns from, as `Method.supervision`; None if unknown."""
        return str(self.config.get("supervision", SOURCE_SUPERVISION)) if self.decisive else None

    @property
    def label(self) -> str | None:
        """The method's label beside the run's results; None if unknown."""
        return read_label(self.config)

    @property
    def sources(self) -> list[str]:
        """Corpora of the source."""
        return self.identity["src"].split(JOIN) if self.decisive else []

    @property
    def best_constant(self) -> dict[str, float | None]:
        """The best constant predictor's value of each score."""
        values = {key: [each[key] for each in self.constants.values()] for key in SCORE_NAMES}
        return {key: max((value for value in each if value is not None), default=None) for key, each in values.items()}

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that it was trained on, sources first."""
        return list(self.config.get("stores", {}))


@dataclass(frozen=True, slots=True)
class TrainingStore:
    """A store that a run was trained on."""

    corpus: str
    path: str | None
    fingerprint: str | None
    """Fingerprint during the run; None if the configuration lacks it."""
    state: Literal["same", "changed", "gone", "damaged", "not known"]
    store: "FeatureStore | None"
    """The store, if it is the same."""


def find_runs(places: Iterable[Path]) -> Iterator[Run]:
    """Yield all runs in and below some folders, in order of their paths; a `RunError` for a place that is no folder."""
    for place in places:
        if not place.is_dir():
            raise RunError(f"{place}: no such folder")
        for parent, folders, names in os.walk(place):
            folder = RunFolder(Path(parent))
            folders.sort()
            if folder.config.name in names and (run := _read_run(folder)) is not None:
                folders.clear()  # a run contains no other run
                yield run


def open_run(path: Path) -> Run:
    """Read the run in a folder, damaged or not; a `RunError` if there is none."""
    run = _read_run(RunFolder(path)) if path.is_dir() else None
    if run is None:
        raise RunError(f"{path}: not a run's folder; emodna-runs ls finds those below a folder")
    return run


def find_training_store(run: Run, corpus: str) -> TrainingStore:
    """Find a store that a run was trained on."""
    from emodna.pipeline.store import FeatureStore, layout  # what it loads, a list of runs does not need

    path, fingerprint = (each.get(corpus) for each in (run.config.get("stores", {}), run.decisive["fingerprints"]))
    if path is None or fingerprint is None:
        return TrainingStore(corpus, None, None, "not known", None)
    if not (Path(path) / layout.STORE_JSON).exists():
        return TrainingStore(corpus, path, fingerprint, "gone", None)
    try:
        store = FeatureStore(Path(path))
    except (EmodnaError, OSError):
        return TrainingStore(corpus, path, fingerprint, "damaged", None)
    if store.fingerprint != fingerprint:
        return TrainingStore(corpus, path, fingerprint, "changed", None)
    return TrainingStore(corpus, path, fingerprint, "same", store)


def read_curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of each quantity in metrics.jsonl, in order, without values that were not finite."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in _read_log(run.folder):
        for name, value in line.items():
            if name != "step" and value is not None:
                found.setdefault(name, []).append((line["step"], float(value)))
    return found


def files(folder: RunFolder) -> dict[str, os.stat_result]:
    """Return name and status of each file of a run, in order, without those that vanish meanwhile."""
    found = {}
    with suppress(OSError):
        for path in sorted(folder.path.rglob("*")):
            with suppress(OSError):
                if path.is_file():
                    found[str(path.relative_to(folder.path))] = path.stat()
    return found


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the keys of a nested configuration by dots."""
    joined: dict[str, Any] = {}
    for key, value in config.items():
        joined |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return joined


def find_changed_settings(run: Run) -> dict[str, tuple[Any, Any]]:
    """Return value and default of the settings that are not the defaults of the run's version."""
    defaults, mine = flatten(run.config.get("defaults", {})), flatten(run.decisive)
    return {key: (mine[key], default) for key, default in defaults.items() if key in mine and mine[key] != default}


def is_locked(folder: RunFolder) -> bool:
    """Return True if a run is at work in a folder. The lock tried is shared: readers do not disturb each other."""
    try:
        with folder.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever made, or the file system has none
        return False
    return False


def _read_run(folder: RunFolder) -> Run | None:
    """Read the run in a folder; None if it is not a run's."""
    config: dict[str, Any] = {}
    scores: Scores = dict.fromkeys(SCORE_NAMES)
    constants: Mapping[str, Scores] = {}
    step = problem = None
    state: State
    try:
        config = _read_config(folder)
        if folder.done.exists():
            state, step = "done", config["decisive"]["steps"]
            scores, constants = _read_scores(folder)
        elif is_locked(folder):
            state, step = "running", max((line["step"] for line in _read_log(folder)), default=0)
        else:
            state, step = "interrupted", _read_checkpoint_step(folder)
    except (RunError, OSError) as error:
        # Many a model has a config.json: it is a run's only beside a file that no other has.
        if not config and not any(map(os.path.exists, (folder.metrics, folder.resume, folder.result))):
            return None
        state, problem = "damaged", str(error)
    statuses = files(folder).values()
    changed = max((status.st_mtime for status in statuses), default=0.0)
    size = sum(status.st_size for status in statuses)
    return Run(folder, state, problem, config, step, scores, constants, changed, size)


def _read_config(folder: RunFolder) -> dict[str, Any]:
    config = read_json(folder.config)
    if not isinstance(decisive := config.get("decisive"), dict) or {*_IDENTITY, "fingerprints"} - decisive.keys():
        raise RunError(f"{folder.config}: damaged: not the configuration of a run")
    return config


def _read_scores(folder: RunFolder) -> tuple[Scores, Mapping[str, Scores]]:
    """Read the scores of a run, and those of the constant predictors."""
    result = read_json(folder.result)
    try:
        constants = {name: {key: scores[key] for key in SCORE_NAMES} for name, scores in result["constant"].items()}
        return {key: result[key] for key in SCORE_NAMES}, constants
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder.result}: damaged: not the scores of a run ({error})") from error


def _read_checkpoint_step(folder: RunFolder) -> int:
    """Read the finished steps off the head of the checkpoint; 0 without one."""
    from safetensors import SafetensorError, safe_open

    if not folder.resume.exists():
        return 0
    try:
        with safe_open(folder.resume, framework="np") as file:
            return int(json.loads(file.metadata()["emodna"])["facts"]["step"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder.resume}: damaged ({error})") from error


def _read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; the last one of a run at work may be half written."""
    found = []
    with suppress(FileNotFoundError):
        for line in folder.metrics.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
