"""Predict on new audio: files or windows of them, by one or more models, in the order of the files."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, repeat, tee
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from emodna.model.inference.inputs import Input, find_inputs
from emodna.model.inference.trained_model import BATCH, TrainedModel, Window
from emodna.model.inference.windows import Span, Windows, cut
from emodna.pipeline.audio.decode import RecordingReader, decode, resample, resample_blocks
from emodna.pipeline.errors import RECORDING_ERRORS, AudioError, explain_rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.threads import open_extraction_threads

#: Windows of one recording that are made at a time.
_TOGETHER: Final = 16

_Features = tuple[NDArray[np.float32], float]
"""Features [frames, dim], and their peak in dB."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer for one file or window, or the reason why it has none."""

    file: str
    start: float | None = None
    """s; of a window, or of the part of a file that the model used; None of a file that could not be used."""
    end: float | None = None
    probability: float | None = None
    """Of class 1 (high / positive)."""
    error: str | None = None
    duration: float | None = None
    """s, of the whole file."""
    model: int = 0
    """Number of the model."""

    @property
    def label(self) -> int | None:
        """1 high / positive, 0 low / negative."""
        return None if self.probability is None else int(self.probability >= 0.5)

    @property
    def has_failed(self) -> bool:
        """True if the file could not be used; a window of digital silence is no failure."""
        return self.error is not None and self.start is None


def predict_files(
    models: TrainedModel | Sequence[TrainedModel],
    files: Iterable[Path | str],
    *,
    windows: Windows | None = None,
    threads: int = 1,
) -> Iterator[Prediction]:
    """Predict for files, folders, archives, or standard input (`-`): see `predict`."""
    several = [models] if isinstance(models, TrainedModel) else models
    return (each for _, each in predict(several, find_inputs(map(str, files)), windows=windows, threads=threads))


def predict(
    models: Sequence[TrainedModel], inputs: Iterable[Input], *, windows: Windows | None = None, threads: int = 1
) -> Generator[tuple[Input, Prediction], None, None]:
    """Predict for each input, window and model in turn, as the answers come.

    Without windows, files that are longer than a model's own window are judged by their middle, as in training. With
    them, each window's features are those of a recording that holds nothing else, as of a corpus's utterance: they
    depend on its loudest frame. Each recording is decoded once for all models that take the same channel of it; the
    answers of one channel stand before those of the next. The memory used does not depend on the number of recordings
    nor, with windows, on their length. The answers are the same, bit for bit, for any number of CPU `threads`.
    """
    with open_extraction_threads(threads) as pool:
        try:
            questions = _prepare_inputs(inputs, models, windows, pool, threads)
            yield from _classify_batches(questions, models, pool, threads)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _PendingPrediction:
    """An answer that still lacks its probability, if there is a window for the network."""

    input: Input
    answer: Prediction
    window: Window | None = None


def _prepare_inputs(
    inputs: Iterable[Input],
    models: Sequence[TrainedModel],
    windows: Windows | None,
    pool: ThreadPoolExecutor,
    threads: int,
) -> Iterator[_PendingPrediction]:
    """Yield all questions in order, made some recordings ahead, and some of each recording at a time."""

    def some(questions: Iterator[_PendingPrediction]) -> list[_PendingPrediction]:
        return list(islice(questions, _TOGETHER))

    def begin(recording: Input) -> Future[tuple[list[_PendingPrediction], Iterator[_PendingPrediction]]]:
        questions = _prepare_input(recording, models, windows)
        return pool.submit(lambda: (some(questions), questions))

    for first, questions in _submit_ahead(inputs, begin, 2 * threads + 2):
        made = first
        while len(made) == _TOGETHER:
            more = pool.submit(some, questions)
            yield from made
            made = more.result()
        yield from made


def _classify_batches(
    questions: Iterator[_PendingPrediction], models: Sequence[TrainedModel], pool: ThreadPoolExecutor, threads: int
) -> Iterator[tuple[Input, Prediction]]:
    """Yield all answers in order: batches of questions go through the networks while more are made."""
    batches = iter(lambda: list(islice(questions, BATCH * len(models))), [])
    cuda = any(parameter.is_cuda for model in models for parameter in model.method.parameters())
    turn = Lock() if cuda else nullcontext()

    def answer(batch: list[_PendingPrediction]) -> list[tuple[Input, Prediction]]:
        answers = [question.answer for question in batch]
        for number, model in enumerate(models):
            mine = {
                place: each.window
                for place, each in enumerate(batch)
                if each.window is not None and each.answer.model == number
            }
            if mine:
                with turn:
                    found = model.classify(list(mine.values())).tolist()
                for place, probability in zip(mine, found, strict=True):
                    answers[place] = replace(answers[place], probability=probability)
        return [(question.input, answer) for question, answer in zip(batch, answers, strict=True)]

    for answered in _submit_ahead(batches, lambda batch: pool.submit(answer, batch), threads + 1):
        yield from answered


