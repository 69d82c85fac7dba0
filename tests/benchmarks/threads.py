"""Compare trainings of one and two threads, on an idle machine and next to two busy processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import click
import torch

from emodna.model.methods import METHODS
from emodna.model.training.acceleration import keep_freed_memory
from tests.benchmarks.inputs import Inputs, Step, add_store_options
from tests.benchmarks.timing import Seconds, measure_time

STEPS = 4
#: Methods to time.
NAMES = ("emo-dna", "source-only")
#: Values of OMP_WAIT_POLICY: the default of OpenMP, and threads that sleep while they wait for each other.
POLICIES = (None, "PASSIVE")


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


@contextmanager
def load_machine(processes: int) -> Iterator[None]:
    """Keep this number of processes busy."""
    busy = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
            process.join()


def _spin() -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # else the benchmark was killed
        pass


@contextmanager
def _set_wait_policy(policy: str | None) -> Iterator[None]:
    """Set OMP_WAIT_POLICY for the processes that start in this block."""
    if policy is not None:
        os.environ["OMP_WAIT_POLICY"] = policy
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)


@click.command()
@add_store_options
@click.option("--rounds", default=10, show_default=True)
def main(cache: Path, src: str, tgt: str, rounds: int) -> None:
    """Print the median time of a step in ms."""
    for name in NAMES:
        for policy in POLICIES:
            with _set_wait_policy(policy):
                trainings = [Training(make_our_steps, cache, src, tgt, name, threads) for threads in (1, 1, 2)]
            for busy in (0, 2):
                with load_machine(busy):
                    one, parallel, two = _measure(trainings, rounds)
                click.echo(
                    f"{name:12} {policy or 'default':8} {busy} busy processes   ms a step: one thread {one:6.1f}   "
                    f"two threads {two:6.1f} ({two / one:.2f} x)   two runs of one thread {parallel:6.1f}"
                )
            for training in trainings:
                training.stop()


def _measure(trainings: list[Training], rounds: int) -> list[float]:
    """Return the ms per step of one thread, of two runs of one thread each, and of two threads."""
    one, other, two = trainings
    seconds = []
    for _ in range(rounds):
        alone = one.take(STEPS).wall
        for each in (one, other):
            each.begin(STEPS)
        parallel = max(each.finish().wall for each in (one, other)) / 2  # both take STEPS steps
        seconds.append((alone, parallel, two.take(STEPS).wall))
    return [1e3 * median(each) / STEPS for each in zip(*seconds, strict=True)]


if __name__ == "__main__":
    main()
