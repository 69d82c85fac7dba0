"""Validate a fit request and resolve it to a plan: everything that determines the weights of a run."""

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
from emodna.model.changed_settings import NOT_DECISIVE, find_non_defaults
from emodna.model.config import OF_PAPER_NETWORK, OF_WINDOWS, RecordConfig, TrainConfig, as_settings
from emodna.model.data.loading import Residency
from emodna.model.data.target_labels import TargetLabels, draw_target_labels
from emodna.model.data.validation import Split, split
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluation.criteria import CRITERIA, LAST, SOURCE_ACCURACY
from emodna.model.evaluation.folds import Folds, split_into_folds
from emodna.model.feature_defaults import apply_run_settings, find_feature_defaults
from emodna.model.label import SEMI_SUPERVISED, is_oracle, make_label
from emodna.model.methods.alignment import list_additions
from emodna.model.methods.base import DataSummary, DirectMethod, Method, ResolvedConfig, Supervision
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.networks.passes import evaluation_mode
from emodna.model.reproducibility import use_seed
from emodna.model.run_folder import JOIN, hash_settings
from emodna.model.task import digest_labels, resolve_task
from emodna.model.training.direct import STEP
from emodna.pipeline.encoders.exposure import find_exposure
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.errors import PluginError, Remedy, check_list
from emodna.pipeline.features import FeatureSet, ImportedSet, find_packages, rebuild_feature_set
from emodna.pipeline.prepare.extract import read_package_versions
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task, describe_task

#: Length of a syllable in s; shorter windows are rejected as mistakes.
_MIN_SECONDS: Final = 0.25
#: The authors' window in s: 96 000 samples at 22 050 Hz, rounded.
_USUAL_SECONDS: Final = 4.375
#: Shortest default window in frames.
_MIN_FRAMES: Final = 8
#: Default number of model snapshots of a run that needs them.
_SNAPSHOTS: Final = 20
#: Default share of the source that is held out if a criterion needs it.
_VALIDATION: Final = 0.1


@dataclass(frozen=True, slots=True)
class FitRequest:
    """A request to train and evaluate a run."""

    sources: Sequence[FeatureStore]
    target: FeatureStore
    task: Task | str = "arousal"
    """Task, or the name of a built-in one; `emotion` is the task of the emotions that the corpora share."""
    method: str = "emo-dna"
    steps: int | None = None
    """Training steps; None: the default of the feature set."""
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int | None = None
    """CPU threads of torch; None does not change them."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of `TrainConfig`, `RecordConfig` and the method's configuration, with values as text."""
    out: Path | None = None
    """Run folder; by default one in `runs`, named after the request."""
    resume: bool = False
    """True to continue the run in `out` if there is one."""
    residency: Residency = "auto"
    """Storage of the windows: `on` keeps them on the device. Changes no result."""
    select: str = LAST
    """Criterion that selects the model snapshot: `LAST`, or one of `CRITERIA`."""
    oracle_analysis: bool = False
    """True to score all model snapshots by the target's labels, in oracle.json, at the end."""
    compile: bool = False
    """True to compile the losses by torch.compile; changes rounding and random draws, and slows down the start."""
    cuda_graph: bool = False
    """True to capture each step as a CUDA graph; changes rounding in the optimiser."""

    def __post_init__(self) -> None:
        """Check types, and sort the sources by name, so that results do not depend on their order."""
        check_list("sources", self.sources, FeatureStore)
        stores = [("sources", each) for each in self.sources] + [("target", self.target)]
        for name, value, kind, text in (
            *((name, store, FeatureStore, "a FeatureStore") for name, store in stores),
            ("device", self.device, torch.device, "a torch.device"),
            ("steps", self.steps, int | None, "a whole number"),
            ("seed", self.seed, int, "a whole number"),
            ("task", self.task, Task | str, "a Task or a name"),
        ):
            if not isinstance(value, kind):
                raise ConfigError(f"must be {text}", field=name, value=value)
        object.__setattr__(self, "sources", sorted(self.sources, key=lambda source: source.snapshot.corpus))


