"""Provide recordings, batches from two stores, and their options to the benchmarks."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.config import TrainConfig
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.methods.base import DataSummary, Method, Phase
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.catalogue import find_store
from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.store import FeatureStore

Step = Callable[[], object]

root_option = click.option(
    "--root", type=click.Path(path_type=Path, exists=True, file_okay=False), default="data/ravdess", show_default=True
)
corpus_option = click.option("--corpus", default="ravdess", show_default=True)


def add_store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --cache, --src and --tgt to a command."""
    for option, default in (("--tgt", "emodb"), ("--src", "ravdess")):
        command = click.option(option, default=default, show_default=True)(command)
    return click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)(command)


def read_recording(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a file and their sample rate in Hz."""
    with path.open("rb") as stream:
        recording = decode(stream)
    return recording.samples, recording.sample_rate


def read_at(path: Path, rate: int) -> NDArray[np.float32]:
    """Return the samples of a file at a sample rate in Hz."""
    return resample(*read_recording(path), rate)


class Inputs:
    """Batches of 64 utterances from two stores, as in a run."""

    def __init__(self, cache: Path, src: str, tgt: str) -> None:
        config = TrainConfig()
        self.source, self.target = (FeatureStore(find_store(cache, corpus)) for corpus in (src, tgt))
        statistics = Statistics.of_corpora([(self.source, np.arange(len(self.source)))])
        silence = rebuild_feature_set(self.source.snapshot.parameters).silence
        self.framer = Framer(config.frames, config.padding, statistics, silence)
        labels = self.source.labels("arousal")
        summary = DataSummary.of(
            [(self.source, labels)], self.target, self.target.dim, config.frames, config.batch_size
        )
        self.languages = summary.languages
        self.source_windows, target_windows = (
            CorpusWindows(store, self.framer, self.languages) for store in (self.source, self.target)
        )
        self.sources = SourceStream([(self.source_windows, labels)], batch_size=64, seed=0)
        self.targets = TargetStream(target_windows, batch_size=64, seed=0)

    def make_steps(self, method: Method) -> Step:
        """Return a function that loads the next batches and takes a training step with a method."""
        update = Update(method, make_optimizers(method.parameter_groups(), TrainConfig()), torch.device("cpu"))
        numbers = itertools.count()

        def step() -> None:
            number = next(numbers)
            update(self.sources.batch(number), self.targets.batch(number), Phase())

        return step
