"""Predict for audio files, or windows of them, with one or more models."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, repeat, tee
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from emodna.model.inference.inputs import Input, find_inputs
from emodna.model.inference.trained_model import BATCH, TrainedModel, Window
from emodna.model.inference.windows import Span, Windows, cut
from emodna.pipeline.audio.decode import RecordingReader, decode, resample, resample_blocks
from emodna.pipeline.errors import RECORDING_ERRORS, AudioError, explain_rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.threads import open_extraction_threads

#: Windows of a recording per task of a thread.
_CHUNK: Final = 16

_Features = tuple[NDArray[np.float32], float]
"""Features (frames, dim) and their peak in dB."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's prediction for a file or a window, or an error."""

    file: str
    start: float | None = None
    """Start in s of the window, or of the part of the file that the model used; None for an unusable file."""
    end: float | None = None
    probability: float | None = None
    """Probability of class 1 (high / positive)."""
    error: str | None = None
    duration: float | None = None
    """Duration of the file in s."""
    model: int = 0
    remarks: tuple[str, ...] = ()
    """Parts of the file that were not decoded, one clause each; of several windows, the last one has them."""

    @property
    def label(self) -> int | None:
        """Predicted class: 1 high / positive, 0 low / negative."""
        return None if self.probability is None else int(self.probability >= 0.5)

    @property
    def has_failed(self) -> bool:
        """True for an unusable file; a window of digital silence is not a failure."""
        return self.error is not None and self.start is None


def predict_files(
    models: TrainedModel | Sequence[TrainedModel],
    files: Iterable[Path | str],
    *,
    windows: Windows | None = None,
    threads: int = 1,
    ffmpeg: bool = False,
) -> Iterator[Prediction]:
    """Predict for files, folders, archives or standard input (`-`), as `predict` does.

    With `ffmpeg`, the program ffmpeg decodes the formats that libsndfile cannot read.
    """
    all_models = [models] if isinstance(models, TrainedModel) else models
    inputs = find_inputs(map(str, files), ffmpeg=ffmpeg)
    return (each for _, each in predict(all_models, inputs, windows=windows, threads=threads))


def predict(
    models: Sequence[TrainedModel], inputs: Iterable[Input], *, windows: Windows | None = None, threads: int = 1
) -> Generator[tuple[Input, Prediction], None, None]:
    """Yield a prediction for each input, window and model in turn, as soon as it is ready.

    Without `windows`, a model uses the middle of a longer recording, as in training. With `windows`, each window is
    treated as a separate recording.

    Each recording is decoded once. The memory used does not depend on the number of recordings or, with windows, on
    their length. The predictions are the same bit for bit for any number of CPU `threads`.
    """
    with open_extraction_threads(threads) as pool:
        try:
            pending = _prepare_inputs(inputs, models, windows, pool, threads)
            yield from _classify_batches(pending, models, pool, threads)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _PendingPrediction:
    """A prediction without its probability, and the window to classify; a complete prediction if that is None."""

    input: Input
    prediction: Prediction
    window: Window | None = None


def _prepare_inputs(
    inputs: Iterable[Input], models: Sequence[TrainedModel], windows: Windows | None, pool: Executor, threads: int
) -> Iterator[_PendingPrediction]:
    """Yield all pending predictions in order; prepares several recordings in advance, each chunk by chunk."""

    def take_chunk(pending: Iterator[_PendingPrediction]) -> list[_PendingPrediction]:
        return list(islice(pending, _CHUNK))

    def start(recording: Input) -> Future[tuple[list[_PendingPrediction], Iterator[_PendingPrediction]]]:
        pending = _prepare(recording, models, windows)
        return pool.submit(lambda: (take_chunk(pending), pending))

    for first_chunk, pending in _submit_ahead(inputs, start, 2 * threads + 2):
        chunk = first_chunk
        while len(chunk) == _CHUNK:
            next_chunk = pool.submit(take_chunk, pending)
            yield from chunk
            chunk = next_chunk.result()
        yield from chunk


def _classify_batches(
    pending: Iterator[_PendingPrediction], models: Sequence[TrainedModel], pool: Executor, threads: int
) -> Iterator[tuple[Input, Prediction]]:
    """Yield all predictions in order; classifies a batch while the next ones are prepared."""
    batches = iter(lambda: list(islice(pending, BATCH * len(models))), [])
    cuda = any(parameter.is_cuda for model in models for parameter in model.method.parameters())
    lock = Lock() if cuda else nullcontext()

    def classify(batch: list[_PendingPrediction]) -> list[tuple[Input, Prediction]]:
        predictions = [each.prediction for each in batch]
        for index, model in enumerate(models):
            windows = {i: each.window for i, each in enumerate(batch) if each.window and each.prediction.model == index}
            if windows:
                with lock:
                    probabilities = model.classify(list(windows.values())).tolist()
                for i, probability in zip(windows, probabilities, strict=True):
                    predictions[i] = replace(predictions[i], probability=probability)
        return [(each.input, prediction) for each, prediction in zip(batch, predictions, strict=True)]

    for results in _submit_ahead(batches, lambda batch: pool.submit(classify, batch), threads + 1):
        yield from results


