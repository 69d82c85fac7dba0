"""Measure the quality of a recording: peak, level, clipping and bandwidth."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

#: dB: level of digital silence, below that of any other recording.
SILENCE_LEVEL_DB: Final = -120.0
#: Least number of consecutive samples at the signal's extreme that count as clipped; a smooth peak has one or two.
CLIPPED_RUN: Final = 3
#: Lowest extreme, relative to full scale, that counts as clipped: the level may have been lowered after clipping.
_MIN_CLIP_LEVEL: Final = 0.1
#: Samples per block: few enough for the cache, and for a sum in float32.
_BLOCK: Final = 1 << 16
#: Largest number of frames of the mean spectrum, and their least resolution in Hz.
_FRAMES: Final = 64
_RESOLUTION: Final = 60.0
#: Hz: band of the voice, to which the other bands are compared; hum lies below it.
_VOICE_BAND: Final = (300.0, 3400.0)
#: dB below the strongest band of the voice at which a band counts as empty.
_RANGE_DB: Final = 45.0
#: Largest variance of noise that counts as empty: four times (6 dB) that of the usual dither of 16-bit samples.
_NOISE_POWER: Final = 4 * 2.0**-32

#: Largest peak without a warning. Lossy decoders and float files go a little beyond full scale, which loses nothing.
OVERLOAD_PEAK: Final = 2.0
#: Least peak of integers that were stored as floating-point numbers without scaling, and their usual numbers of bits.
_INTEGER_PEAK: Final = 100.0
_INTEGER_BITS: Final = (16, 24, 32)
#: dB: level at which 16-bit samples have audible noise. If it is that of most files, their scale is wrong.
QUIET_LEVEL_DB: Final = -70.0
_QUIET_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class AudioQuality:
    """Measurements of the samples of one utterance."""

    peak: float
    """Largest absolute sample; 1 is full scale."""
    level_db: float
    """Root mean square in dB relative to full scale, at least -120."""
    clipped: float
    """Share of samples in runs of at least `CLIPPED_RUN` at the signal's own extreme."""
    bandwidth: float
    """Upper limit of the occupied spectrum in Hz, at most half the sample rate; 0 for digital silence."""


def measure_quality(samples: NDArray[np.float32], sample_rate: int) -> AudioQuality:
    """Measure samples (n,) at their native rate in Hz."""
    if not len(samples):
        return AudioQuality(0.0, SILENCE_LEVEL_DB, 0.0, 0.0)
    blocks = [samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK)]
    lows, highs = [float(block.min()) for block in blocks], [float(block.max()) for block in blocks]
    power = math.fsum(float(np.dot(block, block)) for block in blocks) / len(samples)
    clipped = _count_clipped(blocks, highs, max(highs))
    if min(lows) < max(highs):
        clipped += _count_clipped(blocks, lows, min(lows))
    return AudioQuality(
        max(max(highs), -min(lows)),
        max(10 * math.log10(power), SILENCE_LEVEL_DB) if power > 0 else SILENCE_LEVEL_DB,
        clipped / len(samples),
        measure_bandwidth(samples, sample_rate),
    )


def describe_levels(
    names: "Sequence[str] | pa.ChunkedArray", peaks: NDArray[np.floating], levels_db: NDArray[np.floating]
) -> Iterator[str]:
    """Yield a line for each fault in the levels of n utterances; NaN for those that were not measured.

    The faults are peaks far beyond full scale, and a corpus of which most utterances are very quiet.
    """
    yield from describe_overload(
        {str(names[int(at)]): float(peaks[at]) for at in np.flatnonzero(peaks > OVERLOAD_PEAK)}
    )
    quiet = np.flatnonzero((levels_db < QUIET_LEVEL_DB) & (levels_db > SILENCE_LEVEL_DB))
    if len(quiet) >= max(_QUIET_SHARE * np.count_nonzero(levels_db > SILENCE_LEVEL_DB), 1):
        found = f"{format_count(len(quiet), 'recording')} below {QUIET_LEVEL_DB:g} dB"
        example = f"the first: {names[int(quiet[0])]}, {float(levels_db[quiet[0]]):.0f} dB"
        yield f"{found} ({example}): features lose the quiet sounds; check the scale of the samples"


def describe_overload(peaks: Mapping[str, float]) -> Iterator[str]:
    """Yield a line on recordings with peaks above `OVERLOAD_PEAK`, given by name, if there are any."""
    if not peaks:
        return
    (first, peak), highest = next(iter(peaks.items())), max(peaks.values())
    advice = "divide the samples by the value of full scale"
    if highest >= _INTEGER_PEAK:
        bits = next((bits for bits in _INTEGER_BITS if highest <= 2**bits), _INTEGER_BITS[-1])
        advice = f"probably {bits}-bit integers stored as floating point: divide the samples by {2 ** (bits - 1)}"
    count = format_count(len(peaks), "recording")
    yield f"{count} far beyond full scale (the first: {first}, peak {peak:.6g} instead of 1); {advice}"


def _count_clipped(blocks: Sequence[NDArray[np.float32]], extremes: Sequence[float], extreme: float) -> int:
    """Return the number of samples in long runs at an extreme of the signal; `extremes` holds those of its blocks."""
    if abs(extreme) < _MIN_CLIP_LEVEL:
        return 0
    found = [
        np.flatnonzero(block == extreme) + at * _BLOCK for at, block in enumerate(blocks) if extremes[at] == extreme
    ]
    places = np.concatenate(found)
    ends = np.flatnonzero(np.diff(places) > 1)
    runs = np.diff(ends, prepend=-1, append=len(places) - 1)
    return int(runs[runs >= CLIPPED_RUN].sum())


def measure_bandwidth(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Return the upper limit in Hz of the occupied spectrum of samples (n,); 0 for digital silence.

    It is the highest frequency whose mean power is above that of dither, and within 45 dB of the strongest band of the
    voice (300 to 3400 Hz). Hum does not raise the threshold, because it lies below that band.
    """
    import torch

    window = _make_window(sample_rate)
    length = len(window)
    if len(samples) < length:
        samples = np.pad(samples, (0, length - len(samples)))
    count = min(_FRAMES, len(samples) // length)
    frames = torch.from_numpy(samples[: len(samples) // count * count].reshape(count, -1)[:, :length]) * window
    parts = torch.fft.rfft(frames).numpy().view(np.float32)  # real and imaginary parts in turn
    power = np.einsum("ij,ij->j", parts, parts).reshape(-1, 2).sum(axis=1) / count
    low, high = (round(limit * length / sample_rate) for limit in _VOICE_BAND)
    noise = _NOISE_POWER * 0.375 * length  # 3/8 is the mean square of a Hann window
    voice = float(power[low : high + 1].max(initial=0.0))
    occupied = np.flatnonzero(power > max(voice * 10 ** (-_RANGE_DB / 10), noise))
    return float(min((occupied[-1] + 0.5) / length, 0.5) * sample_rate) if len(occupied) else 0.0


@lru_cache(maxsize=8)
def _make_window(sample_rate: int) -> "Tensor":
    """Return a Hann window whose length is a power of two, at least 8: frames of `_RESOLUTION` Hz or up to twice it."""
    import torch

    return torch.hann_window(1 << max(int(sample_rate / _RESOLUTION).bit_length() - 1, 3))
