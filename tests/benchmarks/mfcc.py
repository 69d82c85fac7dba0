"""Compare MFCCs per core with librosa.feature.mfcc, on the same decoded audio."""

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
from tests.benchmarks.timing import Rounds, measure_cpu_time


@click.command()
@root_option
@click.option("--files", default=120, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Rounds of both, in turn.")
def main(root: Path, files: int, rounds: int) -> None:
    """Time both with one thread, and compare their output."""
    features = MfccSet()
    audio = [read_at(path, features.sample_rate) for path in sorted(root.rglob("*.wav"))[:files]]
    duration = sum(map(len, audio)) / features.sample_rate

    def compute_reference(samples: Any) -> Any:
        return librosa.feature.mfcc(y=samples, sr=features.sample_rate, n_mfcc=features.n_mfcc)

    def extract_all(extract: Callable[[Any], object]) -> float:
        return measure_cpu_time(lambda: [extract(samples) for samples in audio])

    torch.set_num_threads(1)
    with threadpool_limits(1):
        difference = max(float(np.abs(features.extract(each)[0].T - compute_reference(each)).max()) for each in audio)
        works = {"emodna": lambda: extract_all(features.extract), "librosa": lambda: extract_all(compute_reference)}
        taken = Rounds(works, rounds)
    best_ratio = taken.best("librosa") / taken.best("emodna")
    click.echo(
        f"{len(audio)} files of {root}, {duration:.0f} s of audio, one core, CPU time, median of {rounds} rounds"
    )
    click.echo(f"emodna               {duration / taken.median('emodna'):6.0f} x real time")
    click.echo(f"librosa.feature.mfcc {duration / taken.median('librosa'):6.0f} x real time")
    click.echo(
        f"ratio                {taken.ratio('librosa', 'emodna'):6.2f}   of the fastest rounds {best_ratio:.2f}   "
        f"largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
