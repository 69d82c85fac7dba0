"""Reading of run folders in any state, and of the stores they were trained on, without torch."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from emodna.model.errors import RunError
from emodna.model.label import SCORE_NAMES, SOURCE_SUPERVISION, mark_exposure, read_exposure, read_label
from emodna.model.run_folder import JOIN, RunFolder, make_no_run_error, read_json
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.tasks import read_task

if TYPE_CHECKING:
    from emodna.pipeline.encoders.known import Exposure
    from emodna.pipeline.store import FeatureStore

State = Literal["done", "running", "interrupted", "damaged"]

#: Keys of the configuration that identify a run.
_IDENTITY: Final = ("src", "tgt", "task", "method", "seed", "steps")

Scores = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Run:
    """The content of a run folder at one moment; unreadable parts are None or empty."""

    folder: RunFolder
    state: State
    problem: str | None
    """Description of the damage; None if there is none."""
    config: Mapping[str, Any]
    """Content of config.json; empty if that is damaged."""
    step: int | None
    """Number of finished steps: the last logged step of a running run, else the steps that resuming would keep."""
    scores: Scores
    """Scores of `SCORE_NAMES` in percent; None if the run is not done or the target has no labels."""
    constants: Mapping[str, Scores]
    """Scores of the constant predictors, by name."""
    changed: float
    """Time of the last write, in seconds since 1970."""
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
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes of its task, class 0 first; None if unknown."""
        return read_task(self.decisive).classes if self.decisive else None

    @property
    def supervision(self) -> str | None:
        """The value of `Method.supervision`; None if unknown."""
        return str(self.config.get("supervision", SOURCE_SUPERVISION)) if self.decisive else None

    @property
    def label(self) -> str | None:
        """The label of the method in tables; None if unknown."""
        return read_label(self.config)

    @property
    def exposure(self) -> "dict[str, Exposure]":
        """Exposure of each corpus of the run."""
        return {corpus: read_exposure(self.config, corpus) for corpus in self.corpora}

    @property
    def target_exposure(self) -> "Exposure":
        """Exposure of the target, which marks the scores."""
        return read_exposure(self.config, str(self.identity["tgt"]))

    @property
    def marked_label(self) -> str | None:
        """The label, marked by the exposure of the target; None if unknown."""
        return None if self.label is None else mark_exposure(self.label, self.target_exposure)

    @property
    def sources(self) -> list[str]:
        """Names of the source corpora."""
        return self.identity["src"].split(JOIN) if self.decisive else []

    @property
    def best_constant(self) -> dict[str, float | None]:
        """The best value of the constant predictors for each score."""
        values = {key: [each[key] for each in self.constants.values()] for key in SCORE_NAMES}
        return {key: max((value for value in each if value is not None), default=None) for key, each in values.items()}

    @property
    def corpora(self) -> list[str]:
        """Names of all corpora of the run, sources first."""
        return list(self.config.get("stores", {}))


@dataclass(frozen=True, slots=True)
class TrainingStore:
    """A store that a run was trained on."""

    corpus: str
    path: str | None
    fingerprint: str | None
    """Fingerprint of the store during training; None if unknown."""
    state: Literal["same", "changed", "gone", "damaged", "not known"]
    store: "FeatureStore | None"
    """The opened store; None unless its state is "same"."""


def find_runs(places: Iterable[Path]) -> Iterator[Run]:
    """Yield the runs in and below some folders, sorted by path. Raise a RunError if a folder does not exist."""
    for place in places:
        if not place.is_dir():
            raise RunError("folder not found", where=place)
        for parent, folders, names in os.walk(place):
            folder = RunFolder(Path(parent))
            folders.sort()
            if folder.config.name in names and (run := _read_run(folder)) is not None:
                folders.clear()  # a run contains no other run
                yield run


def open_run(path: Path) -> Run:
    """Read the run in a folder, damaged or not. Raise a RunError if the folder contains no run."""
    run = _read_run(RunFolder(path)) if path.is_dir() else None
    if run is None:
        raise make_no_run_error(path)
    return run


