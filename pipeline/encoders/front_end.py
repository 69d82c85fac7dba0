"""Inputs of encoders: scaled and padded samples, and Whisper's log-mel spectrogram.

The spectrogram equals that of `transformers.WhisperFeatureExtractor` within float32 rounding. It takes less
time, because the power is computed in place, and the frames of padding once.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio.mel import mel_filters
from emodna.pipeline.encoders.anatomy import MEL_HOP, SAMPLE_RATE, Anatomy

if TYPE_CHECKING:
    import torch

#: Samples of an analysis window.
N_FFT: Final = 400
#: Powers below this one count as this one (Whisper).
POWER_FLOOR: Final = 1e-10
#: Added to the variance before the samples are divided by its root (transformers).
VARIANCE_FLOOR: Final = 1e-7


def make_input(samples: NDArray[np.float32], anatomy: Anatomy) -> tuple[NDArray[np.float32], int]:
    """Return the input (mels, frames) or (samples,) for (n,) samples, and the number of zeros in front of them."""
    padded, front = pad(samples, anatomy)
    if anatomy.scaling != "none":
        padded = (padded - padded.mean()) / np.sqrt(padded.var() + np.float32(VARIANCE_FLOOR))
    if anatomy.front_end == "waveform":
        return padded, front
    return compute_log_mel(padded, anatomy.mels, front, front + len(samples)), front


def pad(samples: NDArray[np.float32], anatomy: Anatomy) -> tuple[NDArray[np.float32], int]:
    """Fill (n,) samples with zeros as the encoder needs it; return them, and the number of zeros in front."""
    if anatomy.padding == "none":
        # Whole frames, so that the last one covers the end.
        missing = -len(samples) % anatomy.stride if anatomy.front_end == "log-mel" else 0
    else:
        missing = anatomy.window - len(samples)
    front = missing if anatomy.padding == "front" else 0
    return (np.pad(samples, (front, missing - front)) if missing else samples), front


def compute_log_mel(
    samples: NDArray[np.float32], mels: int, start: int = 0, stop: int | None = None
) -> NDArray[np.float32]:
    """Return Whisper's log-mel spectrogram (mels, n // 160) of (n,) samples at 16 kHz, n above 200.

    Base-10 logarithms of the power in Slaney's mel bands, at most 8 below the greatest one, as (value + 4) / 4.
    Radford et al. 2022, arXiv 2212.04356, section 2.2. Samples before `start`, and from `stop` on, are all equal:
    frames within them are computed once.
    """
    import torch

    window, filters = _make_tables(mels)
    count, half = len(samples) // MEL_HOP, N_FFT // 2
    first = max((start - half) // MEL_HOP, 0)  # the last frame before the audio
    last = count if stop is None else min(-(-(stop + half) // MEL_HOP) + 1, count)  # the first one after it, included
    reflected = torch.from_numpy(np.pad(samples, half, mode="reflect"))
    frames = reflected.unfold(0, N_FFT, MEL_HOP)[first:last]
    parts = torch.view_as_real(torch.fft.rfft(frames * window)).flatten(1)  # (frames, 2 * bins)
    log_mel = (filters @ parts.square_().T).clamp_min_(POWER_FLOOR).log10_()
    scaled: NDArray[np.float32] = log_mel.clamp_min_(log_mel.max() - 8.0).add_(4.0).div_(4.0).numpy()
    return np.pad(scaled, ((0, 0), (first, count - last)), mode="edge")


@lru_cache(maxsize=4)
def _make_tables(mels: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the Hann window (400,) and the mel filters (mels, 2 * bins) for squared real and imaginary parts."""
    import torch

    filters = mel_filters(sample_rate=SAMPLE_RATE, n_fft=N_FFT, n_mels=mels)
    return torch.hann_window(N_FFT), torch.from_numpy(np.repeat(filters, 2, axis=1))
