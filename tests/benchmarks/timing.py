"""Time several works in turn, so that a busy machine slows down all of them."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final, NamedTuple


class Seconds(NamedTuple):
    """Wall time, and CPU time of the whole process, in s."""

    wall: float
    cpu: float


def measure_time(work: Callable[..., object], *arguments: object) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def measure_cpu_time(work: Callable[..., object], *arguments: object) -> float:
    """Return the CPU time of a call, which does not depend on other processes."""
    return measure_time(work, *arguments).cpu


def time_process(*command: object, **options: Any) -> float:
    """Return the wall time of a process; raise an error if it fails."""
    arguments = list(map(str, command))
    return measure_time(lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, **options)).wall


#: A program that runs a command and prints its peak memory in bytes. A child of a large process, such as a benchmark,
#: would count the memory of its parent.
_MEASURE_MEMORY: Final = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def measure_peak_memory(*command: object) -> int:
    """Return the peak memory of a process in bytes; raise an error if it fails."""
    arguments = [sys.executable, "-c", _MEASURE_MEMORY, *map(str, command)]
    return int(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)


class Rounds:
    """Times of several works, one of each per round."""

    def __init__(self, works: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = False) -> None:
        if warm_up:  # load libraries, fill caches and compile before the first round
            for work in works.values():
                work()
        self.rows = [{name: work() for name, work in works.items()} for _ in range(rounds)]

    def median(self, name: str) -> float:
        return median(row[name] for row in self.rows)

    def ratio(self, name: str, other: str) -> float:
        """Return the median over the rounds of the ratio of two times."""
        return median(row[name] / row[other] for row in self.rows)

    def best(self, name: str) -> float:
        return min(row[name] for row in self.rows)
