"""Predict on audio that no corpus has seen: files or windows of them, by one or more models, as they come."""

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

from emodna.model.inference.inputs import Input, named
from emodna.model.inference.trained_model import BATCH, TrainedModel
from emodna.model.inference.windows import Span, Windows, cut
from emodna.pipeline.audio.decode import Pieces, decode, resample, resample_pieces
from emodna.pipeline.errors import UNUSABLE, AudioError, rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.threads import extracting_threads

#: Windows of one recording that are made at a time.
_TOGETHER: Final = 16

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one file or window, or why it says nothing."""

    file: str
    start: float | None = None
    """s; of a window, or of the part of a file that the model looked at; None of a file that could not be used."""
    end: float | None = None
    probability: float | None = None
    """Of class 1 (high / positive)."""
    error: str | None = None
    duration: float | None = None
    """s, of the whole file."""
    model: int = 0
    """Which of the models says it."""

    @property
    def label(self) -> int | None:
        """1 high / positive, 0 low / negative."""
        return None if self.probability is None else int(self.probability >= 0.5)

    @property
    def failed(self) -> bool:
        """Whether the file could not be used (a window of digital silence is no failure)."""
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
    return (each for _, each in predict(several, named(map(str, files)), windows=windows, threads=threads))


def predict(
    models: Sequence[TrainedModel], inputs: Iterable[Input], *, windows: Windows | None = None, threads: int = 1
) -> Generator[tuple[Input, Prediction], None, None]:
    """Predict for each input, window and model in turn, as the answers come.

    Without windows, files that are longer than a model's own window are judged by their middle, as in training. With
    them, each window's features are those of a recording that holds nothing else: an utterance of a corpus was cut out
    before its features were made, too, and these depend on its loudest frame. Each recording is decoded once for all
    models that take the same channel of it; of models that do not, the answers of one channel stand before the other's.
    What is held in memory depends on neither the number of the recordings nor, with windows, on their length.

    Parameters
    ----------
    threads
        CPU threads that decode, extract and classify; the answers are the same, bit for bit, whatever their number.
    """
    with extracting_threads(threads) as pool:
        try:
            yield from _Predictor(models, windows, pool, threads).answers(inputs)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Question:
    """An answer that the network has still to give, if there is a window for it."""

    input: Input
    answer: Prediction
    window: tuple[NDArray[np.float32], int] | None = None
    """[frames, dim], and its length in frames."""


@dataclass(frozen=True, slots=True)
class _Predictor:
    models: Sequence[TrainedModel]
    windows: Windows | None
    pool: ThreadPoolExecutor
    threads: int

    def answers(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """All answers, in order: batches of questions go through the networks while more are made."""
        questions = self._questions(inputs)
        batches = iter(lambda: list(islice(questions, BATCH * len(self.models))), [])
        cuda = any(parameter.is_cuda for model in self.models for parameter in model.method.parameters())
        turn = Lock() if cuda else nullcontext()

        def answer(batch: list[_Question]) -> list[tuple[Input, Prediction]]:
            with turn:
                return _answered(batch, self.models)

        for answered in _ahead(batches, lambda batch: self.pool.submit(answer, batch), self.threads + 1):
            yield from answered

    def _questions(self, inputs: Iterable[Input]) -> Iterator[_Question]:
        """All that there is to answer, in order, made some recordings ahead, and some of each recording at a time."""

        def begin(asked: Input) -> Future[tuple[list[_Question], Iterator[_Question]]]:
            questions = _heard(asked, self.models, self.windows)
            return self.pool.submit(lambda: (_some(questions), questions))

        for some, questions in _ahead(inputs, begin, 2 * self.threads + 2):
            while len(some) == _TOGETHER:
                more = self.pool.submit(_some, questions)
                yield from some
                some = more.result()
            yield from some


def _some(questions: Iterator[_Question]) -> list[_Question]:
    return list(islice(questions, _TOGETHER))


def _ahead(items: Iterable[_Item], submit: Callable[[_Item], Future[_Result]], many: int) -> Iterator[_Result]:
    """Results in the order of the items, so many of which are at work at a time."""
    pending: deque[Future[_Result]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) >= many:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _answered(questions: Sequence[_Question], models: Sequence[TrainedModel]) -> list[tuple[Input, Prediction]]:
    """Answer a batch, each model what is asked of it."""
    answers = [question.answer for question in questions]
    for number, model in enumerate(models):
        mine = [at for at, each in enumerate(questions) if each.window is not None and each.answer.model == number]
        windows = [window for at in mine if (window := questions[at].window) is not None]
        for at, probability in zip(mine, model.classify(windows) if windows else (), strict=True):
            answers[at] = replace(answers[at], probability=float(probability))
    return [(question.input, answer) for question, answer in zip(questions, answers, strict=True)]


def _heard(asked: Input, models: Sequence[TrainedModel], windows: Windows | None) -> Iterator[_Question]:
    """What there is to answer of one recording."""
    numbers: dict[int, list[int]] = {}  # of the models that take a channel
    for number, model in enumerate(models):
        numbers.setdefault(model.features.channel, []).append(number)
    for channel, takers in numbers.items():
        sets = list(dict.fromkeys(models[number].features for number in takers))
        try:
            with asked.open() as stream:
                for part in _parts(stream, channel, sets, windows):
                    for number in takers:
                        yield _question(asked, number, models[number], part)
        except UNUSABLE as error:
            for number in takers:
                yield _Question(asked, Prediction(asked.file, error=rejection(error), model=number))


@dataclass(frozen=True, slots=True)
class _Part:
    """A recording, or a window of it."""

    duration: float
    """s, of the whole recording."""
    span: Span | None
    """Of a window."""
    features: Mapping[FeatureSet, tuple[NDArray[np.float32], float] | AudioError]
    """Features [frames, dim] and their peak in dB, or why there are none."""


def _parts(stream: BinaryIO, channel: int, sets: Sequence[FeatureSet], windows: Windows | None) -> Iterator[_Part]:
    rates = list(dict.fromkeys(features.sample_rate for features in sets))
    if windows is None:
        recording = decode(stream, channel=channel)
        samples = {rate: resample(recording.samples, recording.sample_rate, rate) for rate in rates}
        yield _Part(recording.duration, None, {each: _extracted(each, samples[each.sample_rate]) for each in sets})
        return
    pieces = Pieces(stream, channel=channel)
    spans = windows.spans(pieces.duration)
    # tee lets go of what it keeps by dozens.
    copies: Sequence[Iterable[NDArray[np.float32]]] = [pieces] if len(rates) == 1 else tee(pieces, len(rates))
    signals = [resample_pieces(each, pieces.sample_rate, rate) for each, rate in zip(copies, rates, strict=True)]
    cuts = zip(*map(cut, signals, repeat(spans), rates), strict=True)
    for span, cut_out in zip(spans, cuts, strict=True):
        samples = dict(zip(rates, cut_out, strict=True))
        yield _Part(pieces.duration, span, {each: _extracted(each, samples[each.sample_rate]) for each in sets})


def _extracted(features: FeatureSet, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float] | AudioError:
    try:
        array, peak_db = features.extract(samples)
    except AudioError as error:
        return error
    return AudioError("all zeros: there is nothing to hear") if peak_db <= SILENCE_DB else (array, peak_db)


def _question(asked: Input, number: int, model: TrainedModel, part: _Part) -> _Question:
    found = part.features[model.features]
    answer = Prediction(asked.file, duration=part.duration, model=number)
    if isinstance(found, AudioError):
        # What is wrong with the only window is wrong with the file.
        start, end = (None, None) if part.span in (None, (0.0, part.duration)) else part.span
        return _Question(asked, replace(answer, start=start, end=end, error=str(found)))
    start, end = part.span or _looked_at(model, part.duration, len(found[0]))
    return _Question(asked, replace(answer, start=start, end=end), model.window(*found))


def _looked_at(model: TrainedModel, duration: float, frames: int) -> Span:
    """Middle of a recording, as far as a model's window reaches."""
    features, length = model.features, duration
    if frames > model.framer.frames:
        length = min(length, model.seconds)
    if features.fixed_samples is not None:
        length = min(length, features.fixed_samples / features.sample_rate)
    start = (duration - length) / 2
    return start, start + length
