"""Compute cepstra and band levels of each frame from features that contain a spectrum.

Both are linear in the log-mel spectrum. MFCCs are inverted to a smoothed spectrum. Waveforms are transformed first.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import SILENCE_DB, FeatureSet, LogMelSet, MfccSet, WaveSet
from emodna.pipeline.threads import limit_torch_to_one_thread

#: Number of cepstral coefficients, from c0, that distinguish utterances.
N_COEFFICIENTS: Final = 13
#: Hz: band that every recording contains, even a telephone call.
VOICE_BAND: Final = (300.0, 3400.0)
#: Hz: usual limits of resampled or compressed audio (sample rates of 8000, 11 025 and 16 000 Hz).
BAND_LIMITS: Final = (4000.0, 5512.5, 8000.0)
#: Ratio to a band limit: above it, a filter at the limit leaves nothing.
CUTOFF_RATIO: Final = 1.15
#: dB: largest distance of a silent frame from digital silence.
_NEAR_SILENCE: Final = 1.0
#: Spectrum of waveforms: windows of 64 ms every 16 ms at 16 kHz.
_WAVE: Final = LogMelSet(n_fft=1024, hop_length=256)


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Statistics of the concatenated frames of n utterances."""

    starts: NDArray[np.int64]
    """First frame of each utterance (n,)."""
    frames: NDArray[np.int64]
    """Number of frames of each utterance (n,)."""
    cepstra: NDArray[np.float64]
    """c0 to c12 (frames, 13)."""
    voice: NDArray[np.float64]
    """c0 to c12 of the voice band (frames, 13)."""
    level: NDArray[np.float64]
    """Mean level of the voice band in dB (frames,)."""
    beyond: NDArray[np.float64]
    """Mean level above each of `BAND_LIMITS` in dB over the floor of the spectrum (frames, 3)."""
    silent: NDArray[np.bool_]
    """True for frames of digital silence (frames,)."""
    headroom: NDArray[np.float64]
    """Distance from floor to peak in dB (n,)."""


def has_spectrum(feature_set: FeatureSet) -> bool:
    """Return True if features contain a spectrum: log-mel spectra, MFCCs and waveforms."""
    return isinstance(feature_set, LogMelSet | WaveSet)


class SpectrumAnalyser:
    """A function that computes `FrameStatistics` from features of one set that has a spectrum."""

    def __init__(self, feature_set: FeatureSet) -> None:
        spectrum = feature_set if isinstance(feature_set, LogMelSet) else None
        self._is_waveform = spectrum is None
        self._set = spectrum or replace(_WAVE, sample_rate=feature_set.sample_rate)
        self._projection = _make_projection(self._set)
        self._voice_bands = int(_select_bands(self._set, *VOICE_BAND).sum())

    @property
    def frame_rate(self) -> float:
        """Number of frames per s."""
        return self._set.sample_rate / self._set.hop_length

    def __call__(
        self, features: NDArray[np.float32], frames: NDArray[np.int32], peak_db: NDArray[np.float32]
    ) -> FrameStatistics:
        """Return the statistics of a block of n utterances, with `frames` and `peak_db` (n,)."""
        counts = frames.astype(np.int64)
        peaks = peak_db.astype(np.float64)
        if self._is_waveform:
            with limit_torch_to_one_thread():
                parts = np.split(features[:, 0], np.cumsum(counts)[:-1])
                spectra, own_peaks = zip(*(self._set.transform(part.copy()) for part in parts), strict=True)
            features, counts, peaks = np.concatenate(spectra), np.array([*map(len, spectra)]), np.array(own_peaks)
        floor = np.maximum(peaks - self._set.top_db, SILENCE_DB)
        utterance = np.repeat(np.arange(len(counts)), counts)
        projected = features.astype(np.float64) @ self._projection
        silence = np.stack([self._set.silence(float(peak)) for peak in peaks])
        distance = np.abs(features - silence[utterance]).max(axis=1)
        voice = projected[:, N_COEFFICIENTS : 2 * N_COEFFICIENTS]
        return FrameStatistics(
            starts=np.cumsum(counts) - counts,
            frames=counts,
            cepstra=projected[:, :N_COEFFICIENTS],
            voice=voice,
            level=voice[:, 0] / np.sqrt(self._voice_bands),
            beyond=projected[:, 2 * N_COEFFICIENTS :] - floor[utterance, None],
            silent=distance < _NEAR_SILENCE,
            headroom=peaks - floor,
        )


def _make_projection(spectrum: LogMelSet) -> NDArray[np.float64]:
    """Return the matrix (dim, 29) from features to 13 cepstra, 13 cepstra of the voice band and 3 band levels."""
    import scipy.fft

    def cepstrum(bands: int) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = scipy.fft.dct(np.eye(bands), type=2, norm="ortho", axis=0)
        return transform

    transform = cepstrum(spectrum.n_mels)
    # (n_mels, dim): from features to bands
    bands = transform[: spectrum.n_mfcc].T if isinstance(spectrum, MfccSet) else np.eye(spectrum.n_mels)
    voice = bands[_select_bands(spectrum, *VOICE_BAND)]
    nyquist = spectrum.sample_rate / 2
    cutoffs = [min(CUTOFF_RATIO * limit, 0.95 * nyquist) for limit in BAND_LIMITS]
    levels = [bands[_select_bands(spectrum, cutoff, nyquist)].mean(axis=0) for cutoff in cutoffs]
    cepstra = [transform[:N_COEFFICIENTS] @ bands, cepstrum(len(voice))[:N_COEFFICIENTS] @ voice]
    return np.vstack([*cepstra, *levels]).T


def _select_bands(spectrum: LogMelSet, low: float, high: float) -> NDArray[np.bool_]:
    import librosa

    centres = librosa.mel_frequencies(spectrum.n_mels + 2, fmin=0.0, fmax=spectrum.sample_rate / 2)[1:-1]
    selected: NDArray[np.bool_] = (centres >= low) & (centres <= high)
    return selected