@dataclass(frozen=True)
class FitPlan:
    """A resolved and validated request."""

    request: FitRequest
    task: Task
    steps: int
    """Training steps."""
    train: TrainConfig
    record: RecordConfig
    features: FeatureSet
    splits: Sequence[Split]
    """Training and held-out part of each source."""
    data: DataSummary
    resolved: ResolvedConfig
    method: Method
    folds: Folds | None
    """Folds of the target's speakers, if the method is cross-validated over them."""
    target_labels: TargetLabels | None
    """Target utterances that are used with their labels; None if there are none."""
    start_time: float = field(default_factory=time.perf_counter)

    @property
    def supervision(self) -> Supervision:
        """Labels that the run learns from."""
        return self.method.supervision if self.target_labels is None else SEMI_SUPERVISED

    @property
    def reads_statistics(self) -> bool:
        """True if the method reads statistics over all frames of an utterance instead of windows."""
        return self.method.reads_statistics(self.resolved.config)

    @property
    def utterances(self) -> int:
        """Number of utterances per step, of the sources and the target together; of the sources, if fitted at once."""
        if isinstance(self.method, DirectMethod):
            drawn = [] if self.target_labels is None else [self.target_labels.labels]
            return sum(int((labels >= 0).sum()) for labels in (*(each.labels for each in self.splits), *drawn))
        return self.train.batch_size * (2 if self.folds is None else len(self.folds.speakers))

    @property
    def chosen_settings(self) -> dict[str, str | None]:
        """Settings whose defaults depend on the features: `network` (None: it has none), and two of the training."""
        network = getattr(self.resolved.config, "network", None)
        return {"network": network, **{key: getattr(self.train, key) for key in ("normalisation", "class_weights")}}

    @property
    def unused_settings(self) -> list[str]:
        """Settings that have no effect on the run: of windows and the paper's network, or of training steps."""
        of_frames = {*OF_WINDOWS, *OF_PAPER_NETWORK} if self.reads_statistics else set()
        return sorted(of_frames | set(self.method.unused_settings))

    @cached_property
    def label(self) -> str:
        """Label of the run in tables: its method with all settings that are not defaults."""
        request, kind = self.request, type(self.method)
        changed = find_non_defaults(kind, request.settings, self.steps, self.features.name, request.select)
        return make_label(request.method, changed, our_reading=kind.our_reading, supervision=self.supervision)

    @cached_property
    def exposure(self) -> dict[str, Exposure]:
        """Exposure of each corpus, sources first: whether the training of the features contained it."""
        stores = (*self.request.sources, self.request.target)
        return {store.snapshot.corpus: find_exposure(self.features, store.snapshot.corpus) for store in stores}

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json; the values of `decisive` determine the weights bit for bit."""
        request = self.request
        stores = {store.snapshot.corpus: store for store in (*request.sources, request.target)}
        train = as_settings(self.train)
        usual_train, usual_method, _ = apply_run_settings({}, type(self.method), self.features.name)
        is_direct = isinstance(self.method, DirectMethod)
        labelled = request.sources if self.target_labels is None else (*request.sources, request.target)
        given = {} if self.features.has_frame_rate else request.settings  # without a rate, frames have no default
        usual_train = _resolve_window(usual_train, given, self.features, reads_statistics=self.reads_statistics)
        return {
            "decisive": {
                "src": JOIN.join(source.snapshot.corpus for source in request.sources),
                "tgt": request.target.snapshot.corpus,
                **describe_task(self.task),
                **{key: getattr(request, key) for key in ("method", "seed", "select")},
                "steps": self.steps,
                "train": {key: value for key, value in train.items() if key not in NOT_DECISIVE},
                "method_config": as_settings(self.resolved.config),
                "features": dict(request.target.snapshot.parameters),
                "fingerprints": {corpus: store.fingerprint for corpus, store in stores.items()},
                **({"labels": labels} if (labels := digest_labels(labelled, self.task)) else {}),
                "device": request.device.type,
                "threads": torch.get_num_threads() if request.device.type == "cpu" else None,
                "compile": request.compile,
                "cuda_graph": request.cuda_graph,
            },
            "supervision": self.supervision,
            "label": self.label,
            "exposure": self.exposure,
            **({} if self.target_labels is None else {"target_labels": dict(self.target_labels.ids)}),
            "folds": None if self.folds is None else self.folds.speakers,
            "defaults": {
                "steps": self.steps if is_direct else find_feature_defaults(self.features.name).steps,
                "train": as_settings(usual_train),
                "method_config": as_settings(usual_method),
            },
            "unused_settings": self.unused_settings,
            "stores": {corpus: str(store.path) for corpus, store in stores.items()},
            **({} if self.features.location is None else {"location": self.features.location}),
            "remarks": list(self.resolved.remarks),
            "shared_audio": _count_shared_audio(request, self.task),
            "left_out": {each.snapshot.corpus: int((each.labels(self.task) < 0).sum()) for each in request.sources},
            "held_out": {
                each.store.snapshot.corpus: {"utterances": len(each.held_out), "by": each.by}
                for each in self.splits
                if each.by
            },
            "versions": {name: importlib.metadata.version(name) for name in ("emodna", "torch", "numpy")}
            | methods.find_package(request.method)
            | read_package_versions(find_packages(self.features)),
        }

    @property
    def folder(self) -> Path:
        """Run folder: `FitRequest.out`, or one named after the decisive configuration."""
        decisive = self.config["decisive"]
        name = "{src}-{tgt}-{task}-{method}-s{seed}".format(**decisive)
        return self.request.out or Path("runs") / f"{name}-{hash_settings(decisive)}"


def resolve_request(request: FitRequest) -> FitPlan:
    """Resolve and validate a fit request, or raise an EmodnaError. Writes nothing and trains nothing."""
    start_time = time.perf_counter()
    for name, value, least in (("steps", request.steps, 1), ("seed", request.seed, 0)):
        if value is not None and value < least:
            raise ConfigError(f"must be at least {least}", field=name, value=value)
    kind = methods.get_method(request.method)
    if issubclass(kind, DirectMethod):
        _check_direct_request(request)
    if request.cuda_graph and request.device.type != "cuda":
        problem = f"needs a CUDA device, this one is {request.device}"
        raise ConfigError(problem, field="cuda_graph", remedy=Remedy("leave it out, or choose {device=cuda}"))
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    _check_addition(request, kind)
    features = _resolve_features(request)
    steps = STEP if issubclass(kind, DirectMethod) else request.steps or find_feature_defaults(features.name).steps
    train, method_config, record = apply_run_settings(request.settings, kind, features.name)
    train = _resolve_selection(request, train, steps)
    pooled = kind.reads_statistics(method_config)
    train = _resolve_window(train, request.settings, features, reads_statistics=pooled)
    if not pooled:
        _check_window(train, features)
    task = resolve_task(request.task, request.sources, request.target)
    splits = [split(source, task, train.validation, request.seed) for source in request.sources]
    labelled = [(each.store, each.labels) for each in splits]
    dim = request.target.dim * (2 if pooled else 1)
    data = DataSummary.of(labelled, request.target, dim, train.frames, train.batch_size)
    if not pooled:
        _check_size(kind, data)
    resolved, method = _make_method(request, kind, method_config, data, len(task))
    if request.cuda_graph and (reason := method.graph_obstacle):
        problem = f"method {request.method} cannot be captured: {reason}"
        raise ConfigError(problem, field="cuda_graph", remedy="leave it out")
    folds = _make_folds(request, task, train, method)
    target_labels = _draw_target_labels(request, task, train.target_labels, method)
    return FitPlan(
        request, task, steps, train, record, features, splits, data, resolved, method, folds, target_labels, start_time
    )


def _check_addition(request: FitRequest, kind: type[Method]) -> None:
    if "add" in request.settings and not list_additions(kind):
        known = methods.load_methods().items()
        names = [name for name, each in known if not isinstance(each, PluginError) and list_additions(each)]
        problem, remedy = f"not valid for method {request.method}", f"methods that take it: {', '.join(names)}"
        raise ConfigError(problem, field="add", value=request.settings["add"], remedy=remedy)


def _check_direct_request(request: FitRequest) -> None:
    """Raise a ConfigError for an option that needs training steps."""
    for name, value, is_given in (
        ("select", request.select, request.select != LAST),
        ("oracle_analysis", True, request.oracle_analysis),
        ("compile", True, request.compile),
        ("cuda_graph", True, request.cuda_graph),
    ):
        if is_given:
            problem = f"not valid for method {request.method}, which is fitted at once, without training steps"
            raise ConfigError(problem, field=name, value=value, remedy="leave it out")


def _resolve_selection(request: FitRequest, config: TrainConfig, steps: int) -> TrainConfig:
    """Check the criterion; set the settings that a selection or an analysis of model snapshots needs."""
    if request.select not in (LAST, *CRITERIA):
        raise ConfigError("unknown", field="select", value=request.select, valid=(LAST, *CRITERIA))
    if (request.select != LAST or request.oracle_analysis) and not config.snapshot_every:
        if "snapshot_every" in request.settings:
            raise ConfigError("must be at least 1 to select or to analyse snapshots", field="snapshot_every", value=0)
        config = replace(config, snapshot_every=max(steps // _SNAPSHOTS, 1))
    if request.select == SOURCE_ACCURACY and not config.validation:
        if "validation" in request.settings:
            problem = f"must be above 0: {SOURCE_ACCURACY} needs held-out utterances"
            raise ConfigError(problem, field="validation", value=0)
        config = replace(config, validation=_VALIDATION)
    return config


def _resolve_features(request: FitRequest) -> FeatureSet:
    """Return the feature set of all stores; check the combination of corpora."""
    target = request.target
    corpora = [source.snapshot.corpus for source in request.sources]
    if not request.sources:
        raise ConfigError("must name at least one corpus", field="sources")
    if target.snapshot.corpus in corpora or target.fingerprint in [each.fingerprint for each in request.sources]:
        problem, remedy = "the same corpus as a source", "choose another target"
        raise ConfigError(problem, field="target", value=target.snapshot.corpus, remedy=remedy)
    if duplicates := [corpus for corpus in corpora if corpora.count(corpus) > 1]:
        raise ConfigError("given twice", field="sources", value=duplicates[0])
    for source in request.sources:
        if source.snapshot.feature_parameters != target.snapshot.feature_parameters:
            problem = f"its features have other parameters than those of {target.path}"
            remedy = "use one {feature_set} for all corpora"
            if source.snapshot.parameters["features"] == target.snapshot.parameters["features"] == ImportedSet.kind:
                remedy = "import all corpora from one file"
            raise ConfigError(problem, where=source.path, remedy=Remedy(remedy))
    return rebuild_feature_set(target.snapshot.parameters, target.snapshot.location)


def _resolve_window(
    config: TrainConfig, settings: Mapping[str, str], features: FeatureSet, *, reads_statistics: bool
) -> TrainConfig:
    """Set the frames that a method reads: one of pooled statistics, else the feature set's default if none is given."""
    if reads_statistics:
        return replace(config, frames=1, padding="mask")
    seconds = find_feature_defaults(features.name).window_seconds
    if seconds is None or "frames" in settings:
        return config
    if not features.has_frame_rate:
        raise ConfigError(f"must be given: the frame rate of {features.name} is unknown", field="frames")
    return replace(config, frames=max(round(seconds * features.sample_rate / features.hop_length), _MIN_FRAMES))


