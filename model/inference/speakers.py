"""Normalise new audio by speaker: predictions wait until all recordings of their speaker have been read."""

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from emodna.model.data.normalisation import Statistics
from emodna.model.data.speakers import MIN_UTTERANCES
from emodna.model.inference.inputs import Input
from emodna.model.inference.prediction import PendingPrediction
from emodna.model.inference.trained_model import TrainedModel

Voice = tuple[int, int | None]
"""Number of a model, and channel of the recordings."""


def find_speaker(given: Input) -> Hashable:
    """Return the speaker of a recording: that of its row, else the recording itself, with all its segments."""
    if given.speaker is not None:
        return "speaker", given.speaker
    return ("recording", given.file) if given.span is not None else id(given)


def split_by_speaker(inputs: Sequence[Input], smallest: int) -> list[int]:
    """Return the places in a list of recordings at which a part begins, so that no speaker is in two parts.

    A part has at least `smallest` recordings, except for the last one.
    """
    last = {find_speaker(given): place for place, given in enumerate(inputs)}
    starts, end = [0], 0
    for place, given in enumerate(inputs):
        if place > end and place - starts[-1] >= smallest:
            starts.append(place)
        end = max(end, last[find_speaker(given)])
    return starts


def group_by_speaker(inputs: Sequence[Input]) -> list[list[int]]:
    """Return the places of the recordings of each speaker in a list."""
    groups: dict[Hashable, list[int]] = {}
    for place, given in enumerate(inputs):
        groups.setdefault(find_speaker(given), []).append(place)
    return list(groups.values())


def normalise_by_speaker(
    pending: Iterable[PendingPrediction], inputs: Sequence[Input], models: Sequence[TrainedModel]
) -> Iterator[PendingPrediction]:
    """Yield the pending predictions for the inputs in the same order, with their windows.

    The utterances of a speaker are all recordings, segments or windows that a model predicts for, in one channel. If
    there are fewer than `MIN_UTTERANCES`, the statistics that the model holds normalise them: those of its target.
    """
    counts = Counter(map(find_speaker, inputs))
    speakers: dict[Hashable, _Speaker] = {}
    waiting: deque[tuple[_Speaker, PendingPrediction]] = deque()
    for _, of_input in groupby(pending, lambda each: id(each.input)):
        for number, each in enumerate(of_input):
            if not number:
                key = find_speaker(each.input)
                speaker = speakers.setdefault(key, _Speaker(counts[key]))
            if each.utterance is not None:
                voice = each.prediction.model, each.prediction.channel
                speaker.utterances.setdefault(voice, []).append(each.utterance[0])
            waiting.append((speaker, each))
        speaker.finish_recording()
        if not speaker.remaining:
            del speakers[key]  # its statistics go with its last waiting prediction
        while waiting and not waiting[0][0].remaining:
            yield _normalise(*waiting.popleft(), models)
    if waiting:
        raise AssertionError("a recording has no prediction")


def _normalise(speaker: "_Speaker", pending: PendingPrediction, models: Sequence[TrainedModel]) -> PendingPrediction:
    if pending.utterance is None:
        return pending
    model = models[pending.prediction.model]
    statistics = speaker.statistics.get((pending.prediction.model, pending.prediction.channel))
    window = model.frame(*pending.utterance, statistics)
    prediction = replace(pending.prediction, has_own_statistics=statistics is not None)
    return PendingPrediction(pending.input, prediction, window)


@dataclass(slots=True)
class _Speaker:
    """Utterances of a speaker that were read so far."""

    remaining: int
    """Number of recordings that are not read yet."""
    utterances: dict[Voice, list[NDArray[np.float32]]] = field(default_factory=dict)
    statistics: dict[Voice, Statistics] = field(default_factory=dict)

    def finish_recording(self) -> None:
        """Count a recording as read; after the last one, compute the statistics of the speaker."""
        self.remaining -= 1
        if not self.remaining:
            for voice, utterances in self.utterances.items():
                if len(utterances) >= MIN_UTTERANCES:
                    rows = np.arange(len(utterances))
                    self.statistics[voice] = Statistics.of_corpora([(_Utterances(utterances), rows)])
            self.utterances.clear()


class _Utterances:
    """Features in memory, with the members of a store that statistics need."""

    def __init__(self, features: Sequence[NDArray[np.float32]]) -> None:
        self._features, self.dim = features, features[0].shape[1]
        self.frames = np.array([len(each) for each in features])

    def gather(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.float32]]:
        """Return the features of rows (n,)."""
        return [self._features[row] for row in rows.tolist()]
