"""A trained model with a waveform as input, as one torch module without branches, for export.

`emodna.pipeline.features.logmel` and `mfcc` define the features of the stores and are faster. The modules here equal
them up to rounding and accept batches.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.data.normalisation import MIN_STD
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method
from emodna.pipeline.audio.mel import mel_filters
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import SILENCE_DB, FeatureSet, LogMelSet, MfccSet, WaveSet
from emodna.pipeline.features.logmel import POWER_FLOOR
from emodna.pipeline.features.mfcc import dct_matrix

#: Peak amplitude that counts as digital silence.
_SILENCE: Final = 10 ** (SILENCE_DB / 20)


class WaveformModel(nn.Module):
    """Features, framing, normalisation, network and softmax; raises ExportError for unsupported feature sets."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.front_end = make_front_end(model.features)
        self.window = _Window(model)
        self.method: Method = model.method
        self.eval()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of class 1 (batch,) and the logits (batch, 2) of waveforms of one length.

        Waveforms are (batch, samples) float32, mono, at the feature set's sample rate. Both results are NaN for digital
        silence and for samples that are not finite.
        """
        extracted: ExtractedFeatures = self.front_end(waveform)
        features, lengths = self.window(extracted)
        logits = self.method.predict(features, lengths)
        logits = torch.where(extracted.audible[:, None], logits, torch.nan)
        return logits.softmax(1)[:, 1], logits


class ExtractedFeatures(NamedTuple):
    """Features of a batch of waveforms."""

    features: Tensor
    """(batch, frames, dim) float32."""
    silence: Tensor
    """(batch, dim): a frame of digital silence, relative to each waveform's peak."""
    audible: Tensor
    """(batch,) bool: false for digital silence and for samples or power that are not finite."""


def make_front_end(features: FeatureSet) -> nn.Module:
    """Return a module that maps waveforms (batch, samples) to their `ExtractedFeatures`."""
    match features:
        case MfccSet():
            module: nn.Module = _Mfcc(features)
        case LogMelSet():
            module = _LogMel(features)
        case WaveSet():
            module = _Wave()
        case _:
            raise ExportError("this feature set cannot be exported", where=features.name)
    return module if features.fixed_samples is None else nn.Sequential(_CentreFit(features.fixed_samples), module)


