"""Where the CPU time of a first preparation goes, step by step, in the real run of it."""

import functools
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import soundfile
import soxr
import torch

from emodna.pipeline import audio, corpora, extract, logmel, mfcc, shards
from tests.benchmarks.steady import prepared

#: Step -> the functions that do it. What one of them calls of another step counts there.
STEPS: dict[str, list[tuple[Any, str]]] = {
    "hash": [(extract.hashlib, "file_digest"), (extract.hashlib, "sha256")],
    "decode": [
        (soundfile.SoundFile, "__init__"),
        (soundfile.SoundFile, "read"),
        (soundfile.SoundFile, "close"),
        (audio, "_to_float"),
    ],
    "resample": [(soxr, "resample")],
    "frames and window": [(torch, "zeros"), (torch, "mul")],
    "FFT": [(torch.fft, "rfft")],
    "power": [(torch.Tensor, "square_")],
    "mel bands": [(np, "matmul")],
    "logarithm, floor": [(logmel.LogMel, "tensor")],
    "DCT": [(mfcc.Mfcc, "__call__")],
    "the rest of the spectrogram": [(logmel.LogMel, "_mel")],
    "CRC": [(extract, "feature_crc")],
    "HDF5": [(h5py.File, "__init__"), (h5py.File, "close"), (h5py.File, "flush"), (h5py.Group, "create_dataset")],
    "files of the store": [(shards, "_write_named_by_content")],
    "the rest of a recording": [(extract, "examine")],
}
#: What no rewriting around them could spare: the libraries' own work.
CORE = ("hash", "decode", "resample", "FFT")


class Stopwatch:
    """CPU time by step, of all threads."""

    def __init__(self) -> None:
        self._spent: list[tuple[str, float]] = []
        self._thread = threading.local()

    def watch(self, step: str, owner: Any, name: str) -> None:
        """Replace a function by one that is timed."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def timed(*args: Any, **options: Any) -> Any:
            outside, self._thread.inside = getattr(self._thread, "inside", 0.0), 0.0
            began = time.thread_time()
            try:
                return original(*args, **options)
            finally:
                spent = time.thread_time() - began
                self._spent.append((step, spent - self._thread.inside))
                self._thread.inside = outside + spent

        setattr(owner, name, timed)

    def read(self) -> Counter[str]:
        """Seconds by step since the last reading."""
        seconds: Counter[str] = Counter()
        for step, spent in self._spent:
            seconds[step] += spent
        self._spent.clear()
        return seconds


@click.command()
@click.option(
    "--root", type=click.Path(path_type=Path, exists=True, file_okay=False), default="data/ravdess", show_default=True
)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Of which the one with the least CPU time is shown.")
def main(root: Path, corpus: str, workers: int, rounds: int) -> None:
    """Prepare the corpus some times, and show the share of each step."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared(corpora.corpus(corpus), root, Path(scratch), workers)  # libraries loaded, filters made
    stopwatch = Stopwatch()
    for step, functions in STEPS.items():
        for owner, name in functions:
            stopwatch.watch(step, owner, name)
    best: tuple[float, Counter[str], Any] | None = None
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.process_time()
            report = prepared(corpora.corpus(corpus), root, Path(scratch), workers)
            spent = time.process_time() - began
        seconds = stopwatch.read()
        if best is None or spent < best[0]:
            best = (spent, seconds, report)
    if best is None:
        raise click.UsageError("--rounds: at least 1")
    total, seconds, report = best
    seconds["everything else"] = total - sum(seconds.values())
    click.echo(
        f"{root}, {report.utterances} files, {report.audio_seconds:.0f} s of audio, {workers} worker(s), start-up left out"
    )
    click.echo(f"{'CPU time':28} {'us per file':>11} {'share':>7} {'x real time':>12}")
    for step, spent in [*seconds.most_common(), ("all", total)]:
        each, speed = 1e6 * spent / report.utterances, report.audio_seconds / spent
        click.echo(f"{step:28} {each:11.0f} {spent / total:7.1%} {speed:12.0f}")
    click.echo(f"{', '.join(CORE)}: {sum(seconds[step] for step in CORE) / total:.1%} of all CPU time")


if __name__ == "__main__":
    main()
