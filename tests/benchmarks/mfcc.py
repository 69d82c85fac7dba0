"""MFCCs per core against librosa.feature.mfcc, on the same decoded audio in the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import librosa
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from emodna.pipeline.features import MfccSet
from tests.benchmarks.inputs import read_at, root_option
from tests.benchmarks.timing import Rounds, cpu_seconds


@click.command()
@root_option
@click.option("--files", default=120, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Both in turn, so that a noisy machine slows both.")
def main(root: Path, files: int, rounds: int) -> None:
    """Time both with one thread, and compare their output."""
    features = MfccSet()
    audio = [read_at(path, features.sample_rate) for path in sorted(root.rglob("*.wav"))[:files]]
    duration = sum(map(len, audio)) / features.sample_rate

    def reference(samples: Any) -> Any:
        return librosa.feature.mfcc(y=samples, sr=features.sample_rate, n_mfcc=features.n_mfcc)

    def all_of_it(extract: Callable[[Any], object]) -> float:
        return cpu_seconds(lambda: [extract(samples) for samples in audio])

    torch.set_num_threads(1)
    with threadpool_limits(1):
        worst = max(float(np.abs(features.extract(each)[0].T - reference(each)).max()) for each in audio)
        works = {"emodna": lambda: all_of_it(features.extract), "librosa": lambda: all_of_it(reference)}
        taken = Rounds(works, rounds)
    least = taken.best("librosa") / taken.best("emodna")
    click.echo(
        f"{len(audio)} files of {root}, {duration:.0f} s of audio, one core, CPU time, median of {rounds} rounds"
    )
    click.echo(f"emodna               {duration / taken.median('emodna'):6.0f} x real time")
    click.echo(f"librosa.feature.mfcc {duration / taken.median('librosa'):6.0f} x real time")
    click.echo(
        f"ratio                {taken.ratio('librosa', 'emodna'):6.2f}   of the fastest rounds {least:.2f}   "
        f"largest difference {worst:.1e}"
    )


if __name__ == "__main__":
    main()
