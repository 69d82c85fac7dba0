"""MFCCs per core against librosa.feature.mfcc, on the same decoded audio in the same run."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import librosa
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.features import MfccSet


def seconds(extract: Callable[[Any], object], audio: list[Any]) -> float:
    """CPU time of extracting from all recordings: the machine may have other work, too."""
    began = time.thread_time()
    for samples in audio:
        extract(samples)
    return time.thread_time() - began


@click.command()
@click.option(
    "--root", type=click.Path(path_type=Path, exists=True, file_okay=False), default="data/ravdess", show_default=True
)
@click.option("--files", default=120, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Both in turn, so that a noisy machine slows both.")
def main(root: Path, files: int, rounds: int) -> None:
    """Time both with one thread, and compare their output."""
    features = MfccSet()
    audio = []
    for path in sorted(root.rglob("*.wav"))[:files]:
        with path.open("rb") as stream:
            recording = decode(stream)
        audio.append(resample(recording.samples, recording.sample_rate, features.sample_rate))
    duration = sum(map(len, audio)) / features.sample_rate

    def reference(samples: Any) -> Any:
        return librosa.feature.mfcc(y=samples, sr=features.sample_rate, n_mfcc=features.n_mfcc)

    torch.set_num_threads(1)
    with threadpool_limits(1):
        worst = max(float(np.abs(features.extract(each)[0].T - reference(each)).max()) for each in audio)
        times = [(seconds(features.extract, audio), seconds(reference, audio)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    least = min(b for _, b in times) / min(a for a, _ in times)
    click.echo(
        f"{len(audio)} files of {root}, {duration:.0f} s of audio, one core, CPU time, median of {rounds} rounds"
    )
    click.echo(f"emodna               {duration / ours:6.0f} x real time")
    click.echo(f"librosa.feature.mfcc {duration / theirs:6.0f} x real time")
    click.echo(
        f"ratio                {ratio:6.2f}   of the fastest rounds {least:.2f}   largest difference {worst:.1e}"
    )


if __name__ == "__main__":
    main()
