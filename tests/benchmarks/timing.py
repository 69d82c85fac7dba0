"""Fair timings: all works in turn, round after round, so that a busy machine slows all of them alike."""

import subprocess
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """Time of some work, in s; CPU time is that of the whole process."""

    wall: float
    cpu: float


def timed(work: Callable[..., object], *arguments: object) -> Seconds:
    """Return the time of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def cpu_seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return the CPU time of some work: the machine may have other work, too."""
    return timed(work, *arguments).cpu


def run_seconds(*command: object, **options: Any) -> float:
    """Return the wall time of a whole process, which must succeed."""
    words = list(map(str, command))
    return timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **options)).wall


class Rounds:
    """Figures of several works, by name, one of each per round."""

    def __init__(self, works: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = False) -> None:
        if warm_up:  # libraries, caches and compiled code are there for all rounds alike
            for work in works.values():
                work()
        self.rows = [{name: work() for name, work in works.items()} for _ in range(rounds)]

    def median(self, name: str) -> float:
        """Return the median of a work's figures."""
        return median(row[name] for row in self.rows)

    def ratio(self, name: str, other: str) -> float:
        """Return the median over the rounds of a work's figure divided by that of another."""
        return median(row[name] / row[other] for row in self.rows)

    def best(self, name: str) -> float:
        """Return the least of a work's figures."""
        return min(row[name] for row in self.rows)
