"""Compare a training step of CAAM with that of the same network written layer by layer, in one process."""

from functools import partial
from pathlib import Path

import click
import torch

from emodna.model.methods.caam import Caam
from emodna.model.training.acceleration import keep_freed_memory
from tests.benchmarks.inputs import Inputs, Step, add_store_options
from tests.benchmarks.timing import Rounds, measure_cpu_time
from tests.model.plain_capsules import PlainCapsules


def make_steps(inputs: Inputs, *, plain: bool) -> Step:
    """Return the trainer's step with the plain or the fast encoder of equal weights."""
    method = Caam(inputs.source.dim, Caam.defaults, 0).train()
    if plain:
        encoder = PlainCapsules()
        encoder.load_state_dict(method.encoder.state_dict())
        method.encoder = encoder  # type: ignore[assignment]
    return inputs.make_steps(method)


@click.command()
@add_store_options
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Rounds of one step of each.")
def main(cache: Path, src: str, tgt: str, threads: int, rounds: int) -> None:
    """Time both in turn."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    inputs = Inputs(cache, src, tgt)
    plain, ours = make_steps(inputs, plain=True), make_steps(inputs, plain=False)
    torch.manual_seed(0)
    works = {"plain": partial(measure_cpu_time, plain), "ours": partial(measure_cpu_time, ours)}
    taken = Rounds(works, rounds, warm_up=True)
    click.echo(f"caam, {src} -> {tgt}, 64 + 64 utterances, {threads} thread(s), CPU time, median of {rounds} steps")
    click.echo(
        f"layer by layer {1e3 * taken.median('plain'):7.0f} ms   ours {1e3 * taken.median('ours'):7.0f} ms   "
        f"ratio {taken.ratio('plain', 'ours'):.2f}"
    )


if __name__ == "__main__":
    main()
