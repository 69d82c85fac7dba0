"""Features of the feature sets as torch modules without branches, for export.

`emodna.pipeline.features.logmel` and `mfcc` define the features of the stores and are faster. The modules here equal
them up to rounding and accept batches. Each gets waveforms (batch, samples) and their lengths (batch,) int64; the
samples after a waveform's own length are zeros.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emodna.pipeline.audio.mel import mel_filters
from emodna.pipeline.features import SILENCE_DB, LogMelSet, MfccSet
from emodna.pipeline.features.logmel import POWER_FLOOR
from emodna.pipeline.features.mfcc import dct_matrix

#: Peak amplitude that counts as digital silence.
SILENCE: Final = 10 ** (SILENCE_DB / 20)


class ExtractedFeatures(NamedTuple):
    """Features of a batch of waveforms."""

    features: Tensor
    """(batch, frames, dim) float32; the values after an utterance's own frames are undefined."""
    lengths: Tensor
    """(batch,) int64: frames of each utterance."""
    silence: Tensor
    """(batch, dim): a frame of digital silence, relative to each waveform's peak."""
    audible: Tensor
    """(batch,) bool: false for digital silence and for samples or power that are not finite."""


class PowerSpectrum(nn.Module):
    """Power spectrum (batch, frames, columns) of a number of windowed frames of (batch, samples), from the first on.

    Computes the Fourier transform of a frame, n1 rows of n2 samples, as a transform over n1, a rotation and a transform
    over n2 (Cooley & Tukey 1965). Both are matrix products, in onnxruntime 2 to 3 times as fast as the export of
    torch.stft and as exact. The first one computes only half of its symmetric output. `bins` is the frequency bin of
    each column; some occur twice.
    """

    rows: Tensor
    window: Tensor
    first: Tensor
    cosine: Tensor
    sine: Tensor
    second: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        n2 = math.gcd(n_fft, hop, 64)
        n1 = n_fft // n2
        self._hop, self._row, self._half = hop, n2, n1 // 2 + 1
        outer, inner, half = np.arange(n1), np.arange(n2), np.arange(self._half)[:, None]
        first = np.exp(-2j * np.pi * half * outer / n1)
        rotation = np.exp(-2j * np.pi * half * inner / n_fft)
        second = np.exp(-2j * np.pi * np.outer(inner, inner) / n2)
        bins = (half + n1 * inner).ravel()
        self.bins = np.minimum(bins, n_fft - bins)
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64).numpy()
        constants = {
            "window": window.reshape(n1, n2),
            "first": np.concatenate([first.real, first.imag]),  # (2 * half, n1)
            "cosine": rotation.real,  # (half, n2)
            "sine": rotation.imag,
            "second": np.block([[second.real, second.imag], [-second.imag, second.real]]),  # (2 * n2, 2 * n2)
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        self.register_buffer("rows", torch.from_numpy(outer))

    def arrange_filters(self, filters: NDArray[np.float32]) -> Tensor:
        """Return filters (n, bins) as (columns, n), for the columns of this spectrum."""
        columns = filters[:, self.bins]
        repeated = np.setdiff1d(np.arange(columns.shape[1]), np.unique(self.bins, return_index=True)[1])
        columns[:, repeated] = 0.0
        return torch.from_numpy(columns.T.copy())

    def forward(self, waveform: Tensor, frames: int) -> Tensor:
        """Return the spectrum of the first `frames` frames."""
        batch, samples = waveform.shape
        rows, n1 = samples // self._row, len(self.rows)
        padded = waveform[:, : rows * self._row]
        starts = torch.arange(frames) * (self._hop // self._row)
        selected = (starts[:, None] + self.rows).flatten()
        # Copying whole rows is much faster than copying samples.
        framed = padded.reshape(batch, rows, self._row).index_select(1, selected)  # (batch, frames * n1, n2)
        windowed = framed.reshape(batch, frames, n1, self._row) * self.window
        real, imaginary = torch.split(self.first @ windowed, self._half, dim=2)  # (batch, frames, half, n2)
        rotated = [real * self.cosine - imaginary * self.sine, real * self.sine + imaginary * self.cosine]
        spectrum = torch.cat(rotated, dim=3) @ self.second  # (batch, frames, half, 2 * n2)
        real, imaginary = spectrum.chunk(2, dim=3)
        return (real.square() + imaginary.square()).flatten(2)


class LogMelFrontEnd(nn.Module):
    """`LogMelSet`."""

    filters: Tensor

    def __init__(self, features: LogMelSet) -> None:
        super().__init__()
        self._top_db, self._hop = features.top_db, features.hop_length
        self._n_fft = features.n_fft
        self.power = PowerSpectrum(features.n_fft, features.hop_length)
        filters = mel_filters(sample_rate=features.sample_rate, n_fft=features.n_fft, n_mels=features.n_mels)
        self.register_buffer("filters", self.power.arrange_filters(filters))

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        """Return the features."""
        padded = F.pad(waveform, (self._n_fft // 2, self._n_fft // 2))
        mel = self.power(padded, 1 + waveform.shape[1] // self._hop) @ self.filters  # (batch, frames, n_mels)
        decibels = mel.clamp_min(POWER_FLOOR).log10() * 10.0
        frames = divide_down(lengths, self._hop) + 1
        own = torch.arange(mel.shape[1]) < frames[:, None]
        peak = torch.where(own[:, :, None], decibels, SILENCE_DB).amax((1, 2), keepdim=True)
        floor = (peak - self._top_db).clamp_min(SILENCE_DB)
        audible = mel.isfinite().all(2).all(1) & (peak[:, 0, 0] > SILENCE_DB)
        silence = floor[:, 0].expand(-1, mel.shape[2])
        return ExtractedFeatures(torch.maximum(decibels, floor), frames, silence, audible)


class MfccFrontEnd(nn.Module):
    """`MfccSet`."""

    dct: Tensor
    constant: Tensor

    def __init__(self, features: MfccSet) -> None:
        super().__init__()
        self.log_mel = LogMelFrontEnd(features)
        self.register_buffer("dct", torch.from_numpy(dct_matrix(features.n_mels)[:, : features.n_mfcc]).float())
        self.register_buffer("constant", torch.from_numpy(features.silence(1.0 + features.top_db)))

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        """Return the features."""
        log_mel, frames, silence, audible = self.log_mel(waveform, lengths)
        floor = silence[:, None, :1]
        # A constant changes only c0. Subtracting it keeps the summands and their float32 rounding errors small.
        constant = floor * self.constant
        return ExtractedFeatures((log_mel - floor) @ self.dct + constant, frames, constant[:, 0], audible)


class WaveFrontEnd(nn.Module):
    """`WaveSet`."""

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        """Return the features."""
        audible = waveform.isfinite().all(1) & (waveform.abs().amax(1) > SILENCE)
        return ExtractedFeatures(waveform.unsqueeze(2), lengths, torch.zeros_like(waveform[:, :1]), audible)


def divide_down(value: Tensor, divisor: int) -> Tensor:
    """Return integers divided by a positive one, rounded down."""
    # In float64: the exporter would translate a division of integers by float32, which is exact up to 2**24 only.
    return (value.double() / divisor).floor().long()
