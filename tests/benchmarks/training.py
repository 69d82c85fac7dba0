"""Trainings in processes of their own, which take steps when they are told to."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from tests.benchmarks.step import Inputs

Step = Callable[[int], None]


class Taken(NamedTuple):
    """Seconds that some steps took."""

    wall: float
    cpu: float


class Training:
    """A process with the inputs and a step function made of them; it has taken three steps when it is there."""

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
        """Let it take steps."""
        self._pipe.send(steps)

    def finish(self) -> Taken:
        """Wait for them."""
        taken: Taken = self._pipe.recv()
        return taken

    def take(self, steps: int) -> Taken:
        """Let it take steps and wait for them."""
        self.begin(steps)
        return self.finish()

    def end(self) -> None:
        """End the process."""
        self.begin(0)
        self._process.join()


def _serve(
    pipe: Connection, build: Callable[[Inputs, str], Step], corpora: tuple[Path, str, str], method: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    step = build(Inputs(*corpora), method)
    done = 0

    def take(steps: int) -> Taken:
        nonlocal done
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step(done)
            done += 1
        return Taken(time.perf_counter() - wall, time.process_time() - cpu)

    take(3)
    pipe.send(None)
    while (steps := pipe.recv()) > 0:
        pipe.send(take(steps))