def _check_window(config: TrainConfig, features: FeatureSet) -> None:
    """Raise a ConfigError for an unknown padding, or a window that is too short, such as 188 frames of a wave set."""
    if config.padding == "silence" and not features.has_silence:
        problem, valid = f"the features of digital silence are unknown for {features.name}", ("zero", "mask")
        raise ConfigError(problem, field="padding", value=config.padding, valid=valid)
    if not features.has_frame_rate:
        return
    frames = config.frames
    frames_per_second = features.sample_rate / features.hop_length
    if frames < _MIN_SECONDS * frames_per_second:
        seconds, usual = frames / frames_per_second, round(_USUAL_SECONDS * frames_per_second)
        problem = f"must be at least {_MIN_SECONDS} s, {frames} frames of {features.name} are only {seconds:.3f} s"
        remedy = f"{usual} frames are {usual / frames_per_second:.1f} s"
        raise ConfigError(problem, field="frames", value=frames, remedy=remedy)


def _check_size(kind: type[Method], data: DataSummary) -> None:
    if data.frames < kind.min_frames:
        problem = f"must be at least {kind.min_frames} for {kind.name}"
        raise ConfigError(problem, field="frames", value=data.frames)
    if data.dim < kind.min_dim:
        problem = f"must have at least {kind.min_dim} values per frame for method {kind.name}, this one has {data.dim}"
        raise ConfigError(problem, field="feature_set")


