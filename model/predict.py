"""Predict on audio that no corpus has seen."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from threadpoolctl import threadpool_limits

from emodna.model.trained import TrainedModel
from emodna.pipeline.audio import decode, resample
from emodna.pipeline.errors import UNUSABLE, AudioError, rejection
from emodna.pipeline.features import SILENCE_DB
from emodna.pipeline.trees import Tree


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one file, or why it says nothing."""

    file: str
    start: float | None = None
    """s, of the part that the model looked at."""
    end: float | None = None
    probability: float | None = None
    """Of class 1 (high / positive)."""
    error: str | None = None

    @property
    def label(self) -> int | None:
        """1 high / positive, 0 low / negative."""
        return None if self.probability is None else int(self.probability >= 0.5)


def predict_files(model: TrainedModel, files: Iterable[Path]) -> Iterator[Prediction]:
    """Predict for each file; longer ones than the model's window are judged by their middle, as in training."""
    return (_tried(model, str(file), partial(_open, file)) for file in files)


def predict_listed(
    model: TrainedModel, rows: Iterable[Mapping[str, object]], tree: Tree
) -> Iterator[tuple[Prediction, Mapping[str, object]]]:
    """Predict for each row of a user's table, by its `path` below a root."""
    for number, row in enumerate(rows, start=1):
        path = "" if row["path"] is None else str(row["path"]).strip()
        yield _tried(model, path or f"row {number}", partial(_open_listed, tree, path)), row


def _open(file: Path) -> BinaryIO:
    return file.open("rb")


def _open_listed(tree: Tree, path: str) -> BinaryIO:
    found = tree.relative(path) if path else None
    if found is None:
        raise AudioError(f"lies outside the root {tree.root}" if path else "no path")
    return tree.open(found)


def _tried(model: TrainedModel, file: str, opened: Callable[[], BinaryIO]) -> Prediction:
    try:
        return _predict(model, file, opened)
    except UNUSABLE as error:
        return Prediction(file, error=rejection(error))


def _predict(model: TrainedModel, file: str, opened: Callable[[], BinaryIO]) -> Prediction:
    features = model.features
    with opened() as stream:
        recording = decode(stream, channel=features.channel)
    samples = resample(recording.samples, recording.sample_rate, features.sample_rate)
    with threadpool_limits(1, user_api="blas"):  # as in preparation: the digits depend on it
        extracted, peak_db = features.extract(samples)
    if peak_db <= SILENCE_DB:
        raise AudioError("all zeros: there is nothing to hear")
    probability = float(model.probabilities([(extracted, peak_db)])[0])
    looked_at = recording.duration
    if len(extracted) > model.framer.frames:
        looked_at = min(looked_at, model.framer.frames * features.hop_length / features.sample_rate)
    if features.fixed_samples is not None:
        looked_at = min(looked_at, features.fixed_samples / features.sample_rate)
    start = (recording.duration - looked_at) / 2
    return Prediction(file, start, start + looked_at, probability)
