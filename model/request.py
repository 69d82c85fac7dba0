"""What a user asks a training for, checked and resolved to all that decides its weights."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import torch

from emodna.model.config import TrainConfig, as_settings
from emodna.model.data.resident import Residency
from emodna.model.data.validation import Split
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluation.criteria import CRITERIA, LAST, SOURCE_ACCURACY
from emodna.model.methods import package_of
from emodna.model.methods.base import Settled, Supervision
from emodna.model.run_folder import JOIN, settings_hash
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.features import FeatureSet, feature_set_from
from emodna.pipeline.store import FeatureStore

#: About a syllable: a shorter window is a mistake.
_MIN_SECONDS: Final = 0.25
#: The authors' usual 96 000 samples at 22 050 Hz, rounded.
_USUAL_SECONDS: Final = 4.375
#: Snapshots of a run that has to choose among some.
_SNAPSHOTS: Final = 20
#: Share of the source that is held out where a criterion needs it.
_VALIDATION: Final = 0.1


#: Settings that change no result, and so may change at a resume.
_NOT_DECISIVE: Final = ("checkpoint_seconds",)


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What a user asks for."""

    sources: Sequence[FeatureStore]
    target: FeatureStore
    task: Task = "arousal"
    method: str = "emo-dna"
    steps: int = 1000
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int | None = None
    """Of torch, on the CPU; None leaves them as they are."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of `TrainConfig` and of the method's configuration, as text."""
    out: Path | None = None
    """Run folder; by default one below `runs` that is named by the request."""
    resume: bool = False
    residency: Residency = "auto"
    """Whether windows are made once and kept on the device; the results do not depend on it."""
    select: str = LAST
    """Which of the run's snapshots becomes its model: `LAST`, or the best by one of `CRITERIA`."""
    oracle_analysis: bool = False
    """Score every snapshot by the target's labels, after all else, in a file of its own."""
    compile: bool = False
    """Put the losses through torch.compile: slower to begin, other roundings and draws."""
    cuda_graph: bool = False
    """Capture each step as a CUDA graph: other roundings in the optimiser."""

    def __post_init__(self) -> None:
        """Put the sources in the order of their names: the same corpora are the same request."""
        object.__setattr__(self, "sources", sorted(self.sources, key=lambda source: source.snapshot.corpus))

    @property
    def stores(self) -> dict[str, FeatureStore]:
        """Sources, then the target, by corpus."""
        return {store.snapshot.corpus: store for store in (*self.sources, self.target)}


def check_stores(request: FitRequest, frames: int) -> FeatureSet:
    """Return the feature set that all stores share.

    Parameters
    ----------
    frames
        Length of the window that the networks see.

    Raises
    ------
    ConfigError, TrainingError
        Stores that do not go together, a source of which nothing can be learnt, a window that is too short.
    """
    target = request.target
    corpora = [source.snapshot.corpus for source in request.sources]
    if not request.sources:
        raise ConfigError("--src: give a source corpus")
    if request.task not in TASKS:
        raise ConfigError(f"--task {request.task}: unknown; valid: {', '.join(TASKS)}")
    same = (target.snapshot.corpus, target.fingerprint)
    if any(source.snapshot.corpus == same[0] or source.fingerprint == same[1] for source in request.sources):
        raise ConfigError(f"--tgt {target.snapshot.corpus}: the same corpus as --src; give another")
    twice = next((corpus for corpus in corpora if corpora.count(corpus) > 1), None)
    if twice is not None:
        raise ConfigError(f"--src {twice}: given twice")
    for source in request.sources:
        if source.snapshot.parameters != target.snapshot.parameters:
            raise ConfigError(f"{source.path} and {target.path}: features of different parameters do not go together")
    features = feature_set_from(target.snapshot.parameters)
    _check_window(frames, features)
    for source in request.sources:
        _check_source(source, request.task)
    return features


def shared_audio(request: FitRequest) -> dict[str, int]:
    """How many utterances of the target each source has, too, byte by byte: trained on with their labels there."""
    of_target = request.target.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
    found = {}
    for source in request.sources:
        labelled = np.flatnonzero(source.labels(request.task) >= 0)
        of_source = source.columns(["audio_sha256"])["audio_sha256"].take(labelled)
        present = pc.is_in(of_target, value_set=of_source.combine_chunks())
        found[source.snapshot.corpus] = int(pc.sum(present).as_py() or 0)
    return found


