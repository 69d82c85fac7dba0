"""A training step of CAAM against the same network written down layer by layer, in one process, one after the other."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

from emodna.model.config import TrainConfig
from emodna.model.methods.base import Phase
from emodna.model.methods.caam import Caam
from emodna.model.training.acceleration import keep_freed_memory
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from tests.benchmarks.step import Inputs
from tests.model.plain_capsules import PlainCapsules


def steps(inputs: Inputs, *, plain: bool) -> Callable[[int], Tensor]:
    """The trainer's step, with one encoder or the other of the same weights."""
    method = Caam(inputs.source.dim, Caam.defaults, 0).train()
    if plain:
        encoder = PlainCapsules()
        encoder.load_state_dict(method.encoder.state_dict())
        method.encoder = encoder  # type: ignore[assignment]
    update = Update(method, make_optimizers(method.parameter_groups(), TrainConfig()), torch.device("cpu"))
    return lambda number: update(inputs.sources.batch(number), inputs.targets.batch(number), Phase())["total"]


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--src", default="ravdess", show_default=True)
@click.option("--tgt", default="emodb", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Of one step of each.")
def main(cache: Path, src: str, tgt: str, threads: int, rounds: int) -> None:
    """Time both in turn."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    inputs = Inputs(cache, src, tgt)
    both = [steps(inputs, plain=True), steps(inputs, plain=False)]
    torch.manual_seed(0)
    taken: list[list[float]] = []
    for number in range(rounds + 1):
        spent = []
        for step in both:
            began = time.process_time()
            step(number)
            spent.append(time.process_time() - began)
        taken.append(spent)
    plain, ours = (statistics.median(column) for column in zip(*taken[1:], strict=True))
    ratio = statistics.median(a / b for a, b in taken[1:])
    click.echo(f"caam, {src} -> {tgt}, 64 + 64 utterances, {threads} thread(s), CPU time, median of {rounds} steps")
    click.echo(f"layer by layer {1e3 * plain:7.0f} ms   ours {1e3 * ours:7.0f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
