"""Log-mel spectrograms, numerically those of librosa, several times as fast.

The differences from librosa's own route, each of which is below its float32 rounding:

* frames are transformed in blocks that stay in the processor's cache, by torch's real FFT;
* the mel filters are applied band by band, since each touches few of the 1025 bins, and straight to the squared real
  and imaginary parts, which spares the pass that would add them up.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import librosa.filters
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Power below which the logarithm is cut off (librosa.power_to_db's `amin`): digital silence is -100 dB.
POWER_FLOOR: Final = 1e-10

_FRAMES_PER_BLOCK: Final = 256
_MELS_PER_BAND: Final = 16


class _Band(NamedTuple):
    """Neighbouring mel filters, and the spectrum columns (real and imaginary parts, interleaved) that they touch."""

    start: int
    stop: int
    weights: Tensor  # (stop - start, filters)


class LogMel:
    """A reusable extractor for one set of parameters.

    Parameters
    ----------
    sample_rate
        Hz.
    n_fft, hop_length, n_mels
        As in librosa.feature.melspectrogram; Slaney mel scale and norm, Hann window, centred frames padded with zeros,
        power 2.
    top_db
        The spectrogram is cut off this many dB below its maximum.
    """

    def __init__(self, *, sample_rate: int, n_fft: int, hop_length: int, n_mels: int, top_db: float) -> None:
        self._n_fft, self._hop, self._top_db = n_fft, hop_length, top_db
        self._window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64).float()
        filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=False, norm="slaney")
        self._bands = tuple(_bands(filters))
        self._n_mels = n_mels

    def __call__(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Extract the spectrogram of one utterance.

        Parameters
        ----------
        samples
            (n,) audio at the extractor's sample rate.

        Returns
        -------
        features
            (1 + n // hop_length, n_mels) in dB: frames first, the transpose of librosa's.
        peak_db
            Their maximum; -100 for digital silence.
        """
        log_mel, peak_db = self.tensor(samples)
        return log_mel.numpy(), peak_db

    def tensor(self, samples: NDArray[np.float32]) -> tuple[Tensor, float]:
        """Do the same, and leave the spectrogram with torch."""
        log_mel = self._mel(torch.from_numpy(samples)).clamp_min_(POWER_FLOOR).log10_().mul_(10.0)
        peak = log_mel.max()
        return log_mel.clamp_min_(peak - self._top_db), peak.item()

    def _mel(self, samples: Tensor) -> Tensor:
        """Mel power spectrogram (frames, n_mels) of (n,) samples."""
        # Padding into torch's own memory also fixes the alignment, on which the FFT's rounding may depend.
        padded = torch.zeros(len(samples) + self._n_fft)
        padded[self._n_fft // 2 :][: len(samples)] = samples
        frames = padded.unfold(0, self._n_fft, self._hop)  # (frames, n_fft), a view
        mel = torch.empty(len(frames), self._n_mels)
        for start in range(0, len(frames), _FRAMES_PER_BLOCK):
            block = slice(start, start + _FRAMES_PER_BLOCK)
            spectrum = torch.fft.rfft(frames[block] * self._window)
            power = torch.view_as_real(spectrum).flatten(1).square_()  # (frames, 2 * bins)
            torch.cat([power[:, band.start : band.stop] @ band.weights for band in self._bands], 1, out=mel[block])
        return mel


@lru_cache(maxsize=8)
def cached_log_mel(**parameters: float) -> LogMel:
    """Return the process's extractor for these parameters: its filters cost more to make than an utterance."""
    return LogMel(**parameters)  # type: ignore[arg-type]


def _bands(filters: NDArray[np.float32]) -> Iterator[_Band]:
    """Cut a filter bank (n_mels, bins) into bands, each bin doubled for its real and its imaginary part."""
    for first in range(0, len(filters), _MELS_PER_BAND):
        band = filters[first : first + _MELS_PER_BAND]
        bins = np.flatnonzero(band.any(axis=0))
        start, stop = (int(bins[0]), int(bins[-1]) + 1) if bins.size else (0, 1)
        weights = np.repeat(band[:, start:stop].T, 2, axis=0)
        yield _Band(2 * start, 2 * stop, torch.from_numpy(np.ascontiguousarray(weights)))
