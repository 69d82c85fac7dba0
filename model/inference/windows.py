"""Windows over time: the same stretches of a recording at whatever sample rate."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import ConfigError
from emodna.pipeline.audio.decode import sample_at

#: s; of less, no emotion is heard.
SHORTEST: Final = 0.25
#: s; windows that begin closer together are somebody's mistake.
SHORTEST_HOP: Final = 0.01

Span = tuple[float, float]
"""Start and end in s."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of `seconds`, one each `hop` s.

    Raises
    ------
    ConfigError
        Too short a window or hop.
    """

    seconds: float
    hop: float

    def __post_init__(self) -> None:
        if not self.seconds >= SHORTEST:
            raise ConfigError(f"--windows {self.seconds:g}: at least {SHORTEST} s are needed to hear anything")
        if not self.hop >= SHORTEST_HOP:
            raise ConfigError(f"--hop {self.hop:g}: must be at least {SHORTEST_HOP} s")

    def spans(self, duration: float) -> list[Span]:
        """Spans of the windows of a recording of this duration in s; the last ends where the recording does.

        A recording that is shorter than a window is one.
        """
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
    """Cut each span, in order, out of a signal that comes in blocks; no more of it is kept than a window needs.

    Parameters
    ----------
    blocks
        (n,) each, at `sample_rate` Hz.
    spans
        Of `Windows.spans`: the last one is up to the end, which resampling may have rounded up.
    """
    stream, held, first = iter(blocks), np.empty(0, np.float32), 0
    for start, end in spans[:-1]:
        begins, stops = sample_at(start, sample_rate), sample_at(end, sample_rate)
        held, first = _extended(held, stream, stops - first)[begins - first :], begins
        yield held[: stops - begins]
    yield _extended(held, stream, None)[sample_at(spans[-1][0], sample_rate) - first :]


def _extended(
    held: NDArray[np.float32], stream: Iterator[NDArray[np.float32]], length: int | None
) -> NDArray[np.float32]:
    """Samples (n,) with as many blocks behind them as make this length, or all."""
    parts, reached = [held], len(held)
    while (length is None or reached < length) and (block := next(stream, None)) is not None:
        parts.append(block)
        reached += len(block)
    return np.concatenate(parts) if len(parts) > 1 else held
