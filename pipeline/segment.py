"""Cut long recordings into utterances, where the voice pauses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, CorpusError

#: Between a recording's id and the start of a piece in s, which has as many digits as keep the ids in order of time.
_MARK: Final = "@"
_DIGITS: Final = "09.3f"


class Segmenter(Protocol):
    """Finds the utterances in a recording."""

    def parameters(self) -> dict[str, str | float]:
        """Everything that decides where it cuts; written into the store."""

    def pieces(self, samples: NDArray[np.float32], sample_rate: int) -> Sequence[tuple[int, int]]:
        """First sample of each utterance and the one behind its last, in order of time, for (n,) samples."""


@dataclass(frozen=True, slots=True)
class EnergySegmenter:
    """A voice-activity rule of loudness alone.

    The level of each block of 10 ms is its mean power in dB. A recording's noise is the level that a tenth of its
    blocks stay below, its voice the level that its loudest `min_voice` exceed (the loudest twentieth, if that is
    shorter): a recording may hold a single word. A block is voice if it is louder than the noise by `above_noise_db`,
    or by half of what lies between the two where that is less, and not `below_voice_db` under the voice; all blocks
    are where less than `min_range_db` lies between the two. Pauses shorter than `min_pause` do not cut, sounds shorter
    than `min_voice` are no voice; each piece keeps `margin` before and behind, and one longer than `max_piece` is cut
    at its quietest place between the half and the whole of that.

    Raises
    ------
    AudioError
        From `pieces`: no voice found.
    ValueError
        Constants by which pieces would overlap or be no voice.
    """

    above_noise_db: float = 10.0
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
            raise ValueError(
                "two margins must be shorter than a pause, and a quarter of a piece long enough for a voice"
            )

    def parameters(self) -> dict[str, str | float]:
        """The rule's name and constants."""
        return {"segment": "energy", **asdict(self)}

    def pieces(self, samples: NDArray[np.float32], sample_rate: int) -> list[tuple[int, int]]:
        """Voice in (n,) samples."""
        block = sample_rate // 100
        level = _levels(samples, block)
        margin, longest = round(100 * self.margin), round(100 * self.max_piece)
        pieces = []
        for first, last in self._voiced(level):
            # Two margins are shorter than a pause: neighbours do not overlap.
            start, stop = max(first - margin, 0), min(last + margin, len(level))
            pieces += [(block * a, min(block * b, len(samples))) for a, b in _cut(level, start, stop, longest)]
        if not pieces:
            raise AudioError("no voice found")
        return pieces

    def _voiced(self, level: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """First block of each run of voice, and the one behind its last."""
        if not len(level) or level.max() <= _SILENCE:
            return
        pause, shortest = round(100 * self.min_pause), round(100 * self.min_voice)
        loudest = min(len(level) // 20, shortest)  # not a share of a long recording, which may be mostly pause
        noise, voice = np.percentile(level, 10), np.sort(level)[-1 - loudest]
        threshold = max(noise + min(self.above_noise_db, (voice - noise) / 2), voice - self.below_voice_db)
        if voice - noise < self.min_range_db:  # what would be cut is chance
            threshold = level.min()
        loud = np.pad(level >= threshold, pause)  # closing would otherwise eat the ends
        closed = scipy.ndimage.binary_closing(loud, np.ones(pause))[pause:-pause]
        runs, _ = scipy.ndimage.label(closed)
        for (run,) in scipy.ndimage.find_objects(runs):
            if np.count_nonzero(loud[pause:-pause][run]) >= shortest:
                yield run.start, run.stop


_SILENCE: Final = -100.0


def _levels(samples: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    """Mean power in dB of each whole block of (n,) samples, about their mean."""
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    offset = samples.mean(dtype=np.float64) if len(samples) else 0.0  # of the microphone, inaudible
    squares = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64) / block
    power = squares - 2 * offset * blocks.mean(axis=1, dtype=np.float64) + offset**2
    level: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 10 ** (_SILENCE / 10)))
    return level


def _cut(level: NDArray[np.float64], start: int, stop: int, longest: int) -> Iterator[tuple[int, int]]:
    """Cut a run of blocks that is too long at its quietest places."""
    smooth = scipy.ndimage.uniform_filter1d(level[start:stop], size=10, mode="nearest")
    while stop - start > longest:
        window = smooth[longest // 2 : min(longest, len(smooth) - longest // 4)]  # what remains is no scrap
        at = longest // 2 + int(window.argmin())
        yield start, start + at
        start, smooth = start + at, smooth[at:]
    yield start, stop


SEGMENTERS: Final[Mapping[str, Segmenter | None]] = {"none": None, "energy": EnergySegmenter()}


def segmenter(name: str) -> Segmenter | None:
    """Return the registered rule of this name; None takes each recording as one utterance.

    Raises
    ------
    CorpusError
        Unknown name; lists the valid ones.
    """
    if name not in SEGMENTERS:
        raise CorpusError(f"--segment {name}: unknown; valid: {', '.join(SEGMENTERS)}")
    return SEGMENTERS[name]


def piece_id(recording_id: str, start: float) -> str:
    """Return the id of the piece that starts at so many s of a recording."""
    return f"{recording_id}{_MARK}{start:{_DIGITS}}"


def recording_of(id: str) -> str:
    """Return the id of the recording that a piece was cut from."""
    return id.rpartition(_MARK)[0]


def start_of(id: str) -> float:
    """Return the start of a piece in s."""
    return float(id.rpartition(_MARK)[2])
