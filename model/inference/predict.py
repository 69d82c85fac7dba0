"""Predict for audio files, or windows of them, with one or more models."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import islice, product, repeat, tee
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import ConfigError
from emodna.model.inference.inputs import Input, find_inputs, group_segments
from emodna.model.inference.prediction import PendingPrediction, Prediction
from emodna.model.inference.speakers import normalise_by_speaker
from emodna.model.inference.trained_model import BATCH, Extracted, TrainedModel
from emodna.model.inference.windows import Span, Windows, cut
from emodna.pipeline.audio.decode import Recording, RecordingReader, decode, resample, resample_blocks, time_to_sample
from emodna.pipeline.audio.quality import AudioQuality, measure_quality
from emodna.pipeline.audio.trim import find_speech
from emodna.pipeline.errors import RECORDING_ERRORS, AudioError, check_list, explain_rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.spans import WHOLE
from emodna.pipeline.threads import open_extraction_threads

#: Windows of a recording per task of a thread.
_CHUNK: Final = 16

#: Longest recording in s that is predicted as a whole.
_MAX_SECONDS: Final = 3600.0

ALL: Final = "all"
Channel = int | Literal["all"]
"""Number of a channel, from 0; `ALL` for each channel of a file."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def predict_files(
    models: TrainedModel | Sequence[TrainedModel],
    files: Iterable[Path | str],
    *,
    windows: Windows | None = None,
    channel: Channel = 0,
    threads: int = 1,
    ffmpeg: bool = False,
) -> Iterator[Prediction]:
    """Predict for files, folders, archives or standard input (`-`), as `predict` does.

    With `ffmpeg`, the program ffmpeg decodes the formats that libsndfile cannot read. Raises EmodnaError if `files` is
    one name instead of a list.
    """
    check_list("files", files)
    check_list("models", models)
    all_models = [models] if isinstance(models, TrainedModel) else models
    inputs = find_inputs(map(str, files), ffmpeg=ffmpeg)
    found = predict(all_models, inputs, windows=windows, channel=channel, threads=threads)
    return (prediction for _, prediction in found)


def predict(
    models: Sequence[TrainedModel],
    inputs: Iterable[Input],
    *,
    windows: Windows | None = None,
    channel: Channel = 0,
    threads: int = 1,
) -> Generator[tuple[Input, Prediction], None, None]:
    """Yield a prediction for each input, channel, window and model in turn, as soon as it is ready.

    Without `windows`, a model uses the middle of a longer recording, as in training. With `windows`, each window is
    treated as a separate recording.

    Each recording is opened once, and decoded once per channel, so that only one channel is in memory. The memory used
    does not depend on the number of recordings or, with windows, on their length. The predictions are the same bit for
    bit for any number of CPU `threads`.

    A model with normalisation by speaker predicts for a recording once all recordings of its speaker have been read;
    the order stays the same. It lists all inputs first. Its memory holds the features of such recordings, or only their
    statistics over time if it reads those.

    Raises ConfigError: invalid `channel`. A file without that channel gives a prediction with an error. Raises
    EmodnaError if a file or a package that the features of a model need is missing, before any input is opened.
    """
    if channel != ALL and not (type(channel) is int and channel >= 0):
        raise ConfigError(f"must be a number from 0, or {ALL}", field="channel", value=channel)
    for model in models:
        model.features.check_requirements()
    with open_extraction_threads(threads) as pool:
        try:
            if any(model.per_speaker for model in models):
                listed = list(inputs)
                prepared = _prepare_inputs(listed, models, windows, channel, pool, threads)
                pending = normalise_by_speaker(prepared, listed, models)
            else:
                pending = _prepare_inputs(inputs, models, windows, channel, pool, threads)
            yield from _classify_batches(pending, models, pool, threads)
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_inputs(
    inputs: Iterable[Input],
    models: Sequence[TrainedModel],
    windows: Windows | None,
    channel: Channel,
    pool: Executor,
    threads: int,
) -> Iterator[PendingPrediction]:
    """Yield all pending predictions in order; prepares several recordings in advance, each chunk by chunk."""

    def take_chunk(pending: Iterator[PendingPrediction]) -> list[PendingPrediction]:
        return list(islice(pending, _CHUNK))

    def start(parts: Sequence[Input]) -> Future[tuple[list[PendingPrediction], Iterator[PendingPrediction]]]:
        pending = _prepare(parts, models, windows, channel)
        return pool.submit(lambda: (take_chunk(pending), pending))

    for first_chunk, pending in _submit_ahead(group_segments(inputs), start, 2 * threads + 2):
        chunk = first_chunk
        while len(chunk) == _CHUNK:
            next_chunk = pool.submit(take_chunk, pending)
            yield from chunk
            chunk = next_chunk.result()
        yield from chunk


