"""Cut recordings into windows over time, at the same times for any sample rate."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import ConfigError
from emodna.pipeline.audio.decode import time_to_sample

#: Shortest window in s that can convey an emotion.
SHORTEST: Final = 0.25
#: Shortest hop in s.
SHORTEST_HOP: Final = 0.01

Span = tuple[float, float]
"""Start and end in s."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over time; raises ConfigError if they are too short or too close."""

    seconds: float
    """Length of a window in s."""
    hop: float
    """Time in s from one start to the next."""

    def __post_init__(self) -> None:
        if not self.seconds >= SHORTEST:
            raise ConfigError(f"must be at least {SHORTEST} s", field="window", value=self.seconds)
        if not self.hop >= SHORTEST_HOP:
            raise ConfigError(f"must be at least {SHORTEST_HOP} s", field="hop", value=self.hop)

    def spans(self, duration: float) -> list[Span]:
        """Return the spans of the windows of a recording of `duration` s; the last one ends with the recording."""
        if duration <= self.seconds:
            return [(0.0, duration)]
        hops = math.floor((duration - self.seconds) / self.hop + 1e-9)  # tolerates rounding errors
        spans = [(number * self.hop, number * self.hop + self.seconds) for number in range(hops + 1)]
        if duration - spans[-1][1] > 1e-6:
            spans.append((duration - self.seconds, duration))
        return spans


def cut(blocks: Iterable[NDArray[np.float32]], spans: Sequence[Span], rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of each span, in order, from a signal in blocks (n,), with little memory.

    The last span gets all remaining samples, because resampling may round the length up.
    """
    stream, buffer, offset = iter(blocks), np.empty(0, np.float32), 0
    for number, (start, end) in enumerate(spans):
        first, stop = time_to_sample(start, rate), time_to_sample(end, rate)
        parts, length = [buffer], len(buffer)
        while (number == len(spans) - 1 or offset + length < stop) and (block := next(stream, None)) is not None:
            parts.append(block)
            length += len(block)
        buffer = (np.concatenate(parts) if len(parts) > 1 else buffer)[first - offset :]
        offset = first
        yield buffer if number == len(spans) - 1 else buffer[: stop - first]
