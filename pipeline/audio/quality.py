"""Measure the quality of a recording: peak, level, clipping and bandwidth."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

#: dB: level of digital silence, below that of any other recording.
SILENCE_LEVEL_DB: Final = -120.0
#: Least number of consecutive samples at the signal's extreme that count as clipped; a smooth peak has one or two.
CLIPPED_RUN: Final = 3
#: Lowest extreme, relative to full scale, that counts as clipped: the level may have been lowered after clipping.
_MIN_CLIP_LEVEL: Final = 0.1
#: Samples whose squares are added in float32. More would lose digits, fewer would take longer.
_BLOCK: Final = 1 << 20
#: Largest number of frames of the mean spectrum, and their least resolution in Hz.
_FRAMES: Final = 64
_RESOLUTION: Final = 60.0
#: Hz: band of the voice, to which the other bands are compared; hum lies below it.
_VOICE_BAND: Final = (300.0, 3400.0)
#: dB below the strongest band of the voice at which a band counts as empty.
_RANGE_DB: Final = 45.0
#: Largest variance of noise that counts as empty: four times (6 dB) that of the usual dither of 16-bit samples.
_NOISE_POWER: Final = 4 * 2.0**-32


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
    peak = float(max(samples.max(), -samples.min()))
    blocks = (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
    power = math.fsum(float(np.dot(block, block)) for block in blocks) / len(samples)
    return AudioQuality(
        peak,
        max(10 * math.log10(power), SILENCE_LEVEL_DB) if power > 0 else SILENCE_LEVEL_DB,
        count_clipped(samples) / len(samples),
        measure_bandwidth(samples, sample_rate),
    )


def count_clipped(samples: NDArray[np.float32]) -> int:
    """Return the number of samples (n,) in runs of at least `CLIPPED_RUN` at the signal's highest or lowest value."""
    count = 0
    for extreme in (samples.max(), samples.min()):
        if abs(extreme) < _MIN_CLIP_LEVEL:
            continue
        is_extreme = samples == extreme
        if np.count_nonzero(is_extreme) < CLIPPED_RUN:
            continue
        edges = np.flatnonzero(np.diff(is_extreme, prepend=False, append=False))
        runs = edges[1::2] - edges[::2]
        count += int(runs[runs >= CLIPPED_RUN].sum())
    return count


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
    power = torch.view_as_real(torch.fft.rfft(frames)).flatten(1).square_().mean(0).view(-1, 2).sum(1).numpy()
    low, high = (round(limit * length / sample_rate) for limit in _VOICE_BAND)
    noise = _NOISE_POWER * float(window.square().sum())
    occupied = np.flatnonzero(power > max(power[low : high + 1].max(initial=0.0) * 10 ** (-_RANGE_DB / 10), noise))
    return float(min((occupied[-1] + 0.5) / length, 0.5) * sample_rate) if len(occupied) else 0.0


@lru_cache(maxsize=8)
def _make_window(sample_rate: int) -> "Tensor":
    """Return a Hann window whose length is a power of two, at least 8: frames of `_RESOLUTION` Hz or up to twice it."""
    import torch

    return torch.hann_window(1 << max(int(sample_rate / _RESOLUTION).bit_length() - 1, 3))
