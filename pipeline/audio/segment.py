"""Cut long recordings into utterances at pauses of the voice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, CorpusError
from emodna.pipeline.spans import WHOLE, Span

#: Separator between the id of a recording and the start of a segment in s, in the id of the segment.
_MARK: Final = "@"

#: Blocks per s, each with one level, and blocks per minute, which are processed together.
_BLOCKS: Final = 100
_MINUTE: Final = 60 * _BLOCKS
#: Level in dB of digital silence.
_SILENCE: Final = -100.0
#: Lowest sample rate in Hz at which a block has enough samples for a level.
_MIN_RATE: Final = 1000


class Segmenter(Protocol):
    """A rule that finds the utterances in a recording."""

    def parameters(self) -> dict[str, str | float]:
        """Return all parameters of the rule; the store records them."""

    def find_segments(self, samples: NDArray[np.float32], sample_rate: int) -> Sequence[tuple[float, float]]:
        """Return start and end of each utterance in (n,) samples, in s, sorted by time."""


@dataclass(frozen=True, slots=True)
class EnergySegmenter:
    """A voice-activity rule based on loudness.

    The level of a 10 ms block is its mean power in dB. The noise level of a recording is the 10th percentile of its
    blocks. The voice level is exceeded by the loudest `min_voice` seconds, or by the loudest 5 % if that is shorter: a
    recording may contain a single word. A block is voice if it is above the noise by `above_noise_db`, or by
    `noise_share` of the range between noise and voice if that is less, and at most `below_voice_db` below the voice. If
    the range is smaller than `min_range_db`, blocks are voice unless they are that far below the noise level.

    Pauses shorter than `min_pause` do not cut. Sounds shorter than `min_voice` are not voice. Each segment includes
    `margin` at both ends. A segment longer than `max_piece` is cut at the quietest point of the second half of its
    first `max_piece`. All these times are in s.

    Raises `AudioError` from `find_segments`: no voice found. Raises `ValueError`: constants that make segments overlap
    or shorter than a voice.
    """

    above_noise_db: float = 10.0
    noise_share: float = 0.45
    below_voice_db: float = 40.0
    min_range_db: float = 3.0
    min_pause: float = 0.5
    min_voice: float = 0.2
    margin: float = 0.1
    max_piece: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin < self.min_pause or not 0.05 <= self.min_voice <= self.max_piece / 4:
            raise ValueError("two margins must be shorter than a pause, and min_voice at most a quarter of max_piece")

    def parameters(self) -> dict[str, str | float]:
        """Return the name and the constants of the rule."""
        return {"segment": "energy", **asdict(self)}

    def find_segments(self, samples: NDArray[np.float32], sample_rate: int) -> list[tuple[float, float]]:
        """Return the spans of voice in (n,) samples, in s: whole blocks of 10 ms at any sample rate."""
        if sample_rate < _MIN_RATE:
            raise AudioError(f"sample rate too low to find voice: {sample_rate} Hz, at least {_MIN_RATE} Hz needed")
        level = _compute_levels(samples, sample_rate)
        margin, longest = round(_BLOCKS * self.margin), round(_BLOCKS * self.max_piece)
        segments = []
        for first, last in self._find_voice(level):
            # Two margins are shorter than a pause, so segments do not overlap.
            start, stop = max(first - margin, 0), min(last + margin, len(level))
            segments += [(a / _BLOCKS, b / _BLOCKS) for a, b in _cut(level, start, stop, longest)]
        if not segments:
            raise AudioError("no voice found")
        return segments

    def _find_voice(self, level: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """Yield the first block of each span of voice, and the one after its last."""
        import scipy.ndimage  # takes half a second, so only if recordings are cut

        if not len(level) or level.max() <= _SILENCE:
            return
        pause, shortest = round(_BLOCKS * self.min_pause), round(_BLOCKS * self.min_voice)
        loudest = min(len(level) // 20, shortest)  # limited, because a long recording may be mostly pause
        noise, voice = np.percentile(level, 10), np.sort(level)[-1 - loudest]
        threshold = max(
            noise + min(self.above_noise_db, self.noise_share * (voice - noise)), voice - self.below_voice_db
        )
        if voice - noise < self.min_range_db:  # cuts at fluctuations of a steady sound would be random
            threshold = noise - self.min_range_db
        loud = np.pad(level >= threshold, pause)  # closing erodes the ends
        closed = scipy.ndimage.binary_closing(loud, np.ones(pause))[pause:-pause]
        runs, _ = scipy.ndimage.label(closed)
        for (run,) in scipy.ndimage.find_objects(runs):
            if np.count_nonzero(loud[pause:-pause][run]) >= shortest:
                yield run.start, run.stop


def _compute_levels(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the mean power in dB of each whole block of (n,) samples, after subtracting their mean."""
    edges = np.round(np.arange(len(samples) * _BLOCKS // sample_rate + 1) * (sample_rate / _BLOCKS)).astype(np.int64)
    offset = samples.mean(dtype=np.float64) if len(samples) else 0.0  # the microphone's DC offset
    level = np.empty(len(edges) - 1)
    for first in range(0, len(level), _MINUTE):
        part = edges[first : first + _MINUTE + 1]
        squares = np.square(samples[part[0] : part[-1]] - offset, dtype=np.float64)
        power = np.add.reduceat(squares, part[:-1] - part[0]) / np.diff(part)
        level[first : first + _MINUTE] = 10 * np.log10(np.maximum(power, 10 ** (_SILENCE / 10)))
    return level


def _cut(level: NDArray[np.float64], start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield a span of blocks, or its parts if it is too long."""
    import scipy.ndimage

    smooth = scipy.ndimage.uniform_filter1d(level[start:stop], size=10, mode="nearest")
    while stop - start > longest:
        candidates = smooth[longest // 2 : min(longest, len(smooth) - longest // 4)]  # the rest stays long enough
        at = longest // 2 + int(candidates.argmin())
        yield start, start + at
        start, smooth = start + at, smooth[at:]
    yield start, stop


SEGMENTERS: Final[Mapping[str, Segmenter | None]] = {"none": None, "energy": EnergySegmenter()}


def find_segmenter(name: str) -> Segmenter | None:
    """Return the rule of this name, or None for whole recordings; raise a `CorpusError` if there is none."""
    if name not in SEGMENTERS:
        raise CorpusError("unknown segmentation rule", field="segment", value=name, valid=SEGMENTERS)
    return SEGMENTERS[name]


def make_segment_id(recording_id: str, start: float) -> str:
    """Return the id of the segment of a recording that starts at `start` in s. Ids sort by time."""
    return f"{recording_id}{_MARK}{start:09.3f}"


def make_span_id(recording_id: str, span: Span) -> str:
    """Return the id of a given part of a recording: that of the recording itself for the whole of it.

    Different spans have different ids: times are written in ms, or in as many digits as they need.
    """
    if span == WHOLE:
        return recording_id
    return f"{recording_id}{_MARK}{_format_time(span.start)}-{'' if span.end is None else _format_time(span.end)}"


def _format_time(seconds: float) -> str:
    text = f"{seconds:09.3f}"
    return text if float(text) == seconds else repr(seconds)


def get_recording_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the recording's id for each segment's id."""
    return pc.replace_substring_regex(ids, f"{_MARK}[^{_MARK}]*$", "")


def get_segment_starts(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the start in s for each segment's id."""
    return pc.replace_substring_regex(ids, f"(?s)^.*{_MARK}", "").cast(pa.float64())
