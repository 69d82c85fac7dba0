"""One view of all feature sets: few figures per frame that are linear in its log-mel spectrum.

What is asked of a frame (its shape, its loudness, what is left of its high frequencies) is the same whatever is stored.
From MFCCs the spectrum comes back smooth, which is enough; of waveforms it is made anew.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import SILENCE_DB, FeatureSet, LogMelSet, MfccSet
from emodna.pipeline.threads import limit_torch_to_one_thread

#: Cepstral coefficients, from c0, that tell utterances apart.
COEFFICIENTS: Final = 13
#: Hz: the band that every recording has, telephone calls included.
VOICE_BAND: Final = (300.0, 3400.0)
#: Hz: limits that resampled or compressed audio leaves: of telephones, of 11 025 and of 16 000 Hz.
BAND_LIMITS: Final = (4000.0, 5512.5, 8000.0)
#: A filter that cuts at a limit leaves nothing from this many times that limit on.
BEYOND: Final = 1.15
#: dB: how near a frame is to digital silence that counts as such.
_NEAR_SILENCE: Final = 1.0
#: Of waveforms: windows of 64 ms every 16 ms at 16 kHz.
_WAVE: Final = LogMelSet(n_fft=1024, hop_length=256)


@dataclass(frozen=True, slots=True)
class Frames:
    """Figures of the frames of some utterances that lie end to end."""

    starts: NDArray[np.int64]
    """(n,) first frame of each utterance."""
    frames: NDArray[np.int64]
    """(n,) number of its frames."""
    cepstra: NDArray[np.float64]
    """(frames, 13) c0 to c12."""
    voice: NDArray[np.float64]
    """(frames, 13) the same of the voice band alone."""
    level: NDArray[np.float64]
    """(frames,) mean level of the voice band in dB."""
    beyond: NDArray[np.float64]
    """(frames, 3) mean level in dB beyond each of `BAND_LIMITS`, above the floor that the spectrum is cut off at."""
    silent: NDArray[np.bool_]
    """(frames,) whether it is what digital silence would be beside the utterance's peak."""
    headroom: NDArray[np.float64]
    """(n,) from the floor to the peak, in dB."""


class Spectra:
    """Turn features of one set into `Frames`."""

    def __init__(self, feature_set: FeatureSet) -> None:
        # Whatever is no spectrum is a waveform: there is nothing else.
        self._stored = feature_set if isinstance(feature_set, LogMelSet) else None
        self._set = self._stored or replace(_WAVE, sample_rate=feature_set.sample_rate)
        self._projection = _projection(self._set)
        self._voice_bands = int(_bands(self._set, *VOICE_BAND).sum())

    @property
    def frame_rate(self) -> float:
        """Number of frames per s."""
        return self._set.sample_rate / self._set.hop_length

    def __call__(
        self, features: NDArray[np.float32], frames: NDArray[np.int32], peak_db: NDArray[np.float32]
    ) -> Frames:
        """Return the figures of n utterances as `FeatureStore.blocks` yields them, with `frames` and `peak_db` (n,)."""
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
        figures = features.astype(np.float64) @ self._projection
        silence = np.stack([self._set.silence(float(peak)) for peak in peaks])
        nearest = np.abs(features - silence[of_frame]).max(axis=1)
        voice = figures[:, COEFFICIENTS : 2 * COEFFICIENTS]
        return Frames(
            starts=np.cumsum(counts) - counts,
            frames=counts,
            cepstra=figures[:, :COEFFICIENTS],
            voice=voice,
            level=voice[:, 0] / np.sqrt(self._voice_bands),
            beyond=figures[:, 2 * COEFFICIENTS :] - floor[of_frame, None],
            silent=nearest < _NEAR_SILENCE,
            headroom=peaks - floor,
        )


def _projection(spectrum: LogMelSet) -> NDArray[np.float64]:
    """Return the matrix (dim, 29) from features to c0 to c12, those of the voice band, and levels beyond limits."""
    import scipy.fft

    def cepstrum(bands: int) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = scipy.fft.dct(np.eye(bands), type=2, norm="ortho", axis=0)
        return transform

    transform = cepstrum(spectrum.n_mels)
    # Rows: bands of the spectrum; columns: what they are made of.
    bands = transform[: spectrum.n_mfcc].T if isinstance(spectrum, MfccSet) else np.eye(spectrum.n_mels)
    voice = bands[_bands(spectrum, *VOICE_BAND)]
    nyquist = spectrum.sample_rate / 2
    parts = [
        transform[:COEFFICIENTS] @ bands,
        cepstrum(len(voice))[:COEFFICIENTS] @ voice,
        *(bands[_bands(spectrum, min(BEYOND * limit, 0.95 * nyquist), nyquist)].mean(axis=0) for limit in BAND_LIMITS),
    ]
    return np.vstack(parts).T


def _bands(spectrum: LogMelSet, low: float, high: float) -> NDArray[np.bool_]:
    """Return True for mel bands whose centre lies between two frequencies in Hz."""
    import librosa

    centres = librosa.mel_frequencies(spectrum.n_mels + 2, fmin=0.0, fmax=spectrum.sample_rate / 2)[1:-1]
    within: NDArray[np.bool_] = (centres >= low) & (centres <= high)
    return within
