"""Measure the CPU time of a training step of every method, in one process."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import torch

from emodna.model.config import TrainConfig
from emodna.model.data.stream import FoldStream
from emodna.model.methods import METHODS
from emodna.model.methods.base import EncoderConfig, Phase
from emodna.model.training.acceleration import keep_freed_memory
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from tests.benchmarks.inputs import Inputs, add_store_options
from tests.benchmarks.timing import Rounds, measure_cpu_time
from tests.model.small import make_batches


def make_steps(name: str, inputs: Inputs) -> dict[str, Callable[[], float]]:
    """Return a function for each phase of a method that takes a step and returns its CPU time."""
    kind = METHODS[name]
    defaults = kind.defaults
    if hasattr(defaults, "languages"):  # a run sets it from its data
        defaults = replace(defaults, languages=len(inputs.languages))
    method = kind(inputs.source.dim, defaults, 0).train()
    update = Update(method, make_optimizers(method.parameter_groups(), TrainConfig()), torch.device("cpu"))
    labelled = inputs.sources
    if method.supervision == "oracle-folds":
        labels = [inputs.source.labels("arousal")] * defaults.folds
        labelled = FoldStream(inputs.source_windows, labels, batch_size=64, seed=0)

    def take(phase: Phase, numbers: "itertools.count[int]") -> float:
        number = next(numbers)
        return measure_cpu_time(lambda: update(labelled.batch(number), inputs.targets.batch(number), phase))

    several = len(method.phases) > 1
    return {
        f"{name}, {phase.name}" if several else name: partial(take, phase, itertools.count()) for phase in method.phases
    }


def make_statistics_step(name: str, dim: int) -> Callable[[], float]:
    """Return a function that takes a step on random statistics of features of `dim` values; it returns its CPU time."""
    kind = METHODS[name]
    method = kind(2 * dim, replace(kind.defaults, network="statistics"), 0).train()
    update = Update(method, make_optimizers(method.parameter_groups(), TrainConfig()), torch.device("cpu"))
    folds = getattr(kind.defaults, "folds", 1)
    batches = make_batches(folds * 64, 64, dim=2 * dim, frames=1)
    return lambda: measure_cpu_time(lambda: update(*batches, Phase()))


@click.command()
@add_store_options
@click.option("--statistics", "dim", type=int, help="Use the network of statistics, on random features of this size.")
@click.option("--rounds", default=7, show_default=True)
def main(cache: Path, src: str, tgt: str, dim: int | None, rounds: int) -> None:
    """Time one step of each method in turn on one thread, and print the medians."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if dim is None:
        inputs = Inputs(cache, src, tgt)
        steps = {label: step for name in METHODS for label, step in make_steps(name, inputs).items()}
    else:
        served = [name for name, kind in METHODS.items() if isinstance(kind.defaults, EncoderConfig)]
        steps = {name: make_statistics_step(name, dim) for name in served}
    taken = Rounds(steps, rounds, warm_up=True)
    floor = taken.median("source-only")
    click.echo("| method | ms per step | of source-only's |\n|---|---:|---:|")
    for label in steps:
        click.echo(f"| {label} | {1e3 * taken.median(label):.1f} | {taken.median(label) / floor:.1f} |")


if __name__ == "__main__":
    main()
