"""Cut silence at both ends of an utterance, like librosa.effects.trim.

The rule is short, and every worker process would take more than a second to import librosa.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Distance between the frames in samples; a frame has four times as many (librosa's defaults 512 and 2048).
HOP: Final = 512
#: Floor of the power (librosa.amplitude_to_db's `amin`, squared): frames at or below it count as equally loud.
POWER_FLOOR: Final = 1e-10


def trim_silence(samples: NDArray[np.float32], trim_db: float, min_samples: int) -> NDArray[np.float32]:
    """Return the part of (n,) samples from the first to the last frame that is not silent, as a view.

    A frame is silent if its power is at least `trim_db` below that of the loudest frame. The result equals that of
    librosa.effects.trim(samples, top_db=trim_db) if that has `min_samples`. Else it is widened to `min_samples`, so
    that no utterance gets lost: a click has the same features with or without the silence around it. As in librosa,
    samples that are all zeros are not cut.
    """
    start, end = find_speech(samples, trim_db, min_samples)
    return samples[start:end]


def find_speech(samples: NDArray[np.float32], trim_db: float, min_samples: int) -> tuple[int, int]:
    """Return the first sample and the end of the part that `trim_silence` keeps."""
    power = _measure_power(samples)
    loudest = power.max()
    if not np.isfinite(loudest):  # the features raise the error
        return 0, len(samples)
    is_loud = np.maximum(power, POWER_FLOOR) > max(loudest, POWER_FLOOR) * 10 ** (-trim_db / 10)
    loud = np.flatnonzero(is_loud)
    start, end = int(loud[0]) * HOP, min(int(loud[-1] + 1) * HOP, len(samples))
    spare = min(min_samples, len(samples)) - (end - start)
    if spare > 0:
        start = min(max(start - spare // 2, 0), len(samples) - min_samples)
        end = start + min_samples
    return start, end


def _measure_power(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean square of each centred, zero-padded frame of (n,) samples, (1 + n // 512,)."""
    hops = 1 + len(samples) // HOP
    padded = np.zeros((hops + 4) * HOP, np.float32)
    padded[2 * HOP :][: len(samples)] = samples
    blocks = padded.reshape(-1, HOP)
    with np.errstate(all="ignore"):
        # In float64, because the squares of float32 samples may overflow.
        energy = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64)
        frames: NDArray[np.float64] = (energy[:-4] + energy[1:-3] + energy[2:-2] + energy[3:-1]) / (4 * HOP)
    return frames
