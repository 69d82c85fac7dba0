"""From what a user asks for to a run that can begin: checked, and resolved to everything that decides its weights."""

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow.compute as pc
import torch

from emodna.model import methods
from emodna.model.config import DEFAULT_STEPS, RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.data.loading import Residency
from emodna.model.data.validation import Split, split
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluation.criteria import CRITERIA, LAST, SOURCE_ACCURACY
from emodna.model.evaluation.folds import Folds, split_into_folds
from emodna.model.label import make_label
from emodna.model.methods.alignment import list_additions
from emodna.model.methods.base import DataSummary, Method, ResolvedConfig, Supervision
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.reproducibility import use_seed
from emodna.model.run_folder import JOIN, hash_settings
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import PluginError
from emodna.pipeline.features import FeatureSet, rebuild_feature_set
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
    steps: int = DEFAULT_STEPS
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


@dataclass(frozen=True)
class FitPlan:
    """A run that can begin."""

    request: FitRequest
    train: TrainConfig
    record: RecordConfig
    features: FeatureSet
    splits: Sequence[Split]
    """Of the sources."""
    facts: DataSummary
    settled: ResolvedConfig
    method: Method
    folds: Folds | None
    """Of the target's speakers, where the method is cross-validated over them."""
    began: float = field(default_factory=time.perf_counter)

    @property
    def supervision(self) -> Supervision:
        """Whose labels the method learns from."""
        return self.method.supervision

    @property
    def utterances(self) -> int:
        """Utterances that networks are shown in a step."""
        return self.train.batch_size * (2 if self.folds is None else len(self.folds.speakers))

    @cached_property
    def label(self) -> str:
        """Name of the method beside the run's results."""
        request, kind = self.request, type(self.method)
        usual, used = as_settings(kind.defaults), as_settings(self.settled.config)
        changed = {key: used[key] for key in request.settings if key in used and used[key] != usual[key]}
        return make_label(request.method, changed, our_reading=kind.our_reading, supervision=self.supervision)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json; the values under `decisive` decide the weights, bit by bit."""
        request = self.request
        stores = {store.snapshot.corpus: store for store in (*request.sources, request.target)}
        train, defaults = as_settings(self.train), type(self.method).defaults
        return {
            "decisive": {
                "src": JOIN.join(source.snapshot.corpus for source in request.sources),
                "tgt": request.target.snapshot.corpus,
                "task": request.task,
                "method": request.method,
                "seed": request.seed,
                "steps": request.steps,
                "select": request.select,
                "train": {key: value for key, value in train.items() if key not in _NOT_DECISIVE},
                "method_config": as_settings(self.settled.config),
                "features": dict(request.target.snapshot.parameters),
                "fingerprints": {corpus: store.fingerprint for corpus, store in stores.items()},
                "device": request.device.type,
                "threads": torch.get_num_threads() if request.device.type == "cpu" else None,
                "compile": request.compile,
                "cuda_graph": request.cuda_graph,
            },
            "supervision": self.supervision,
            "label": self.label,
            "folds": None if self.folds is None else self.folds.speakers,
            "defaults": {"train": as_settings(TrainConfig()), "method_config": as_settings(defaults)},
            "stores": {corpus: str(store.path) for corpus, store in stores.items()},
            "remarks": list(self.settled.remarks),
            "shared_audio": _count_shared_audio(request),
            "left_out": {
                source.snapshot.corpus: int((source.labels(request.task) < 0).sum()) for source in request.sources
            },
            "held_out": {
                each.store.snapshot.corpus: {"utterances": len(each.held_out), "by": each.by}
                for each in self.splits
                if each.by
            },
            "versions": {name: importlib.metadata.version(name) for name in ("emodna", "torch", "numpy")}
            | methods.find_package(request.method),
        }

    @property
    def folder(self) -> Path:
        """The run's folder: the user's choice, or one that is named by all that decides the run."""
        decisive = self.config["decisive"]
        name = "{src}-{tgt}-{task}-{method}-s{seed}".format(**decisive)
        return self.request.out or Path("runs") / f"{name}-{hash_settings(decisive)}"


def resolve_request(request: FitRequest) -> FitPlan:
    """Check a request, or raise an `EmodnaError`, and fill in what it leaves open. Writes nothing, trains nothing."""
    began = time.perf_counter()
    if request.steps < 1:
        raise ConfigError(f"--steps {request.steps}: must be at least 1")
    if request.cuda_graph and request.device.type != "cuda":
        raise ConfigError(f"--cuda-graph: needs a CUDA device; this run is on {request.device}")
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    kind = methods.get_method(request.method)
    _check_addition(request, kind)
    train, method_config, record = apply_settings(request.settings, TrainConfig(), kind.defaults, RecordConfig())
    train = _resolve_selection(request, train)
    features = _resolve_features(request)
    _check_window(train.frames, features)
    for source in request.sources:
        _check_labels(source, request.task)
    splits = [split(source, request.task, train.validation, request.seed) for source in request.sources]
    trained_on = [(each.store, each.labels) for each in splits]
    facts = DataSummary.of(trained_on, request.target, train.frames, train.batch_size)
    _check_size(kind, facts)
    settled, method = _make_method(request, kind, method_config, facts)
    if request.cuda_graph and (reason := method.graph_obstacle):
        raise ConfigError(f"--cuda-graph: {request.method} cannot be captured: {reason}")
    return FitPlan(
        request=request,
        train=train,
        record=record,
        features=features,
        splits=splits,
        facts=facts,
        settled=settled,
        method=method,
        folds=_make_folds(request, train, method),
        began=began,
    )


def _check_addition(request: FitRequest, kind: type[Method]) -> None:
    """Refuse an addition to a method that knows none."""
    if "add" in request.settings and not list_additions(kind):
        known = methods.load_methods()
        valid = [name for name, each in known.items() if not isinstance(each, PluginError) and list_additions(each)]
        raise ConfigError(f"--add {request.settings['add']}: not for {request.method}; valid: {', '.join(valid)}")


def _resolve_selection(request: FitRequest, config: TrainConfig) -> TrainConfig:
    """Fill in the settings that choosing a snapshot needs; refuse an unknown criterion and what rules it out."""
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


def _resolve_features(request: FitRequest) -> FeatureSet:
    """Return the feature set of all stores; refuse stores that do not go together."""
    target = request.target
    corpora = [source.snapshot.corpus for source in request.sources]
    if not request.sources:
        raise ConfigError("--src: give a source corpus")
    if request.task not in TASKS:
        raise ConfigError(f"--task {request.task}: unknown; valid: {', '.join(TASKS)}")
    if target.snapshot.corpus in corpora or target.fingerprint in [each.fingerprint for each in request.sources]:
        raise ConfigError(f"--tgt {target.snapshot.corpus}: the same corpus as --src; give another")
    twice = next((corpus for corpus in corpora if corpora.count(corpus) > 1), None)
    if twice is not None:
        raise ConfigError(f"--src {twice}: given twice")
    for source in request.sources:
        if source.snapshot.parameters != target.snapshot.parameters:
            raise ConfigError(f"{source.path} and {target.path}: features of different parameters do not go together")
    return rebuild_feature_set(target.snapshot.parameters)


def _check_window(frames: int, features: FeatureSet) -> None:
    """Refuse a window in which there is no emotion to hear: the default counts MFCC frames, not samples."""
    frames_per_second = features.sample_rate / features.hop_length
    if frames < _MIN_SECONDS * frames_per_second:
        usual = round(_USUAL_SECONDS * frames_per_second)
        raise ConfigError(
            f"--set frames={frames}: only {frames / frames_per_second:.3f} s of {features.name}, at least "
            f"{_MIN_SECONDS} s needed; {usual} frames are {usual / frames_per_second:.1f} s"
        )


def _check_labels(source: FeatureStore, task: str) -> None:
    """Refuse a source without two classes."""
    present = set(np.unique(source.labels(task)).tolist()) - {-1}
    if len(present) < 2:
        found = f"only class {present.pop()}" if present else "no label"
        raise TrainingError(f"--src {source.snapshot.corpus}: {found} of {task}: there is nothing to learn from")


def _check_size(kind: type[Method], facts: DataSummary) -> None:
    """Refuse an input that the method's networks cannot read."""
    if facts.frames < kind.min_frames:
        raise ConfigError(f"--set frames={facts.frames}: {kind.name} needs at least {kind.min_frames}")
    if facts.dim < kind.min_dim:
        raise ConfigError(
            f"--feature-set: {kind.name} needs at least {kind.min_dim} values per frame, these have {facts.dim}"
        )


