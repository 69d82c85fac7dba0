"""What one would write without this project: python -m tests.benchmarks.librosa_loop ROOT DEST."""

import sys
from pathlib import Path

import librosa
import numpy as np


def loop(root: Path, dest: Path) -> None:
    """Write the MFCCs of each recording."""
    for path in sorted(root.rglob("*.wav")):
        samples, rate = librosa.load(path)
        np.save(dest / f"{path.stem}.npy", librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40))


if __name__ == "__main__":
    loop(*map(Path, sys.argv[1:]))
