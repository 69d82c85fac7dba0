"""Cut long recordings into utterances, where the voice pauses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, CorpusError

#: Between a recording's id and the start of a piece in s, which has as many digits as keep the ids in order of time.
_MARK: Final = "@"
_DIGITS: Final = "09.3f"

#: Blocks per s in which levels are taken, and in a minute, as many as are looked at together.
_BLOCKS: Final = 100
_MINUTE: Final = 60 * _BLOCKS
#: Level in dB of digital silence.
_SILENCE: Final = -100.0
#: Lowest sample rate in Hz whose blocks hold enough samples to have a level.
_MIN_RATE: Final = 1000


class Segmenter(Protocol):
    """Finds the utterances in a recording."""

    def parameters(self) -> dict[str, str | float]:
        """Everything that decides where it cuts; written into the store."""

    def pieces(self, samples: NDArray[np.float32], sample_rate: int) -> Sequence[tuple[float, float]]:
        """Start and end of each utterance in (n,) samples, in s, in order of time."""


@dataclass(frozen=True, slots=True)
class EnergySegmenter:
    """A voice-activity rule of loudness alone.

    The level of each block of 10 ms is its mean power in dB. A recording's noise is the level that a tenth of its
    blocks stay below, its voice the level that its loudest `min_voice` exceed (the loudest twentieth, if that is
    shorter): a recording may hold a single word. A block is voice if it is louder than the noise by `above_noise_db`,
    or by `noise_share` of what lies between the two where that is less, and not `below_voice_db` under the voice. Where
    less than `min_range_db` lies between the two, the noise is the voice, and what is that far below it is not. Pauses
    shorter than `min_pause` do not cut, sounds shorter than `min_voice` are no voice; each piece keeps `margin` before
    and behind, and one longer than `max_piece` is cut at its quietest place between the half and the whole of that.

    Raises `AudioError` from `pieces`: no voice found. Raises `ValueError`: constants by which pieces would overlap or
    be no voice.
    """

    above_noise_db: float = 10.0
    noise_share: float = 0.45
    below_voice_db: float = 40.0
    min_range_db: float = 3.0
    min_pause: float = 0.5
    """s"""
    min_voice: float = 0.2
    """s"""
    margin: float = 0.1
    """s"""
    max_piece: float = 10.0
    """s"""

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin < self.min_pause or not 0.05 <= self.min_voice <= self.max_piece / 4:
            raise ValueError("two margins must be shorter than a pause, a quarter of a piece long enough for a voice")

    def parameters(self) -> dict[str, str | float]:
        """Return the rule's name and constants."""
        return {"segment": "energy", **asdict(self)}

    def pieces(self, samples: NDArray[np.float32], sample_rate: int) -> list[tuple[float, float]]:
        """Voice in (n,) samples, in s: whole blocks of 10 ms, whatever the sample rate."""
        if sample_rate < _MIN_RATE:
            raise AudioError(f"no voice can be found at {sample_rate} Hz")
        level = _levels(samples, sample_rate)
        margin, longest = round(_BLOCKS * self.margin), round(_BLOCKS * self.max_piece)
        pieces = []
        for first, last in self._voiced(level):
            # Two margins are shorter than a pause: neighbours do not overlap.
            start, stop = max(first - margin, 0), min(last + margin, len(level))
            pieces += [(a / _BLOCKS, b / _BLOCKS) for a, b in _cut(level, start, stop, longest)]
        if not pieces:
            raise AudioError("no voice found")
        return pieces

    def _voiced(self, level: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """First block of each run of voice, and the one behind its last."""
        import scipy.ndimage  # half a second that only a run that cuts should take

        if not len(level) or level.max() <= _SILENCE:
            return
        pause, shortest = round(_BLOCKS * self.min_pause), round(_BLOCKS * self.min_voice)
        loudest = min(len(level) // 20, shortest)  # not a share of a long recording, which may be mostly pause
        noise, voice = np.percentile(level, 10), np.sort(level)[-1 - loudest]
        threshold = max(
            noise + min(self.above_noise_db, self.noise_share * (voice - noise)), voice - self.below_voice_db
        )
        if voice - noise < self.min_range_db:  # the noise is the voice; to cut at its own ups and downs is chance
            threshold = noise - self.min_range_db
        loud = np.pad(level >= threshold, pause)  # closing would otherwise eat the ends
        closed = scipy.ndimage.binary_closing(loud, np.ones(pause))[pause:-pause]
        runs, _ = scipy.ndimage.label(closed)
        for (run,) in scipy.ndimage.find_objects(runs):
            if np.count_nonzero(loud[pause:-pause][run]) >= shortest:
                yield run.start, run.stop


def _levels(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the mean power in dB of each whole block of (n,) samples, about their mean."""
    edges = np.round(np.arange(len(samples) * _BLOCKS // sample_rate + 1) * (sample_rate / _BLOCKS)).astype(np.int64)
    offset = samples.mean(dtype=np.float64) if len(samples) else 0.0  # of the microphone, inaudible
    level = np.empty(len(edges) - 1)
    for first in range(0, len(level), _MINUTE):
        part = edges[first : first + _MINUTE + 1]
        squares = np.square(samples[part[0] : part[-1]] - offset, dtype=np.float64)
        power = np.add.reduceat(squares, part[:-1] - part[0]) / np.diff(part)
        level[first : first + _MINUTE] = 10 * np.log10(np.maximum(power, 10 ** (_SILENCE / 10)))
    return level


def _cut(level: NDArray[np.float64], start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """Cut a run of blocks that is too long at its quietest places."""
    import scipy.ndimage

    smooth = scipy.ndimage.uniform_filter1d(level[start:stop], size=10, mode="nearest")
    while stop - start > longest:
        window = smooth[longest // 2 : min(longest, len(smooth) - longest // 4)]  # what remains is no scrap
        at = longest // 2 + int(window.argmin())
        yield start, start + at
        start, smooth = start + at, smooth[at:]
    yield start, stop


SEGMENTERS: Final[Mapping[str, Segmenter | None]] = {"none": None, "energy": EnergySegmenter()}


def find_segmenter(name: str) -> Segmenter | None:
    """Return the registered rule of this name, None for whole recordings; a `CorpusError` lists the valid ones."""
    if name not in SEGMENTERS:
        raise CorpusError(f"--segment {name}: unknown; valid: {', '.join(SEGMENTERS)}")
    return SEGMENTERS[name]


def make_segment_id(recording_id: str, start: float) -> str:
    """Return the id of the piece that starts at so many s of a recording."""
    return f"{recording_id}{_MARK}{start:{_DIGITS}}"


def get_recording_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids of the recordings that pieces of these ids were cut from."""
    return pc.replace_substring_regex(ids, f"{_MARK}[^{_MARK}]*$", "")


def get_segment_starts(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Starts of pieces of these ids in s."""
    return pc.replace_substring_regex(ids, f"(?s)^.*{_MARK}", "").cast(pa.float64())