def _make_method(
    request: FitRequest, kind: type[Method], config: Any, data: DataSummary, classes: int
) -> tuple[ResolvedConfig, Method]:
    """Resolve the configuration and make the method; raise a PluginError if another package's method is invalid."""
    with methods.wrap_plugin_errors(request.method, "resolve_config()"):
        resolved = kind.resolve_config(config, data)
        if not isinstance(resolved, ResolvedConfig) or type(resolved.config) is not type(kind.defaults):
            raise TypeError(f"it must return a ResolvedConfig, with a {type(kind.defaults).__name__}")
        if isinstance(resolved.remarks, str) or not all(isinstance(remark, str) for remark in resolved.remarks):
            raise TypeError("its remarks must be a sequence of sentences")
    # Methods may draw from torch's global generator.
    with methods.wrap_plugin_errors(request.method, "()"), use_seed(request.seed, "method"):
        method: Method = kind(data.dim, resolved.config, request.seed, classes)
        valid = [each for each in get_args(Supervision) if each != SEMI_SUPERVISED]
        if method.supervision not in valid:
            raise TypeError(f"its supervision must be one of {', '.join(valid)}")
        if (method.supervision == "oracle-folds") != isinstance(method, UpperBound):
            raise TypeError("the supervision oracle-folds is reserved for UpperBound")
    if request.method not in methods.METHODS and not isinstance(method, DirectMethod):
        with methods.wrap_plugin_errors(request.method, "predict()"), evaluation_mode(method):
            shape = method.predict(torch.zeros(1, data.dim, data.frames), torch.full((1,), data.frames)).shape
            if shape != (1, classes):
                problem = f"it must return the shape (batch, {classes}), a logit of each class"
                raise TypeError(f"{problem}, not {tuple(shape)} for one utterance")
    return resolved, method


