"""One run, from stores to a result: train, predict, evaluate."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch

from emodna.model.config import RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.errors import ConfigError
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.framing import Framer
from emodna.model.methods import METHODS, blaming
from emodna.model.methods import method as method_named
from emodna.model.methods.base import Method, Settled
from emodna.model.methods.facts import RunFacts
from emodna.model.metrics import classified
from emodna.model.normalisation import Statistics, statistics_of_run
from emodna.model.precision import float32_throughout
from emodna.model.prediction.predictions import probabilities_of, write_predictions
from emodna.model.request import FitRequest, check_stores, default_folder, resolved, with_choosing
from emodna.model.run import RunFolder, read_json, write_json
from emodna.model.runs.card import write_card
from emodna.model.selection.choice import Sources, select
from emodna.model.selection.criteria import LAST
from emodna.model.selection.oracle import write_oracle_analysis
from emodna.model.selection.snapshots import Snapshots
from emodna.model.selection.validation import Split, split
from emodna.model.stream import CorpusWindows, SourceStream, TargetStream
from emodna.model.trained import TrainedModel
from emodna.model.trainer import Listening, Timing, never_stopping, train
from emodna.model.training.events import recording
from emodna.model.training.watcher import Watcher
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.store import FeatureStore

_LOG: Final = logging.getLogger(__name__)


def fit(request: FitRequest, watcher: Watcher, listening: Listening = never_stopping) -> dict[str, Any]:
    """Train and evaluate; return the content of result.json.

    Parameters
    ----------
    listening
        See `train`.

    Raises
    ------
    ConfigError, RunError, TrainingError, StoreError
        A setting, the run folder, the data, or a store that cannot be used.
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
    train_config, method_config, record = apply_settings(request.settings, TrainConfig(), kind.defaults, RecordConfig())
    train_config = with_choosing(request, train_config)
    features = check_stores(request, train_config.frames)
    target = request.target
    facts = RunFacts.of(request.sources, target, train_config.frames, train_config.batch_size)
    _check_size(kind, facts)
    with blaming(request.method, "settled()"):
        settled = kind.settled(method_config, facts)
        if not isinstance(settled, Settled) or type(settled.config) is not type(kind.defaults):
            raise TypeError(f"it must return a Settled, with a {type(kind.defaults).__name__}")
    splits = [split(source, request.task, train_config.validation, request.seed) for source in request.sources]
    config = resolved(request, train_config, settled, kind.defaults, splits)
    with blaming(request.method, "()"):
        method: Method = kind(target.dim, settled.config, request.seed)
    if request.cuda_graph and (reason := method.uncapturable):
        raise ConfigError(f"--cuda-graph: {request.method} cannot be captured: {reason}")

    run = RunFolder(request.out or default_folder(config["decisive"]))
    snapshots = Snapshots(run.snapshots, train_config.snapshot_every, request.steps)
    events = recording(watcher, run.path, config, wanted=record.tensorboard)
    for corpus, count in config["shared_audio"].items():
        if count:
            _LOG.warning("--src %s: has %d utterances of the target, with their labels", corpus, count)
    for remark in settled.remarks:
        _LOG.warning("%s: %s", request.method, remark)
    with run.claimed(config, resume=request.resume), events as recorder:
        if not run.done.exists():
            _tell_of_resume(request, run, config)
            trained = _trained(
                request, features, method, splits, train_config, settled, facts, run, recorder, listening
            )
            model, timing, step = trained.model, trained.timing, request.steps
            if request.select != LAST:
                selection = select(request.select, model, snapshots, target, trained.sources, request.seed)
                write_json(run.selection, selection.content())
                step = selection.step
            model.save(run.model)
            probabilities = probabilities_of(model, target)
            predicted = classified(probabilities)
            write_predictions(run.predictions, target, probabilities)
            result = {
                **{key: config["decisive"][key] for key in ("src", "tgt", "task", "method", "seed", "steps", "select")},
                "selected_step": step,
                **evaluate(predicted, target, request.task),
                "wall_seconds": time.perf_counter() - began,
                "steps_per_second": timing.steps / timing.seconds if timing.steps else None,
                "blocked_seconds": timing.blocked_seconds,
                "run": str(run.path.absolute()),
            }
            write_json(run.result, result)
            recorder.finished(result)
            write_card(run, splits, target, request.task)
            run.done.touch()
        if request.oracle_analysis and not run.oracle.exists():
            write_oracle_analysis(run, TrainedModel.load(run.model, request.device), snapshots, target)
        return {**read_json(run.result), "run": str(run.path.absolute())}  # it may have been moved