def _submit_ahead(items: Iterable[_Item], submit: Callable[[_Item], Future[_Result]], limit: int) -> Iterator[_Result]:
    """Yield the results in the order of the items, with up to `limit` of them in progress."""
    pending: deque[Future[_Result]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) >= limit:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _prepare(recording: Input, models: Sequence[TrainedModel], windows: Windows | None) -> Iterator[_PendingPrediction]:
    """Yield the pending predictions of a recording: by window, then model."""
    feature_sets = list(dict.fromkeys(model.features for model in models))
    try:
        with recording.open() as stream:
            for part, features in _extract_parts(stream, recording, feature_sets, windows):
                for number, model in enumerate(models):
                    prediction = Prediction(recording.file, duration=part.duration, model=number, remarks=part.remarks)
                    yield _make_pending(recording, prediction, model, part.span, features[model.features])
    except RECORDING_ERRORS as error:
        for number in range(len(models)):
            prediction = Prediction(recording.file, error=explain_rejection(error), model=number)
            yield _PendingPrediction(recording, prediction)


class _Part(NamedTuple):
    """A window of a recording, or the whole recording."""

    duration: float
    """Duration of the recording in s."""
    span: Span | None
    """Span of the window; None: the whole recording."""
    remarks: tuple[str, ...]
    """Remarks on the recording, in its last part."""


def _extract_parts(
    stream: BinaryIO, source: Input, feature_sets: Sequence[FeatureSet], windows: Windows | None
) -> Iterator[tuple[_Part, Mapping[FeatureSet, _Features | AudioError]]]:
    """Yield each part of a recording that the models predict for, and its features."""
    rates = list(dict.fromkeys(features.sample_rate for features in feature_sets))
    if windows is None:
        recording = decode(stream, name=source.file, ffmpeg=source.ffmpeg)
        samples = {rate: resample(recording.samples, recording.sample_rate, rate) for rate in rates}
        part = _Part(recording.duration, None, recording.remarks)
        yield part, {each: _extract(each, samples[each.sample_rate]) for each in feature_sets}
        return
    reader = RecordingReader(stream, name=source.file, ffmpeg=source.ffmpeg)
    spans = windows.spans(reader.duration)
    # tee frees its buffer in dozens of blocks.
    copies: Sequence[Iterable[NDArray[np.float32]]] = [reader] if len(rates) == 1 else tee(reader, len(rates))
    signals = [resample_blocks(each, reader.sample_rate, rate) for each, rate in zip(copies, rates, strict=True)]
    for number, (span, *windowed) in enumerate(zip(spans, *map(cut, signals, repeat(spans), rates), strict=True), 1):
        samples = dict(zip(rates, windowed, strict=True))
        part = _Part(reader.duration, span, tuple(reader.remarks) if number == len(spans) else ())
        yield part, {each: _extract(each, samples[each.sample_rate]) for each in feature_sets}


def _extract(features: FeatureSet, samples: NDArray[np.float32]) -> _Features | AudioError:
    try:
        array, peak_db = features.extract(samples)
    except AudioError as error:
        return error
    return AudioError("all zeros") if peak_db <= SILENCE_DB else (array, peak_db)


def _make_pending(
    recording: Input, prediction: Prediction, model: TrainedModel, span: Span | None, features: _Features | AudioError
) -> _PendingPrediction:
    is_whole = span in (None, (0.0, prediction.duration))
    if isinstance(features, AudioError):
        # An error of the only window is an error of the file.
        start, end = span if span and not is_whole else (None, None)
        return _PendingPrediction(recording, replace(prediction, start=start, end=end, error=str(features)))
    start, end = span or _locate_middle(model, prediction.duration or 0.0, len(features[0]))
    return _PendingPrediction(recording, replace(prediction, start=start, end=end), model.window(*features))


def _locate_middle(model: TrainedModel, duration: float, frames: int) -> Span:
    """Return the span in the middle of a recording that fits into a model's window."""
    features, length = model.features, duration
    if frames > model.framer.frames:
        length = min(length, model.seconds)
    if features.fixed_samples is not None:
        length = min(length, features.fixed_samples / features.sample_rate)
    start = (duration - length) / 2
    return start, start + length
