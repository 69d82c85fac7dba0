"""Compute cepstra and band levels of each frame from any feature set.

They are linear in the log-mel spectrum. MFCCs give back a smoothed spectrum, which is enough; the spectrum of a
waveform is computed.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import SILENCE_DB, FeatureSet, LogMelSet, MfccSet
from emodna.pipeline.threads import limit_torch_to_one_thread

#: Number of cepstral coefficients, from c0, that distinguish utterances.
N_COEFFICIENTS: Final = 13
#: Hz: band that every recording contains, even a telephone call.
VOICE_BAND: Final = (300.0, 3400.0)
#: Hz: usual limits of resampled or compressed audio (sample rates of 8000, 11 025 and 16 000 Hz).
BAND_LIMITS: Final = (4000.0, 5512.5, 8000.0)
#: Ratio to a limit above which a filter at that limit leaves nothing.
CUTOFF_RATIO: Final = 1.15
#: dB: largest distance from digital silence of a silent frame.
_NEAR_SILENCE: Final = 1.0
#: Spectrum of waveforms: windows of 64 ms every 16 ms at 16 kHz.
_WAVE: Final = LogMelSet(n_fft=1024, hop_length=256)


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Statistics of the concatenated frames of n utterances."""

    starts: NDArray[np.int64]
    """First frame of each utterance (n,)."""
    frames: NDArray[np.int64]
    """Number of its frames (n,)."""
    cepstra: NDArray[np.float64]
    """c0 to c12 (frames, 13)."""
    voice: NDArray[np.float64]
    """c0 to c12 of the voice band (frames, 13)."""
    level: NDArray[np.float64]
    """Mean level of the voice band in dB (frames,)."""
    beyond: NDArray[np.float64]
    """Mean level above each of `BAND_LIMITS`, in dB over the floor of the spectrum (frames, 3)."""
    silent: NDArray[np.bool_]
    """True where the frame equals digital silence (frames,)."""
    headroom: NDArray[np.float64]
    """Distance from floor to peak in dB (n,)."""


class SpectrumAnalyser:
    """A function from features of one set to `FrameStatistics`."""

    def __init__(self, feature_set: FeatureSet) -> None:
        # Every feature set that is not a spectrum is a waveform.
        self._stored = feature_set if isinstance(feature_set, LogMelSet) else None
        self._set = self._stored or replace(_WAVE, sample_rate=feature_set.sample_rate)
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
        if self._stored is None:
            with limit_torch_to_one_thread():
                made = [self._set.transform(piece[:, 0].copy()) for piece in np.split(features, np.cumsum(counts)[:-1])]
            features = np.concatenate([spectrum for spectrum, _ in made])
            counts = np.array([len(spectrum) for spectrum, _ in made])
            peaks = np.array([peak for _, peak in made])
        floor = np.maximum(peaks - self._set.top_db, SILENCE_DB)
        of_frame = np.repeat(np.arange(len(counts)), counts)
        projected = features.astype(np.float64) @ self._projection
        silence = np.stack([self._set.silence(float(peak)) for peak in peaks])
        nearest = np.abs(features - silence[of_frame]).max(axis=1)
        voice = projected[:, N_COEFFICIENTS : 2 * N_COEFFICIENTS]
        return FrameStatistics(
            starts=np.cumsum(counts) - counts,
            frames=counts,
            cepstra=projected[:, :N_COEFFICIENTS],
            voice=voice,
            level=voice[:, 0] / np.sqrt(self._voice_bands),
            beyond=projected[:, 2 * N_COEFFICIENTS :] - floor[of_frame, None],
            silent=nearest < _NEAR_SILENCE,
            headroom=peaks - floor,
        )


def _make_projection(spectrum: LogMelSet) -> NDArray[np.float64]:
    """Return the matrix (dim, 29) from features to c0 to c12, c0 to c12 of the voice band, and 3 band levels."""
    import scipy.fft

    def cepstrum(bands: int) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = scipy.fft.dct(np.eye(bands), type=2, norm="ortho", axis=0)
        return transform

    transform = cepstrum(spectrum.n_mels)
    # (n_mels, dim): bands of the spectrum from features
    bands = transform[: spectrum.n_mfcc].T if isinstance(spectrum, MfccSet) else np.eye(spectrum.n_mels)
    voice = bands[_select_bands(spectrum, *VOICE_BAND)]
    nyquist = spectrum.sample_rate / 2
    parts = [
        transform[:N_COEFFICIENTS] @ bands,
        cepstrum(len(voice))[:N_COEFFICIENTS] @ voice,
        *(
            bands[_select_bands(spectrum, min(CUTOFF_RATIO * limit, 0.95 * nyquist), nyquist)].mean(axis=0)
            for limit in BAND_LIMITS
        ),
    ]
    return np.vstack(parts).T


def _select_bands(spectrum: LogMelSet, low: float, high: float) -> NDArray[np.bool_]:
    """Return True for mel bands whose centre is between two frequencies in Hz."""
    import librosa

    centres = librosa.mel_frequencies(spectrum.n_mels + 2, fmin=0.0, fmax=spectrum.sample_rate / 2)[1:-1]
    within: NDArray[np.bool_] = (centres >= low) & (centres <= high)
    return within
