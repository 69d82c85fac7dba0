"""Predict on audio that no corpus has seen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emodna.model.trained import TrainedModel
from emodna.pipeline.audio import decode, resample
from emodna.pipeline.errors import AudioError
from emodna.pipeline.features import SILENCE_DB


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
    for file in files:
        try:
            yield _predict(model, file)
        except AudioError as error:
            yield Prediction(str(file), error=str(error))
        except OSError as error:
            yield Prediction(str(file), error=f"cannot be read: {error.strerror or error}")


def _predict(model: TrainedModel, file: Path) -> Prediction:
    features = model.features
    with file.open("rb") as stream:
        recording = decode(stream, channel=features.channel)
    samples = resample(recording.samples, recording.sample_rate, features.sample_rate)
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
    return Prediction(str(file), start, start + looked_at, probability)
