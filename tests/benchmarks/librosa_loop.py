"""Extract MFCCs in a plain loop over librosa: python -m tests.benchmarks.librosa_loop ROOT DEST."""

import sys
from pathlib import Path

import librosa
import numpy as np


def extract_with_librosa(root: Path, dest: Path) -> None:
    for path in sorted(root.rglob("*.wav")):
        samples, rate = librosa.load(path)
        np.save(dest / f"{path.stem}.npy", librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40))


if __name__ == "__main__":
    extract_with_librosa(*map(Path, sys.argv[1:]))