def _submit_ahead(items: Iterable[_Item], submit: Callable[[_Item], Future[_Result]], many: int) -> Iterator[_Result]:
    """Yield results in the order of the items, with so many at work at a time."""
    pending: deque[Future[_Result]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) >= many:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _prepare_input(
    recording: Input, models: Sequence[TrainedModel], windows: Windows | None
) -> Iterator[_PendingPrediction]:
    """Yield the questions about one recording: for each channel that models take, part by part and model by model."""
    for channel in dict.fromkeys(model.features.channel for model in models):
        takers = {number: model for number, model in enumerate(models) if model.features.channel == channel}
        sets = list(dict.fromkeys(model.features for model in takers.values()))
        try:
            with recording.open() as stream:
                for duration, span, features in _extract_parts(stream, channel, sets, windows):
                    for number, model in takers.items():
                        answer = Prediction(recording.file, duration=duration, model=number)
                        yield _make_pending(recording, answer, model, span, features[model.features])
        except RECORDING_ERRORS as error:
            for number in takers:
                yield _PendingPrediction(
                    recording, Prediction(recording.file, error=explain_rejection(error), model=number)
                )


def _extract_parts(
    stream: BinaryIO, channel: int, sets: Sequence[FeatureSet], windows: Windows | None
) -> Iterator[tuple[float, Span | None, Mapping[FeatureSet, _Features | AudioError]]]:
    """Yield the recording's duration in s, a window's span (None: all of it), and its features by feature set."""
    rates = list(dict.fromkeys(features.sample_rate for features in sets))
    if windows is None:
        recording = decode(stream, channel=channel)
        samples = {rate: resample(recording.samples, recording.sample_rate, rate) for rate in rates}
        yield recording.duration, None, {each: _extract(each, samples[each.sample_rate]) for each in sets}
        return
    pieces = RecordingReader(stream, channel=channel)
    spans = windows.spans(pieces.duration)
    # tee lets go of what it keeps by dozens.
    copies: Sequence[Iterable[NDArray[np.float32]]] = [pieces] if len(rates) == 1 else tee(pieces, len(rates))
    signals = [resample_blocks(each, pieces.sample_rate, rate) for each, rate in zip(copies, rates, strict=True)]
    cuts = zip(*map(cut, signals, repeat(spans), rates), strict=True)
    for span, cut_out in zip(spans, cuts, strict=True):
        samples = dict(zip(rates, cut_out, strict=True))
        yield pieces.duration, span, {each: _extract(each, samples[each.sample_rate]) for each in sets}


def _extract(features: FeatureSet, samples: NDArray[np.float32]) -> _Features | AudioError:
    try:
        array, peak_db = features.extract(samples)
    except AudioError as error:
        return error
    return AudioError("all zeros: there is nothing to hear") if peak_db <= SILENCE_DB else (array, peak_db)


def _make_pending(
    recording: Input, answer: Prediction, model: TrainedModel, span: Span | None, features: _Features | AudioError
) -> _PendingPrediction:
    whole = span in (None, (0.0, answer.duration))
    if isinstance(features, AudioError):
        # An error of the only window is one of the file.
        start, end = span if span and not whole else (None, None)
        return _PendingPrediction(recording, replace(answer, start=start, end=end, error=str(features)))
    start, end = span or _locate_middle(model, answer.duration or 0.0, len(features[0]))
    return _PendingPrediction(recording, replace(answer, start=start, end=end), model.window(*features))


def _locate_middle(model: TrainedModel, duration: float, frames: int) -> Span:
    """Return the middle of a recording, as far as a model's window reaches."""
    features, length = model.features, duration
    if frames > model.framer.frames:
        length = min(length, model.seconds)
    if features.fixed_samples is not None:
        length = min(length, features.fixed_samples / features.sample_rate)
    start = (duration - length) / 2
    return start, start + length