def find_training_store(run: Run, corpus: str) -> TrainingStore:
    """Return the store of a corpus of a run."""
    from emodna.pipeline.store import FeatureStore, layout  # listing runs does not need pyarrow

    path, fingerprint = (each.get(corpus) for each in (run.config.get("stores", {}), run.decisive["fingerprints"]))
    if path is None or fingerprint is None:
        return TrainingStore(corpus, None, None, "not known", None)
    if not (Path(path) / layout.STORE_JSON).exists():
        return TrainingStore(corpus, path, fingerprint, "gone", None)
    try:
        store = FeatureStore(Path(path))
    except (EmodnaError, OSError):
        return TrainingStore(corpus, path, fingerprint, "damaged", None)
    if store.fingerprint != fingerprint or not _has_same_labels(run, corpus, store):
        return TrainingStore(corpus, path, fingerprint, "changed", None)
    return TrainingStore(corpus, path, fingerprint, "same", store)


def _has_same_labels(run: Run, corpus: str, store: "FeatureStore") -> bool:
    """Return True if a store gives the labels that the run recorded; a fingerprint leaves out a user's own columns."""
    from emodna.model.task import digest_labels

    recorded = run.decisive.get("labels", {}).get(corpus)
    if recorded is None and run.state == "done" and corpus == run.identity["tgt"]:
        recorded = read_json(run.folder.result).get("labels", {}).get(corpus)
    return recorded is None or [recorded] == list(digest_labels([store], read_task(run.decisive)).values())


def read_curves(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and finite values of each quantity in metrics.jsonl."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in _read_log(run.folder):
        for name, value in line.items():
            if name != "step" and value is not None:
                found.setdefault(name, []).append((line["step"], float(value)))
    return found


def list_files(folder: RunFolder) -> dict[str, os.stat_result]:
    """Return name and status of each file of a run, sorted by name. Files that vanish meanwhile are left out."""
    found = {}
    with suppress(OSError):
        for path in sorted(folder.path.rglob("*")):
            with suppress(OSError):
                if path.is_file():
                    found[str(path.relative_to(folder.path))] = path.stat()
    return found


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration with its keys joined by dots."""
    joined: dict[str, Any] = {}
    for key, value in config.items():
        joined |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return joined


def find_changed_settings(run: Run) -> dict[str, tuple[Any, Any]]:
    """Return value and default of the settings that differ from the defaults of the run's version."""
    recorded = run.config.get("defaults", {})
    defaults = flatten({part: recorded.get(part, {}) for part in ("train", "method_config")})
    mine = flatten(run.decisive)
    return {key: (mine[key], default) for key, default in defaults.items() if key in mine and mine[key] != default}


def is_locked(folder: RunFolder) -> bool:
    """Return True if a training is running in a folder. The shared lock lets several processes check at once."""
    try:
        with folder.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock file, or the file system has no locks
        return False
    return False


def _read_run(folder: RunFolder) -> Run | None:
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
        # Models of other programs have a config.json, too, but none of these files.
        if not config and not any(map(os.path.exists, (folder.metrics, folder.resume, folder.result))):
            return None
        state, problem = "damaged", str(error)
    statuses = list_files(folder).values()
    changed = max((status.st_mtime for status in statuses), default=0.0)
    size = sum(status.st_size for status in statuses)
    return Run(folder, state, problem, config, step, scores, constants, changed, size)


def _read_config(folder: RunFolder) -> dict[str, Any]:
    config = read_json(folder.config)
    if not isinstance(decisive := config.get("decisive"), dict) or {*_IDENTITY, "fingerprints"} - decisive.keys():
        raise RunError("damaged: not the configuration of a run", where=folder.config)
    try:
        read_task(decisive)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"damaged: not the task of a run: {error}", where=folder.config) from error
    return config


def _read_scores(folder: RunFolder) -> tuple[Scores, Mapping[str, Scores]]:
    result = read_json(folder.result)
    try:
        constants = {name: {key: scores[key] for key in SCORE_NAMES} for name, scores in result["constant"].items()}
        return {key: result[key] for key in SCORE_NAMES}, constants
    except (KeyError, TypeError, AttributeError) as error:
        missing = f": no {error}" if isinstance(error, KeyError) else ""
        raise RunError(f"damaged: not the scores of a run{missing}", where=folder.result) from error


def _read_checkpoint_step(folder: RunFolder) -> int:
    """Read the number of finished steps from the header of the checkpoint; 0 without one."""
    from safetensors import SafetensorError, safe_open

    if not folder.resume.exists():
        return 0
    try:
        with safe_open(folder.resume, framework="np") as file:
            return int(json.loads(file.metadata()["emodna"])["facts"]["step"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"damaged: cannot be read ({error})", where=folder.resume) from error


def _read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl; a running training may be writing another."""
    found = []
    with suppress(FileNotFoundError):
        for line in folder.metrics.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