def _classify_batches(
    pending: Iterator[PendingPrediction], models: Sequence[TrainedModel], pool: Executor, threads: int
) -> Iterator[tuple[Input, Prediction]]:
    """Yield all predictions in order; classifies a batch while the next ones are prepared."""
    batches = iter(lambda: list(islice(pending, BATCH * len(models))), [])
    cuda = any(parameter.is_cuda for model in models for parameter in model.method.parameters())
    lock = Lock() if cuda else nullcontext()

    def classify(batch: list[PendingPrediction]) -> list[tuple[Input, Prediction]]:
        predictions = [each.prediction for each in batch]
        for index, model in enumerate(models):
            windows = {i: each.window for i, each in enumerate(batch) if each.window and each.prediction.model == index}
            if windows:
                with lock:
                    probabilities = model.classify(list(windows.values())).tolist()
                for i, each in zip(windows, probabilities, strict=True):
                    predictions[i] = replace(predictions[i], probabilities=tuple(each))
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


def _prepare(
    inputs: Sequence[Input], models: Sequence[TrainedModel], windows: Windows | None, channel: Channel
) -> Iterator[PendingPrediction]:
    """Yield the pending predictions of a recording, or its segments: by segment, then channel, window and model."""
    first = inputs[0]
    rates = list(dict.fromkeys(model.features.sample_rate for model in models))
    try:
        with first.open() as stream:
            decode_channel: Callable[[int], _DecodedChannel] = partial(_decode_channel, stream, first, rates)
            if first.span is not None:  # of a whole recording, only one channel is in memory
                decode_channel = _decode_once(decode_channel)
            channels = (
                range(RecordingReader(stream, name=first.file, ffmpeg=first.ffmpeg).channels)
                if channel == ALL
                else (channel,)
            )
            for given, each in product(inputs, channels):
                parts = (
                    _stream_parts(stream, given, each, rates, windows)
                    if windows is not None and given.span is None
                    else _cut_parts(partial(decode_channel, each), given, windows, has_remarks=given is first)
                )
                yield from _prepare_parts(given, parts, each, models)
    except RECORDING_ERRORS as error:
        for given in inputs:
            yield from _refuse(given, None if channel == ALL else channel, error, models)


def _prepare_parts(
    given: Input, parts: Iterator["_Part"], channel: int, models: Sequence[TrainedModel]
) -> Iterator[PendingPrediction]:
    feature_sets = list(dict.fromkeys(model.features for model in models))
    try:
        for part in parts:
            features = {each: _extract(each, part.samples[each.sample_rate]) for each in feature_sets}
            for number, model in enumerate(models):
                prediction = Prediction(
                    given.file,
                    duration=part.duration,
                    model=number,
                    remarks=part.remarks,
                    channel=channel,
                    channels=part.channels,
                )
                yield _make_pending(given, prediction, model, part, features[model.features])
    except RECORDING_ERRORS as error:
        yield from _refuse(given, channel, error, models)


def _refuse(
    recording: Input, channel: int | None, error: AudioError | OSError | ValueError, models: Sequence[TrainedModel]
) -> Iterator[PendingPrediction]:
    for number in range(len(models)):
        prediction = Prediction(recording.file, error=explain_rejection(error), model=number, channel=channel)
        yield PendingPrediction(recording, prediction)


class _Part(NamedTuple):
    """A window of a recording, or the whole recording or segment."""

    samples: Mapping[int, NDArray[np.float32]]
    """Samples (n,) by rate in Hz."""
    duration: float
    """Duration of the recording or segment in s."""
    span: Span | None
    """Start and end in the recording in s; None: the whole recording."""
    is_window: bool
    """True if it is one of several windows."""
    quality: AudioQuality
    channels: int
    """Number of channels of the recording."""
    remarks: tuple[str, ...]
    """Remarks on the recording, in its last part."""


class _DecodedChannel(NamedTuple):
    """A channel of a recording."""

    samples: Mapping[int, NDArray[np.float32]]
    """Samples (n,) by rate in Hz, at the recording's own rate too."""
    recording: Recording


def _decode_channel(stream: BinaryIO, source: Input, rates: Sequence[int], channel: int) -> _DecodedChannel:
    limit = _MAX_SECONDS if source.span is None else math.inf
    recording = decode(stream, channel=channel, max_seconds=limit, name=source.file, ffmpeg=source.ffmpeg)
    own_rate = recording.sample_rate
    samples = {rate: resample(recording.samples, own_rate, rate) for rate in rates}
    return _DecodedChannel({**samples, own_rate: recording.samples}, recording)