def _make_folds(request: FitRequest, task: Task, train: TrainConfig, method: Method) -> Folds | None:
    """Check the request of an oracle; return the folds of a cross-validated one."""
    if method.supervision == "oracle-labels" and not (request.target.labels(task) >= 0).any():
        problem = f"no {task.name} labels to use instead of pseudo-labels"
        raise TrainingError(problem, field="target", value=request.target.snapshot.corpus)
    if not isinstance(method, UpperBound):
        return None
    for name, value, is_given in (
        ("select", request.select, request.select != LAST),
        ("oracle_analysis", True, request.oracle_analysis),
        ("validation", train.validation, train.validation > 0),
    ):
        if is_given:
            problem = f"not valid for method {request.method}: its scores are cross-validated and of the last step"
            raise ConfigError(problem, field=name, value=value, remedy="leave it out")
    return split_into_folds(request.target, task, len(method.networks), request.seed)


def _draw_target_labels(request: FitRequest, task: Task, count: int, method: Method) -> TargetLabels | None:
    if not count:
        return None
    check_target_labels(request.method, count, method.supervision)
    return draw_target_labels(request.target, task, count, request.seed)


def check_target_labels(method: str, count: int, supervision: Supervision) -> None:
    """Raise a ConfigError if labels of a few target utterances are asked for a method that learns from all of them."""
    if count and is_oracle(supervision):
        problem = f"not valid for method {method} with these settings, which learns from the labels of the target"
        raise ConfigError(problem, field="target_labels", value=count, remedy="leave it out")


def _count_shared_audio(request: FitRequest, task: Task) -> dict[str, int]:
    """Count the labelled utterances of each source with the same audio, byte for byte, as one of the target."""
    target_hashes = request.target.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
    counts = {}
    for source in request.sources:
        labelled_rows = np.flatnonzero(source.labels(task) >= 0)
        source_hashes = source.columns(["audio_sha256"])["audio_sha256"].take(labelled_rows)
        is_shared = pc.is_in(target_hashes, value_set=source_hashes.combine_chunks())
        counts[source.snapshot.corpus] = int(pc.sum(is_shared).as_py() or 0)
    return counts
