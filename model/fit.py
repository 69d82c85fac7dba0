"""One run, from two stores to a result: open, train, predict, evaluate."""

import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.config import TrainConfig, apply_settings, as_settings
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluate import evaluate
from emodna.model.framing import Framer, Statistics
from emodna.model.methods import method as method_named
from emodna.model.methods.base import Method
from emodna.model.precision import float32_throughout
from emodna.model.predictions import write_predictions
from emodna.model.run import RunFolder, read_json, settings_hash, write_json
from emodna.model.stream import SourceStream, TargetStream, Windows
from emodna.model.trained import TrainedModel
from emodna.model.trainer import Watcher, never, train
from emodna.pipeline.emotions import Task
from emodna.pipeline.features import FeatureSet, feature_set_from
from emodna.pipeline.store import FeatureStore

#: About a syllable: a shorter window is a mistake.
_MIN_SECONDS: Final = 0.25
#: The authors' usual 96 000 samples at 22 050 Hz, rounded.
_USUAL_SECONDS: Final = 4.375


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What a user asks for."""

    source: FeatureStore
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


def fit(request: FitRequest, watcher: Watcher, stop: Callable[[], bool] = never) -> dict[str, Any]:
    """Train and evaluate; return the content of result.json.

    Parameters
    ----------
    stop
        Is asked after each training step; if true, a checkpoint is written and KeyboardInterrupt raised.

    Raises
    ------
    ConfigError, RunError, TrainingError, StoreError
        A setting, the run folder, the data, or a store that cannot be used.
    """
    began = time.perf_counter()
    if request.steps < 1:
        raise ConfigError(f"--steps {request.steps}: must be at least 1")
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    kind = method_named(request.method)
    train_config, method_config = apply_settings(request.settings, TrainConfig(), kind.defaults)
    source, target = request.source, request.target
    if source.snapshot.parameters != target.snapshot.parameters:
        raise ConfigError(f"{source.path} and {target.path}: features of different parameters do not go together")
    features = feature_set_from(source.snapshot.parameters)
    _check_window(train_config.frames, features)
    _check_source(source, request.task)
    config = _resolved(request, train_config, method_config)
    method: Method = kind(source.dim, method_config, request.seed)

    run = RunFolder(request.out or _default_folder(config["decisive"]))
    with run.claimed(config, resume=request.resume):
        if run.done.exists():
            return read_json(run.result)
        model = _trained(request, features, method, train_config, as_settings(method_config), run, watcher, stop)
        model.save(run.model)
        probabilities = model.probabilities((target[row], float(target.peak_db[row])) for row in range(len(target)))
        predicted = (probabilities >= 0.5).astype(np.int64)
        write_predictions(run.predictions, target, probabilities, predicted)
        result = {
            **{key: config["decisive"][key] for key in ("src", "tgt", "task", "method", "seed", "steps")},
            **evaluate(predicted, target, request.task),
            "wall_seconds": time.perf_counter() - began,
            "run": str(run.path.absolute()),
        }
        write_json(run.result, result)
        run.done.touch()
    return result


def _resolved(request: FitRequest, train_config: TrainConfig, method_config: object) -> dict[str, Any]:
    """Content of config.json; what stands under `decisive` decides the weights, bit by bit."""
    source, target = request.source, request.target
    on_cpu = request.device.type == "cpu"
    return {
        "decisive": {
            "src": source.snapshot.corpus,
            "tgt": target.snapshot.corpus,
            "task": request.task,
            "method": request.method,
            "seed": request.seed,
            "steps": request.steps,
            "train": as_settings(train_config),
            "method_config": as_settings(method_config),
            "features": dict(source.snapshot.parameters),
            "fingerprints": {"src": source.fingerprint, "tgt": target.fingerprint},
            "device": request.device.type,
            "threads": torch.get_num_threads() if on_cpu else None,
        },
        "stores": {"src": str(source.path), "tgt": str(target.path)},
        "left_out": {"src": int((source.labels(request.task) < 0).sum())},
        "versions": {name: importlib.metadata.version(name) for name in ("emodna", "torch", "numpy")},
    }


def _trained(
    request: FitRequest,
    features: FeatureSet,
    method: Method,
    config: TrainConfig,
    method_config: Mapping[str, Any],
    run: RunFolder,
    watcher: Watcher,
    stop: Callable[[], bool],
) -> TrainedModel:
    """Train the method on both stores' streams."""
    source, target = request.source, request.target
    labels = source.labels(request.task)
    of_source, of_target = (
        Framer(config.frames, config.padding, statistics, features.silence)
        for statistics in _statistics(source, target, labels, config)
    )
    languages = sorted({*source.column("language"), *target.column("language")} - {None})
    batches = {"batch_size": config.batch_size, "seed": request.seed}
    generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with generators, _determinism(config), float32_throughout():
        train(
            method,
            SourceStream(Windows(source, of_source, languages), labels, **batches),
            TargetStream(target, Windows(target, of_target, languages), **batches),
            config,
            steps=request.steps,
            seed=request.seed,
            device=request.device,
            run=run,
            watcher=watcher,
            stop=stop,
        )
    return TrainedModel(method.eval(), method_config, request.task, source.dim, of_target, features)


def _default_folder(decisive: Mapping[str, Any]) -> Path:
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


def _statistics(
    source: FeatureStore, target: FeatureStore, labels: NDArray[np.int8], config: TrainConfig
) -> tuple[Statistics | None, Statistics | None]:
    """Statistics that normalise the source's and the target's utterances; None for each utterance's own."""
    match config.normalisation:
        case "none":
            return Statistics.identity(source.dim), Statistics.identity(target.dim)
        case "per-utterance":
            return None, None
    of_source = Statistics.of_corpus(source, np.flatnonzero(labels >= 0))
    if config.normalisation == "per-corpus":
        return of_source, Statistics.of_corpus(target, np.arange(len(target)))
    return of_source, of_source


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
