"""Measure the CPU time of each step of a first preparation."""

import functools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import click
import h5py
import numpy as np
import soundfile
import soxr
import torch

from emodna.pipeline import corpora
from emodna.pipeline.audio import decode as audio
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.features import MfccSet, logmel, mfcc
from emodna.pipeline.prepare import PrepareReport, extract, prepare
from emodna.pipeline.prepare.executors import make_local_factory
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import shards
from tests.benchmarks.inputs import corpus_option, root_option
from tests.model.small import SilentCallback

#: Step -> its functions. Time in functions of another step counts for the other step.
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
    "power": [(np, "square")],
    "mel bands": [(np, "matmul")],
    "logarithm and floor": [(logmel._LogMel, "__call__")],
    "DCT": [(mfcc.MfccSet, "transform")],
    "rest of spectrogram": [(logmel._LogMel, "_compute_mel")],
    "CRC": [(extract, "compute_feature_crc")],
    "HDF5": [(h5py.File, "__init__"), (h5py.File, "close"), (h5py.File, "flush"), (h5py.Group, "create_dataset")],
    "writing files": [(shards, "_write_named_by_content")],
    "rest of recording": [(extract, "examine")],
}
#: Steps that external libraries do.
LIBRARY_STEPS = ("decode", "resample", "FFT", "hash")


def prepare_once(corpus: Corpus, root: Path, cache: Path, workers: int) -> PrepareReport:
    return prepare(
        corpus, root, cache, ExtractionConfig(MfccSet()), SilentCallback(), workers=make_local_factory(workers)
    )


class Stopwatch:
    """A context manager that measures the CPU time of each step over all threads, without its own overhead."""

    def __init__(self, steps: Mapping[str, Sequence[tuple[Any, str]]] = STEPS) -> None:
        self._steps = steps
        self._spent: list[tuple[str, float]] = []
        self._thread = threading.local()
        self._originals: list[tuple[Any, str, Any]] = []
        self._cost_inside, self._cost_outside = self._measure_overhead()

    def __enter__(self) -> Self:
        for step, functions in self._steps.items():
            for owner, name in functions:
                self._originals.append((owner, name, getattr(owner, name)))
                setattr(owner, name, self._wrap(step, getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)

    def seconds(self) -> Counter[str]:
        """Return the CPU time of each step in s."""
        total: Counter[str] = Counter()
        for step, spent in self._spent:
            total[step] += spent
        return total

    @property
    def overhead(self) -> float:
        """CPU time of the measurement in s."""
        return len(self._spent) * (self._cost_inside + self._cost_outside)

    def _wrap(self, step: str, function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            outside, self._thread.inside = getattr(self._thread, "inside", 0.0), 0.0
            began = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                spent = time.thread_time() - began
                self._spent.append((step, spent - self._thread.inside - self._cost_inside))
                self._thread.inside = outside + spent + self._cost_outside

        return wrapper

    def _measure_overhead(self, calls: int = 20_000) -> tuple[float, float]:
        """Return the overhead of a measurement in the time of the call and in that of its caller."""
        self._cost_inside = self._cost_outside = 0.0
        wrapper = self._wrap("nothing", lambda: None)
        began = time.thread_time()
        for _ in range(calls):
            wrapper()
        spent = time.thread_time() - began
        inside = self.seconds()["nothing"]
        self._spent.clear()
        self._thread.inside = 0.0
        return inside / calls, (spent - inside) / calls


@click.command()
@root_option
@corpus_option
@click.option("--workers", default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(root: Path, corpus: str, workers: int, rounds: int) -> None:
    """Prepare a corpus several times, and print the round with the least CPU time."""
    runs = []
    for _ in range(1 + rounds):  # the first one loads libraries
        with tempfile.TemporaryDirectory() as cache, Stopwatch() as stopwatch:
            began = time.process_time()
            report = prepare_once(corpora.load_corpus(corpus), root, Path(cache), workers)
            runs.append((time.process_time() - began - stopwatch.overhead, stopwatch.seconds()))
    total, seconds = min(runs[1:], key=lambda run: run[0])
    seconds["everything else"] = total - sum(seconds.values())
    files, duration = report.extracted, report.audio_seconds
    click.echo(f"{root}, {files} files, {duration:.0f} s of audio, {workers} worker(s), without start-up")
    click.echo(f"{'CPU time':22} {'us per file':>11} {'share':>7} {'x real time':>12}")
    for step, spent in [*seconds.most_common(), ("all", total)]:
        click.echo(f"{step:22} {1e6 * spent / files:11.0f} {spent / total:7.1%} {duration / spent:12.0f}")
    share = sum(seconds[step] for step in LIBRARY_STEPS) / total
    click.echo(f"{', '.join(LIBRARY_STEPS)}: {share:.0%} of the CPU time")


if __name__ == "__main__":
    main()
