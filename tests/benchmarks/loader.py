"""Measure the cost of loading batches: python -m tests.benchmarks.loader [--cache DIR] [--device cuda].

Measures trainings, with the share of time that they wait for batches. Then measures batches alone, in utterances per
second, of this loader and of a `DataLoader` over h5py with 0, 1 and 2 workers. Rounds are interleaved; results are
medians.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from emodna.model.config import TrainConfig
from emodna.model.data.loading import RESIDENCIES, Loader, Residency
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import SourceStream, TargetStream
from emodna.model.methods import METHODS
from emodna.model.run_folder import RunFolder
from emodna.model.training.loop import Timing, train
from emodna.pipeline.store import FeatureStore
from tests.benchmarks.inputs import Inputs, add_store_options
from tests.benchmarks.timing import Rounds
from tests.model.small import SilentCallback

CONFIG = TrainConfig(checkpoint_seconds=1e9)


class Hdf5Dataset(Dataset[dict[str, torch.Tensor]]):
    """A map-style dataset that reads, crops or pads, and normalises one utterance at a time."""

    def __init__(self, store: FeatureStore, values: Statistics) -> None:
        table = store.columns(["shard", "offset", "frames", "arousal"]).to_pydict()
        self._rows = list(zip(table["shard"], table["offset"], table["frames"], table["arousal"], strict=True))
        self._files = {number: store.path / file.name for number, file in store.snapshot.shards.items()}
        self._values = values
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        shard, offset, frames, label = self._rows[index]
        if shard not in self._open:  # h5py files must be opened in the worker
            self._open[shard] = h5py.File(self._files[shard], "r")["features"]
        features = self._open[shard][offset : offset + frames]
        features = (features - self._values.mean) / self._values.std
        spare = CONFIG.frames - frames
        if spare >= 0:
            features = np.pad(features, ((spare // 2, spare - spare // 2), (0, 0)))
        else:
            features = features[-spare // 2 : -spare // 2 + CONFIG.frames]
        return {"features": torch.from_numpy(features.T.copy()), "label": torch.tensor(-1 if label is None else label)}


def run_training(
    dim: int,
    streams: tuple[SourceStream, TargetStream],
    method: str,
    residency: Residency,
    device: torch.device,
    steps: int,
) -> Timing:
    kind = METHODS[method]
    with tempfile.TemporaryDirectory() as folder:
        return train(
            kind(dim, kind.defaults, 0),
            *streams,
            CONFIG,
            steps=steps,
            seed=0,
            device=device,
            run=RunFolder(Path(folder)),
            callback=SilentCallback(),
            residency=residency,
        )


def iterate_loader(inputs: Inputs, residency: Residency, device: torch.device, batches: int) -> Iterator[object]:
    """Yield pairs of batches from this project's loader."""
    with Loader(inputs.sources, inputs.targets, range(batches), device, residency) as loader:
        for _ in range(batches):
            yield next(loader)


def iterate_dataloader(inputs: Inputs, workers: int, device: torch.device, batches: int) -> Iterator[object]:
    """Yield pairs of batches from torch's loader, with `workers` workers per corpus."""
    pinned, statistics = device.type == "cuda", inputs.framer.statistics
    assert statistics is not None

    def repeat_batches(store: FeatureStore) -> Iterator[dict[str, torch.Tensor]]:
        dataset = Hdf5Dataset(store, statistics)
        sampler = RandomSampler(dataset, num_samples=CONFIG.batch_size * batches, replacement=True)
        loader = DataLoader(dataset, CONFIG.batch_size, sampler=sampler, num_workers=workers, pin_memory=pinned)
        for batch in loader:
            yield {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}

    yield from zip(repeat_batches(inputs.source), repeat_batches(inputs.target), strict=True)


def measure_rate(batch_pairs: Iterator[object], batches: int) -> float:
    """Return utterances per second, without the first pair of batches, which starts workers and opens files."""
    next(batch_pairs)
    began = time.perf_counter()
    for _ in batch_pairs:
        pass
    return 2 * CONFIG.batch_size * (batches - 1) / (time.perf_counter() - began)


@click.command()
@add_store_options
@click.option("--method", "methods", multiple=True, default=["source-only", "emo-dna"], show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--steps", default=40, show_default=True, help="Steps per training and round.")
@click.option("--batches", default=100, show_default=True, help="Pairs of batches per loader and round.")
@click.option("--rounds", default=3, show_default=True)
def main(
    cache: Path,
    src: str,
    tgt: str,
    methods: tuple[str, ...],
    threads: int,
    device: str,
    steps: int,
    batches: int,
    rounds: int,
) -> None:
    """Train with each residency, then load with each loader."""
    torch.set_num_threads(threads)
    where, inputs = torch.device(device), Inputs(cache, src, tgt)
    click.echo(f"{src} -> {tgt}, 64 + 64 utterances of {CONFIG.frames} frames, {device}, {threads} thread(s)")

    ways: tuple[Residency, ...] = tuple(each for each in RESIDENCIES if each != "auto")
    timings: dict[tuple[str, Residency], list[Timing]] = defaultdict(list)
    for _ in range(rounds):
        for method in methods:
            for way in ways:
                streams = inputs.sources, inputs.targets
                timings[method, way].append(run_training(inputs.source.dim, streams, method, way, where, steps))
    click.echo(f"\n{'training':28} {'ms a step':>10} {'ms blocked':>11} {'share':>7}")
    for (method, way), each in timings.items():
        step = median(timing.seconds / timing.steps for timing in each)
        blocked = median(timing.blocked_seconds / timing.steps for timing in each)
        click.echo(f"{f'{method}, resident {way}':28} {1e3 * step:10.1f} {1e3 * blocked:11.2f} {blocked / step:7.2%}")

    loaders: dict[str, Callable[[], float]] = {
        f"this, resident {way}": lambda way=way: measure_rate(iterate_loader(inputs, way, where, batches), batches)
        for way in ways
    }
    for n in (0, 1, 2):
        loaders[f"DataLoader, {n} workers"] = lambda n=n: measure_rate(
            iterate_dataloader(inputs, n, where, batches), batches
        )
    rates = Rounds(loaders, rounds)
    click.echo(f"\n{'batches alone':28} {'utterances/s':>12} {'off / this':>11}")
    off = rates.median("this, resident off")
    for name in loaders:
        click.echo(f"{name:28} {rates.median(name):12.0f} {off / rates.median(name):11.1f}")


if __name__ == "__main__":
    main()