def _make_method(
    request: FitRequest, kind: type[Method], config: Any, facts: DataSummary
) -> tuple[ResolvedConfig, Method]:
    """Make the method with a configuration that fits the run; blame another package for a method that is none."""
    with methods.wrap_plugin_errors(request.method, "resolve_config()"):
        settled = kind.resolve_config(config, facts)
        if not isinstance(settled, ResolvedConfig) or type(settled.config) is not type(kind.defaults):
            raise TypeError(f"it must return a ResolvedConfig, with a {type(kind.defaults).__name__}")
        if isinstance(settled.remarks, str) or not all(isinstance(remark, str) for remark in settled.remarks):
            raise TypeError("its remarks must be a sequence of sentences")
    # What a method draws without a generator of its own follows from the seed, too.
    with methods.wrap_plugin_errors(request.method, "()"), use_seed(request.seed, "method"):
        method: Method = kind(facts.dim, settled.config, request.seed)
        if method.supervision not in get_args(Supervision):
            raise TypeError(f"its supervision must be one of {', '.join(get_args(Supervision))}")
        if (method.supervision == "oracle-folds") != isinstance(method, UpperBound):
            raise TypeError("the supervision oracle-folds is that of an UpperBound, and of nothing else")
    return settled, method


def _make_folds(request: FitRequest, train: TrainConfig, method: Method) -> Folds | None:
    """Check what an oracle is asked for, and share out the target's speakers if it is cross-validated over them."""
    if method.supervision == "oracle-labels" and not (request.target.labels(request.task) >= 0).any():
        raise TrainingError(
            f"--tgt {request.target.snapshot.corpus}: no label of {request.task} to take the place of pseudo-labels"
        )
    if not isinstance(method, UpperBound):
        return None
    for option, given in (
        (f"--select {request.select}", request.select != LAST),
        ("--oracle-analysis", request.oracle_analysis),
        (f"--set validation={train.validation:g}", train.validation > 0),
    ):
        if given:
            raise ConfigError(
                f"{option}: not for {request.method}, whose scores are cross-validated, of the last step; leave it out"
            )
    return split_into_folds(request.target, request.task, len(method.networks), request.seed)


def _count_shared_audio(request: FitRequest) -> dict[str, int]:
    """Count the labelled utterances of each source that the target has, too, byte by byte."""
    of_target = request.target.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
    found = {}
    for source in request.sources:
        labelled_rows = np.flatnonzero(source.labels(request.task) >= 0)
        of_source = source.columns(["audio_sha256"])["audio_sha256"].take(labelled_rows)
        present = pc.is_in(of_target, value_set=of_source.combine_chunks())
        found[source.snapshot.corpus] = int(pc.sum(present).as_py() or 0)
    return found