def with_choosing(request: FitRequest, config: TrainConfig) -> TrainConfig:
    """Return the settings with those filled in that choosing a snapshot needs.

    Raises
    ------
    ConfigError
        An unknown criterion, or a setting that rules out what was asked for.
    """
    if request.select not in (LAST, *CRITERIA):
        raise ConfigError(f"--select {request.select}: unknown; valid: {', '.join((LAST, *CRITERIA))}")
    if (request.select != LAST or request.oracle_analysis) and not config.snapshot_every:
        if "snapshot_every" in request.settings:
            option = "--oracle-analysis" if request.select == LAST else f"--select {request.select}"
            raise ConfigError(f"--set snapshot_every=0: {option} needs snapshots; at least 1")
        config = replace(config, snapshot_every=max(request.steps // _SNAPSHOTS, 1))
    if request.select == SOURCE_ACCURACY and not config.validation:
        if "validation" in request.settings:
            raise ConfigError(f"--set validation=0: --select {SOURCE_ACCURACY} needs held-out utterances; above 0")
        config = replace(config, validation=_VALIDATION)
    return config


def resolved(
    request: FitRequest,
    train_config: TrainConfig,
    settled: Settled,
    defaults: object,
    supervision: Supervision,
    label: str,
    splits: Sequence[Split],
    folds: Sequence[Sequence[str]] | None,
) -> dict[str, Any]:
    """Content of config.json; what stands under `decisive` decides the weights, bit by bit.

    Parameters
    ----------
    defaults
        Of the method's configuration.
    label
        See `labelled`.
    folds
        Speakers of the target in each, if the run is cross-validated.
    """
    stores = request.stores
    return {
        "decisive": {
            "src": JOIN.join(source.snapshot.corpus for source in request.sources),
            "tgt": request.target.snapshot.corpus,
            "task": request.task,
            "method": request.method,
            "seed": request.seed,
            "steps": request.steps,
            "select": request.select,
            "train": {key: value for key, value in as_settings(train_config).items() if key not in _NOT_DECISIVE},
            "method_config": as_settings(settled.config),
            "features": dict(request.target.snapshot.parameters),
            "fingerprints": {corpus: store.fingerprint for corpus, store in stores.items()},
            "device": request.device.type,
            "threads": torch.get_num_threads() if request.device.type == "cpu" else None,
            "compile": request.compile,
            "cuda_graph": request.cuda_graph,
        },
        "supervision": supervision,
        "label": label,
        "folds": folds,
        "defaults": {"train": as_settings(TrainConfig()), "method_config": as_settings(defaults)},
        "stores": {corpus: str(store.path) for corpus, store in stores.items()},
        "remarks": list(settled.remarks),
        "shared_audio": shared_audio(request),
        "left_out": {
            source.snapshot.corpus: int((source.labels(request.task) < 0).sum()) for source in request.sources
        },
        "held_out": {
            each.store.snapshot.corpus: {"utterances": len(each.held_out), "by": each.by} for each in splits if each.by
        },
        "versions": {name: importlib.metadata.version(name) for name in ("emodna", "torch", "numpy")}
        | package_of(request.method),
    }


def default_folder(decisive: Mapping[str, Any]) -> Path:
    """Where a run goes whose user names no folder."""
    name = "{src}-{tgt}-{task}-{method}-s{seed}".format(**decisive)
    return Path("runs") / f"{name}-{settings_hash(decisive)}"


def _check_window(frames: int, features: FeatureSet) -> None:
    """Refuse a window in which there is no emotion to hear: the default counts MFCC frames, not samples."""
    frames_per_second = features.sample_rate / features.hop_length
    if frames < _MIN_SECONDS * frames_per_second:
        usual = round(_USUAL_SECONDS * frames_per_second)
        raise ConfigError(
            f"--set frames={frames}: only {frames / frames_per_second:.3f} s of {features.name}, at least "
            f"{_MIN_SECONDS} s needed; {usual} frames are {usual / frames_per_second:.1f} s"
        )


def _check_source(store: FeatureStore, task: str) -> None:
    present = set(np.unique(store.labels(task)).tolist()) - {-1}
    if len(present) < 2:
        found = f"only class {present.pop()}" if present else "no label"
        raise TrainingError(f"--src {store.snapshot.corpus}: {found} of {task}: there is nothing to learn from")