class _PowerSpectrum(nn.Module):
    """Power spectrum (batch, frames, columns) of the windowed frames of (batch, samples), centred, zero-padded.

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
        self._n_fft, self._hop, self._row, self._half = n_fft, hop, n2, n1 // 2 + 1
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

    def forward(self, waveform: Tensor) -> Tensor:
        batch, samples = waveform.shape
        rows, frames, n1 = (samples + self._n_fft) // self._row, 1 + samples // self._hop, len(self.rows)
        padded = F.pad(waveform, (self._n_fft // 2, self._n_fft // 2))[:, : rows * self._row]
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


class _LogMel(nn.Module):
    filters: Tensor

    def __init__(self, features: LogMelSet) -> None:
        super().__init__()
        self._top_db = features.top_db
        self.power = _PowerSpectrum(features.n_fft, features.hop_length)
        filters = mel_filters(sample_rate=features.sample_rate, n_fft=features.n_fft, n_mels=features.n_mels)
        columns = filters[:, self.power.bins]
        repeated = np.setdiff1d(np.arange(columns.shape[1]), np.unique(self.power.bins, return_index=True)[1])
        columns[:, repeated] = 0.0
        self.register_buffer("filters", torch.from_numpy(columns.T.copy()))  # (columns, n_mels)

    def forward(self, waveform: Tensor) -> ExtractedFeatures:
        mel = self.power(waveform) @ self.filters  # (batch, frames, n_mels)
        decibels = mel.clamp_min(POWER_FLOOR).log10() * 10.0
        peak = decibels.amax((1, 2), keepdim=True)
        floor = (peak - self._top_db).clamp_min(SILENCE_DB)
        audible = mel.isfinite().all(2).all(1) & (peak[:, 0, 0] > SILENCE_DB)
        return ExtractedFeatures(torch.maximum(decibels, floor), floor[:, 0].expand(-1, mel.shape[2]), audible)


class _Mfcc(nn.Module):
    dct: Tensor
    constant: Tensor

    def __init__(self, features: MfccSet) -> None:
        super().__init__()
        self.log_mel = _LogMel(features)
        self.register_buffer("dct", torch.from_numpy(dct_matrix(features.n_mels)[:, : features.n_mfcc]).float())
        self.register_buffer("constant", torch.from_numpy(features.silence(1.0 + features.top_db)))

    def forward(self, waveform: Tensor) -> ExtractedFeatures:
        log_mel, silence, audible = self.log_mel(waveform)
        floor = silence[:, None, :1]
        # A constant changes only c0. Subtracting it keeps the summands and their float32 rounding errors small.
        constant = floor * self.constant
        return ExtractedFeatures((log_mel - floor) @ self.dct + constant, constant[:, 0], audible)


class _Wave(nn.Module):
    def forward(self, waveform: Tensor) -> ExtractedFeatures:
        audible = waveform.isfinite().all(1) & (waveform.abs().amax(1) > _SILENCE)
        return ExtractedFeatures(waveform.unsqueeze(2), torch.zeros_like(waveform[:, :1]), audible)


class _CentreFit(nn.Module):
    """Waveforms (batch, samples), cropped or zero-padded evenly at both ends to a fixed length."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self._samples = samples

    def forward(self, waveform: Tensor) -> Tensor:
        length = _count_rows(waveform)
        chosen, inside = _select_positions(_centre(length, self._samples), length, self._samples)
        return waveform.index_select(1, chosen) * inside


class _Window(nn.Module):
    """`Framer` for utterances of one length: (batch, n, dim) to (batch, dim, frames) with lengths (batch,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        framer = model.framer
        self._frames, self._padding = framer.frames, framer.padding
        self._per_utterance = framer.statistics is None
        if framer.statistics is not None:
            self.register_buffer("mean", torch.from_numpy(framer.statistics.mean))
            self.register_buffer("std", torch.from_numpy(framer.statistics.std))

    def forward(self, extracted: ExtractedFeatures) -> tuple[Tensor, Tensor]:
        features, silence, _ = extracted
        n = _count_rows(features)
        start = _centre(n, self._frames)
        if self._padding == "mask":
            start = start.clamp_min(0)
        chosen, inside = _select_positions(start, n, self._frames)
        filling = torch.zeros_like(silence) if self._padding == "zero" else silence
        window = torch.where(inside[:, None], features.index_select(1, chosen), filling[:, None])
        if self._per_utterance:
            std, mean = torch.std_mean(features, 1, correction=0, keepdim=True)
            window = (window - mean) / std.clamp_min(MIN_STD)
        else:
            window = (window - self.mean) / self.std
        length = n.clamp_max(self._frames) if self._padding == "mask" else torch.full_like(n, self._frames)
        return window.transpose(1, 2), length.expand(features.shape[0])


def _count_rows(rows: Tensor) -> Tensor:
    """Return the size of the second dimension as a 0-d int64 tensor, to keep it dynamic in the graph."""
    return torch.arange(rows.shape[1])[-1] + 1


def _centre(length: Tensor, window: int) -> Tensor:
    """Return the start of a window in the middle of `length` (0-d int64) values; negative if the window is longer."""
    return torch.div(length - window, 2, rounding_mode="trunc")


def _select_positions(start: Tensor, length: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the positions (window,) int64 from `start` on, clamped to `length` values, and a mask of those inside."""
    positions = torch.arange(window) + start
    clamped = torch.minimum(positions.clamp_min(0), length - 1)
    return clamped, positions == clamped
