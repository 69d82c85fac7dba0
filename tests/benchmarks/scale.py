"""Measure the cost of a store by number of utterances: python -m tests.benchmarks.scale [--sizes N,N...].

The preparation writes the stores from empty files with synthetic features of a few frames. Each value is measured in
its own process. Memory is the peak allocation after the imports, without mapped shards.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import click
import numpy as np

from emodna.pipeline.archives import Tree
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare import prepare
from emodna.pipeline.prepare.executors import Executor
from emodna.pipeline.prepare.extract import AudioState, ExtractionConfig, ExtractionResult, Job, UtteranceInfo
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.shards import compute_feature_crc
from tests.model.small import SilentCallback
from tests.pipeline.making import LONG_AGO

_FILES_PER_FOLDER = 1000
_READS = 20_000
_STEPS = 60


@cache
def _make_features(frames: int) -> tuple["np.ndarray[tuple[int, int], np.dtype[np.float32]]", int]:
    array = np.random.default_rng(frames).standard_normal((frames, 40), np.float32)
    return array, compute_feature_crc(array)


def _make_results(jobs: Sequence[Job]) -> list[ExtractionResult]:
    """Return results with synthetic features of 4 to 11 frames."""
    results = []
    for job in jobs:
        array, crc = _make_features(4 + len(job.id) % 2 + int(job.id[-5]) % 7)
        sha256 = hashlib.sha256(job.id.encode()).hexdigest()
        info = UtteranceInfo(job.id, 16000, 1, len(array) * 512 / 22050, len(array), -20.0, sha256, crc)
        state = AudioState(0, LONG_AGO * 10**9, sha256)
        results.append(ExtractionResult(job, (info,), (array,), state=state))
    return results


@contextmanager
def _open_executor(_tree: Tree, _extraction: ExtractionConfig, _due: int) -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield Executor(pool, 4, _make_results)


class SyntheticStore:
    """A corpus of empty files, and its store."""

    def __init__(self, folder: Path) -> None:
        self.root, self.cache = folder / "root", folder / "cache"
        self.store = self.cache / "scale" / MfccSet().name

    def fill(self, files: range) -> None:
        for number in files:
            folder = self.root / f"{number // _FILES_PER_FOLDER:05d}"
            if number % _FILES_PER_FOLDER == 0:
                folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{number:08d}.wav"
            os.close(os.open(path, os.O_CREAT))
            os.utime(path, (LONG_AGO, LONG_AGO))

    def prepare(self) -> str:
        corpus, config = Recordings(self.root, "scale"), ExtractionConfig(MfccSet())
        report = prepare(corpus, self.root, self.cache, config, SilentCallback(), workers=_open_executor)
        return f"{report.extracted} new"

    def open(self) -> str:
        return f"{len(FeatureStore(self.store))} utterances"

    def random_reads(self) -> str:
        """Read random utterances twice; the first read checks checksums."""
        store = FeatureStore(self.store)
        rows = np.random.default_rng(0).integers(0, len(store), _READS).tolist()
        began = time.perf_counter()
        for row in rows:
            store[row].sum()
        first = time.perf_counter() - began
        began = time.perf_counter()
        for row in rows:
            store[row].sum()
        again = time.perf_counter() - began
        return f"{first / _READS * 1e6:.0f} us each, again {again / _READS * 1e6:.1f} us"

    def sequential_reads(self) -> str:
        """Read all utterances in order, and check their checksums."""
        began, size = time.perf_counter(), 0
        store = FeatureStore(self.store)
        for features in store:
            size += features.nbytes
        return f"{size / 1e6 / (time.perf_counter() - began):.0f} MB/s"

    def verify(self) -> str:
        problems = FeatureStore(self.store).verify()
        return f"{len(problems)} problems"

    def train(self) -> str:
        """Train for some steps with this store as target and, with synthetic labels, as source."""
        import torch  # not at the top: it would add to the memory of the other measurements

        from emodna.model.data.normalisation import Statistics
        from emodna.model.data.stream import CorpusWindows, SourceStream, TargetStream
        from emodna.model.data.windows import Framer
        from tests.benchmarks.loader import run_training

        torch.set_num_threads(1)
        store = FeatureStore(self.store)
        began = time.perf_counter()
        values = Statistics.of_corpora([(store, np.arange(len(store)))])
        statistics = time.perf_counter() - began
        windows = CorpusWindows(store, Framer(188, "silence", values, MfccSet().silence), [])
        labels = (np.arange(len(store)) % 2).astype(np.int8)
        streams = (
            SourceStream([(windows, labels)], batch_size=64, seed=0),
            TargetStream(windows, batch_size=64, seed=0),
        )
        timing = run_training(store.dim, streams, "source-only", "auto", torch.device("cpu"), _STEPS)
        step, blocked = (1e3 * seconds / timing.steps for seconds in (timing.seconds, timing.blocked_seconds))
        return f"statistics {statistics:.1f} s, {step:.0f} ms a step, {blocked:.1f} blocked"


MEASURES: dict[str, tuple[str, Callable[[SyntheticStore], str]]] = {
    "first": ("first preparation without extraction", SyntheticStore.prepare),
    "nothing": ("preparation, nothing to do", SyntheticStore.prepare),
    "one": ("preparation, one new file", SyntheticStore.prepare),
    "open": ("open", SyntheticStore.open),
    "random": (f"{_READS} random reads", SyntheticStore.random_reads),
    "sequential": ("all reads in order", SyntheticStore.sequential_reads),
    "verify": ("verify", SyntheticStore.verify),
    "train": (f"{_STEPS} training steps", SyntheticStore.train),
}


@contextmanager
def track_peak_memory() -> Iterator[Callable[[], float]]:
    """Track the memory of this process; yield a function that returns the growth of its peak in MB."""
    stop, peak, before = threading.Event(), 0, _read_allocated()

    def track() -> None:
        nonlocal peak
        while not stop.wait(0.02):
            peak = max(peak, _read_allocated())

    thread = threading.Thread(target=track)
    thread.start()
    try:
        yield lambda: (max(peak, _read_allocated()) - before) / 1e6
    finally:
        stop.set()
        thread.join()


def _read_allocated() -> int:
    """Return the resident anonymous memory in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this benchmark needs Linux")


def measure(name: str, folder: Path) -> dict[str, object]:
    with track_peak_memory() as peak:
        began = time.perf_counter()
        result = MEASURES[name][1](SyntheticStore(folder))
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "megabytes": peak(), "result": result}


@click.command()
@click.option("--sizes", default="10000,100000,1000000", show_default=True, help="Utterances of each store.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Scratch folder: 3 GB for 10^6 utterances. [default: $TMPDIR]"
)
@click.option("--measure", "name", type=click.Choice(list(MEASURES)), hidden=True)
def main(sizes: str, folder: Path | None, name: str | None) -> None:
    """Write stores of several sizes, and measure operations on them."""
    if name is not None and folder is not None:
        click.echo(json.dumps(measure(name, folder)))
        return
    for size in map(int, sizes.split(",")):
        scratch = Path(tempfile.mkdtemp(dir=folder))
        try:
            click.echo(f"{size} utterances")
            store = SyntheticStore(scratch)
            store.fill(range(size))
            for name, (title, _) in MEASURES.items():
                if name == "one":
                    store.fill(range(size, size + 1))
                command = [sys.executable, "-m", "tests.benchmarks.scale", "--measure", name, "--folder", str(scratch)]
                row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                click.echo(f"  {title:36} {row['seconds']:8.2f} s  {row['megabytes']:7.0f} MB   {row['result']}")
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
