"""Two trainings of one thread each, beside each other, against one training of two threads."""

from pathlib import Path

import click

from tests.benchmarks.eager import PLAIN, our_steps
from tests.benchmarks.training import Training

STEPS = 10


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--src", default="ravdess", show_default=True)
@click.option("--tgt", default="emodb", show_default=True)
@click.option("--rounds", default=10, show_default=True)
def main(cache: Path, src: str, tgt: str, rounds: int) -> None:
    """Wall time of the fastest round, in turn."""
    for name in PLAIN:
        one, other, wide = (Training(our_steps, cache, src, tgt, name, threads) for threads in (1, 1, 2))
        seconds = []
        for _ in range(rounds):
            alone = one.take(STEPS).wall
            for each in (one, other):
                each.begin(STEPS)
            beside = max(each.finish().wall for each in (one, other)) / 2  # for as many steps as the others
            seconds.append((alone, beside, wide.take(STEPS).wall))
        # The fastest round of each: what else the machine does only adds, and two threads wait for each other besides.
        alone_ms, beside_ms, wide_ms = (1e3 * min(each) / STEPS for each in zip(*seconds, strict=True))
        click.echo(
            f"{name:12} ms a step: one thread {alone_ms:6.1f}   two runs of one thread {beside_ms:6.1f}   "
            f"two threads {wide_ms:6.1f}   two runs are {wide_ms / beside_ms:.2f} times as fast"
        )
        for training in (one, other, wide):
            training.end()


if __name__ == "__main__":
    main()
