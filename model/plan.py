"""What a request comes to, checked, before anything is written or trained."""

import time
from dataclasses import dataclass, field
from typing import Any, get_args

import torch

from emodna.model.config import RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.data.validation import Split, split
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluation.criteria import LAST
from emodna.model.evaluation.folds import Folds, folds_of
from emodna.model.label import labelled
from emodna.model.methods import blaming, registered
from emodna.model.methods import method as method_named
from emodna.model.methods.aligning import additions
from emodna.model.methods.base import Method, RunFacts, Settled, Supervision
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.request import FitRequest, check_stores, resolved, with_choosing
from emodna.model.seeding import seeded
from emodna.pipeline.errors import PluginError
from emodna.pipeline.features import FeatureSet


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can begin."""

    request: FitRequest
    train: TrainConfig
    record: RecordConfig
    features: FeatureSet
    facts: RunFacts
    settled: Settled
    method: Method
    supervision: Supervision
    """Whose labels the method learns from."""
    splits: list[Split]
    """Of the sources."""
    folds: Folds | None
    """Of the target's speakers, where the method is cross-validated over them."""
    config: dict[str, Any]
    """Content of config.json."""
    began: float = field(default_factory=time.perf_counter)

    @property
    def label(self) -> str:
        """What the method is called beside the run's results."""
        return str(self.config["label"])

    @property
    def utterances(self) -> int:
        """That networks are shown in a step."""
        return self.train.batch_size * (2 if self.folds is None else len(self.folds.speakers))


def planned(request: FitRequest) -> Plan:
    """Resolve a request.

    Raises
    ------
    ConfigError, TrainingError, StoreError
        A setting, or the data, that cannot be used.
    """
    began = time.perf_counter()
    if request.steps < 1:
        raise ConfigError(f"--steps {request.steps}: must be at least 1")
    if request.cuda_graph and request.device.type != "cuda":
        raise ConfigError(f"--cuda-graph: needs a CUDA device; this run is on {request.device}")
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    kind = method_named(request.method)
    _check_addition(request, kind)
    train, method_config, record = apply_settings(request.settings, TrainConfig(), kind.defaults, RecordConfig())
    train = with_choosing(request, train)
    features = check_stores(request, train.frames)
    target = request.target
    splits = [split(source, request.task, train.validation, request.seed) for source in request.sources]
    trained_on = [(each.store, each.labels) for each in splits]
    facts = RunFacts.of(trained_on, target, train.frames, train.batch_size)
    _check_size(kind, facts)
    settled, method = _made(kind, method_config, facts, request)
    if request.cuda_graph and (reason := method.uncapturable):
        raise ConfigError(f"--cuda-graph: {request.method} cannot be captured: {reason}")
    supervision = method.supervision
    folds = _folds(request, train, method, supervision)
    speakers = None if folds is None else folds.speakers
    usual, used = as_settings(kind.defaults), as_settings(settled.config)
    changed = {key: used[key] for key in request.settings if key in used and used[key] != usual[key]}
    label = labelled(request.method, changed, our_reading=kind.our_reading, supervision=supervision)
    config = resolved(request, train, settled, kind.defaults, supervision, label, splits, speakers)
    return Plan(request, train, record, features, facts, settled, method, supervision, splits, folds, config, began)


def _made(kind: type[Method], config: Any, facts: RunFacts, request: FitRequest) -> tuple[Settled, Method]:
    """The method with a configuration that fits the run."""
    with blaming(request.method, "settled()"):
        settled = kind.settled(config, facts)
        if not isinstance(settled, Settled) or type(settled.config) is not type(kind.defaults):
            raise TypeError(f"it must return a Settled, with a {type(kind.defaults).__name__}")
        if isinstance(settled.remarks, str) or not all(isinstance(remark, str) for remark in settled.remarks):
            raise TypeError("its remarks must be a sequence of sentences")
    # What a method draws without a generator of its own follows from the seed, too.
    with blaming(request.method, "()"), seeded(request.seed, "method"):
        method: Method = kind(facts.dim, settled.config, request.seed)
        if method.supervision not in get_args(Supervision):
            raise TypeError(f"its supervision must be one of {', '.join(get_args(Supervision))}")
        if (method.supervision == "oracle-folds") != isinstance(method, UpperBound):
            raise TypeError("the supervision oracle-folds is that of an UpperBound, and of nothing else")
    return settled, method


def _check_addition(request: FitRequest, kind: type[Method]) -> None:
    """Refuse an addition to a method that knows none."""
    if "add" in request.settings and not additions(kind):
        valid = [name for name, each in registered().items() if not isinstance(each, PluginError) and additions(each)]
        raise ConfigError(f"--add {request.settings['add']}: not for {request.method}; valid: {', '.join(valid)}")


def _check_size(kind: type[Method], facts: RunFacts) -> None:
    """Refuse an input that the method's networks cannot read."""
    if facts.frames < kind.min_frames:
        raise ConfigError(f"--set frames={facts.frames}: {kind.name} needs at least {kind.min_frames}")
    if facts.dim < kind.min_dim:
        raise ConfigError(
            f"--feature-set: {kind.name} needs at least {kind.min_dim} values per frame, these have {facts.dim}"
        )


def _folds(request: FitRequest, train: TrainConfig, method: Method, supervision: Supervision) -> Folds | None:
    """Check what an oracle is asked for, and share out the target's speakers if it is cross-validated over them."""
    if supervision == "oracle-labels" and not (request.target.labels(request.task) >= 0).any():
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
    return folds_of(request.target, request.task, len(method.networks), request.seed)