def _decode_once(decode_channel: Callable[[int], _DecodedChannel]) -> Callable[[int], _DecodedChannel]:
    """Return a function that decodes each channel once, also one that cannot be decoded."""

    @cache
    def attempt(channel: int) -> _DecodedChannel | AudioError:
        try:
            return decode_channel(channel)
        except RECORDING_ERRORS as error:
            return AudioError(explain_rejection(error))

    def decode_or_raise(channel: int) -> _DecodedChannel:
        decoded = attempt(channel)
        if isinstance(decoded, AudioError):
            raise decoded
        return decoded

    return decode_or_raise


def _cut_parts(
    decode_channel: Callable[[], _DecodedChannel], given: Input, windows: Windows | None, *, has_remarks: bool
) -> Iterator[_Part]:
    """Yield a decoded recording, or a segment of it, or each window of the segment."""
    samples, recording = decode_channel()
    start, end = (given.span or WHOLE).fit(recording.duration)
    spans = [(start, end)]
    if windows is not None:
        spans = [(start + first, start + last) for first, last in windows.spans(end - start)]
    for number, (first, last) in enumerate(spans, 1):
        # Resampling may round the length up.
        is_last = number == len(spans) and end == recording.duration
        cut_samples = {
            rate: signal[time_to_sample(first, rate) : None if is_last else time_to_sample(last, rate)]
            for rate, signal in samples.items()
        }
        yield _Part(
            cut_samples,
            end - start,
            None if given.span is None else (first, last),
            len(spans) > 1,
            measure_quality(cut_samples[recording.sample_rate], recording.sample_rate),
            recording.channels,
            recording.remarks if has_remarks and number == len(spans) else (),
        )


def _stream_parts(
    stream: BinaryIO, source: Input, channel: int, feature_rates: Sequence[int], windows: Windows
) -> Iterator[_Part]:
    """Yield each window of a channel of a recording, with little memory."""
    reader = RecordingReader(stream, channel=channel, name=source.file, ffmpeg=source.ffmpeg)
    rates = list(dict.fromkeys((reader.sample_rate, *feature_rates)))
    spans = windows.spans(reader.duration)
    # tee frees its buffer in dozens of blocks.
    copies: Sequence[Iterable[NDArray[np.float32]]] = [reader] if len(rates) == 1 else tee(reader, len(rates))
    signals = [resample_blocks(each, reader.sample_rate, rate) for each, rate in zip(copies, rates, strict=True)]
    for number, (span, *windowed) in enumerate(zip(spans, *map(cut, signals, repeat(spans), rates), strict=True), 1):
        samples = dict(zip(rates, windowed, strict=True))
        quality = measure_quality(samples[reader.sample_rate], reader.sample_rate)
        remarks = tuple(reader.remarks) if number == len(spans) else ()
        yield _Part(samples, reader.duration, span, len(spans) > 1, quality, reader.channels, remarks)


def _extract(features: FeatureSet, samples: NDArray[np.float32]) -> Extracted | AudioError:
    try:
        array, peak_db = features.extract(samples)
    except AudioError as error:
        return error
    return AudioError("all zeros") if peak_db <= SILENCE_DB else (array, peak_db)


def _make_pending(
    recording: Input, prediction: Prediction, model: TrainedModel, part: _Part, features: Extracted | AudioError
) -> PendingPrediction:
    span, duration = part.span, part.duration
    if isinstance(features, AudioError):
        # An error of the only window is an error of the file.
        start, end = span if span and part.is_window else (None, None)
        return PendingPrediction(recording, replace(prediction, start=start, end=end, error=str(features)))
    start, end = span or _locate_middle(model, part, len(features[0]))
    deviations = None
    if model.domain is not None:
        length = duration if span is None else end - start
        deviations = model.domain.compare(features[0], length, part.quality)
    prediction = replace(prediction, start=start, end=end, peak=part.quality.peak, deviations=deviations)
    if model.per_speaker:
        return PendingPrediction(recording, prediction, utterance=(model.represent(features[0]), features[1]))
    return PendingPrediction(recording, prediction, model.window(*features))


def _locate_middle(model: TrainedModel, part: _Part, frames: int) -> Span:
    """Return the span in the middle of a recording, after cutting silence, that fits into a model's window."""
    features, offset, length = model.features, 0.0, part.duration
    is_cropped = not model.reads_statistics and frames > model.framer.frames
    if features.trim_db is not None and (is_cropped or features.fixed_samples is not None):
        samples = part.samples[features.sample_rate]
        first, stop = find_speech(samples, features.trim_db, features.min_samples)
        offset, length = first / features.sample_rate, (stop - first) / features.sample_rate
    speech = length
    if is_cropped:
        length = min(length, model.seconds)
    if features.fixed_samples is not None:
        length = min(length, features.fixed_samples / features.sample_rate)
    start = offset + (speech - length) / 2
    return start, start + length
