"""Windows over time: the same spans of a recording at any sample rate."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import ConfigError
from emodna.pipeline.audio.decode import time_to_sample

#: Shortest window in s: less is too little to hear an emotion.
SHORTEST: Final = 0.25
#: Shortest hop in s.
SHORTEST_HOP: Final = 0.01

Span = tuple[float, float]
"""Start and end in s."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of `seconds`, one every `hop` s; a `ConfigError` if either is too short."""

    seconds: float
    hop: float

    def __post_init__(self) -> None:
        if not self.seconds >= SHORTEST:
            raise ConfigError(f"--windows {self.seconds:g}: at least {SHORTEST} s are needed to hear anything")
        if not self.hop >= SHORTEST_HOP:
            raise ConfigError(f"--hop {self.hop:g}: must be at least {SHORTEST_HOP} s")

    def spans(self, duration: float) -> list[Span]:
        """Return the spans of a recording's windows, one if it is shorter; the last ends where it does."""
        if duration <= self.seconds:
            return [(0.0, duration)]
        # As many whole hops as fit, whatever the rounding of a quotient that should be whole.
        whole = math.floor((duration - self.seconds) / self.hop + 1e-9)
        spans = [(number * self.hop, number * self.hop + self.seconds) for number in range(whole + 1)]
        if duration - spans[-1][1] > 1e-6:
            spans.append((duration - self.seconds, duration))
        return spans


def cut(
    blocks: Iterable[NDArray[np.float32]], spans: Sequence[Span], sample_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Cut each span, in order, out of a signal that comes in blocks (n,), and keep no more of it than a window needs.

    The last of `Windows.spans` goes up to the end, which resampling may have rounded up.
    """
    stream, buffer, first = iter(blocks), np.empty(0, np.float32), 0
    for number, (start, end) in enumerate(spans):
        begins, stops = time_to_sample(start, sample_rate), time_to_sample(end, sample_rate)
        parts, length = [buffer], len(buffer)
        while (number == len(spans) - 1 or first + length < stops) and (block := next(stream, None)) is not None:
            parts.append(block)
            length += len(block)
        buffer = (np.concatenate(parts) if len(parts) > 1 else buffer)[begins - first :]
        first = begins
        yield buffer if number == len(spans) - 1 else buffer[: stops - begins]