def _check_addition(request: FitRequest, kind: type[Method]) -> None:
    """Refuse an addition to a method that knows none."""
    if "add" in request.settings and not hasattr(kind.defaults, "add"):
        valid = [name for name, each in METHODS.items() if hasattr(each.defaults, "add")]
        raise ConfigError(f"--add {request.settings['add']}: not for {request.method}; valid: {', '.join(valid)}")


def _check_size(kind: type[Method], facts: RunFacts) -> None:
    """Refuse an input that the method's networks cannot read."""
    if facts.frames < kind.min_frames:
        raise ConfigError(f"--set frames={facts.frames}: {kind.name} needs at least {kind.min_frames}")
    if facts.dim < kind.min_dim:
        raise ConfigError(
            f"--feature-set: {kind.name} needs at least {kind.min_dim} values per frame, these have {facts.dim}"
        )


def _tell_of_resume(request: FitRequest, run: RunFolder, config: Mapping[str, Any]) -> None:
    """Warn of a resume that finds nothing to go on from, or by other versions, which may round otherwise."""
    if request.resume and not run.resume.exists():
        _LOG.warning("%s: no checkpoint there: begins with the first step", run.path)
    if (earlier := read_json(run.config).get("versions")) != config["versions"]:
        _LOG.warning("the run was begun with other versions, %s: it may not end bit for bit as it would have", earlier)


class _Trained(NamedTuple):
    """A model, how each source's utterances become its input, and how long its training took."""

    model: TrainedModel
    sources: Sources
    timing: Timing


def _trained(
    request: FitRequest,
    features: FeatureSet,
    method: Method,
    splits: Sequence[Split],
    config: TrainConfig,
    settled: Settled,
    facts: RunFacts,
    run: RunFolder,
    watcher: Watcher,
    listening: Listening,
) -> _Trained:
    """Train the method on the stores' streams."""
    target = request.target
    labelled = [(each.store, each.labels) for each in splits]
    of_sources, of_target = statistics_of_run(config.normalisation, labelled, target)

    def windows(store: FeatureStore, statistics: Statistics | None) -> CorpusWindows:
        return CorpusWindows(
            store, Framer(config.frames, config.padding, statistics, features.silence), facts.languages
        )

    sources = [(windows(store, own), labels) for (store, labels), own in zip(labelled, of_sources, strict=True)]
    targets = windows(target, of_target)
    batches = {"batch_size": config.batch_size, "seed": request.seed}
    generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with generators, _determinism(config), float32_throughout():
        timing = train(
            method,
            SourceStream(sources, **batches),
            TargetStream(targets, **batches),
            config,
            steps=request.steps,
            seed=request.seed,
            device=request.device,
            run=run,
            watcher=watcher,
            listening=listening,
            residency=request.residency,
            compile=request.compile,
            cuda_graph=request.cuda_graph,
        )
    model = TrainedModel(method.eval(), as_settings(settled.config), request.task, target.dim, targets.framer, features)
    return _Trained(model, [(each, own.framer) for each, (own, _) in zip(splits, sources, strict=True)], timing)


@contextmanager
def _determinism(config: TrainConfig) -> Iterator[None]:
    """Use deterministic algorithms only, where that is asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.deterministic:  # cuBLAS asks for it, before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
