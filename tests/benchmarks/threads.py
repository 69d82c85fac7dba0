"""Compare two parallel trainings of one thread with one training of two threads."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import click
import torch

from emodna.model.methods import METHODS
from emodna.model.training.acceleration import keep_freed_memory
from tests.benchmarks.inputs import Inputs, Step, add_store_options
from tests.benchmarks.timing import Seconds, measure_time

STEPS = 10
#: Methods to time.
NAMES = ("emo-dna", "source-only")


class Training:
    """A process that takes training steps on request; it has taken three when the constructor returns."""

    def __init__(
        self, build: Callable[[Inputs, str], Step], cache: Path, src: str, tgt: str, method: str, threads: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        arguments = (far_end, build, (cache, src, tgt), method, threads)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        self._pipe.recv()

    def begin(self, steps: int) -> None:
        self._pipe.send(steps)

    def finish(self) -> Seconds:
        """Wait for the steps, and return their time."""
        seconds: Seconds = self._pipe.recv()
        return seconds

    def take(self, steps: int) -> Seconds:
        self.begin(steps)
        return self.finish()

    def stop(self) -> None:
        self.begin(0)
        self._process.join()


def _serve(
    pipe: Connection, build: Callable[[Inputs, str], Step], corpora: tuple[Path, str, str], method: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    step = build(Inputs(*corpora), method)

    def take(steps: int) -> Seconds:
        return measure_time(lambda: [step() for _ in range(steps)])

    take(3)
    pipe.send(None)
    while (steps := pipe.recv()) > 0:
        pipe.send(take(steps))


def make_our_steps(inputs: Inputs, name: str) -> Step:
    """Return the step of the trainer's loop."""
    keep_freed_memory()
    return inputs.make_steps(METHODS[name](inputs.source.dim, METHODS[name].defaults, 0).train())


@click.command()
@add_store_options
@click.option("--rounds", default=10, show_default=True)
def main(cache: Path, src: str, tgt: str, rounds: int) -> None:
    """Print the wall time of the fastest round of each."""
    for name in NAMES:
        one, other, wide = (Training(make_our_steps, cache, src, tgt, name, threads) for threads in (1, 1, 2))
        seconds = []
        for _ in range(rounds):
            alone = one.take(STEPS).wall
            for each in (one, other):
                each.begin(STEPS)
            parallel = max(each.finish().wall for each in (one, other)) / 2  # both take STEPS steps
            seconds.append((alone, parallel, wide.take(STEPS).wall))
        # The fastest round is the least disturbed by other processes.
        alone_ms, parallel_ms, wide_ms = (1e3 * min(each) / STEPS for each in zip(*seconds, strict=True))
        click.echo(
            f"{name:12} ms a step: one thread {alone_ms:6.1f}   two runs of one thread {parallel_ms:6.1f}   "
            f"two threads {wide_ms:6.1f}   two runs are {wide_ms / parallel_ms:.2f} times as fast"
        )
        for training in (one, other, wide):
            training.stop()


if __name__ == "__main__":
    main()
