"""Kill emodna-prep at random times: `python -m tests.faults.kill --count 300`.

Half of the kills happen at a random time, the others just before or after a random file call, so that each phase is
hit. After each kill the store must be intact: the old one, or the new one after its commit. After one to four kills in
a row, the next preparation must reuse the finished work and give the bytes of an undisturbed preparation.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from tests.faults import forking, scenarios
from tests.faults.layer import FileCall, FileObserver, install_observer
from tests.faults.scenarios import Scenario

START, COMPUTE = "start", "extract"


@dataclass
class Tally:
    """Counts of kills and their results."""

    phases: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    committed: int = 0
    resumed: int = 0
    """Number of preparations to the end after kills."""
    reusing: int = 0
    """Number of those that reused shards of a killed preparation."""


class PhaseObserver(FileObserver):
    """An observer that writes the phase to shared memory, and kills the process at a given call."""

    def __init__(self, scenario: Scenario, page: mmap.mmap, kill_at: tuple[str, str, int] | None = None) -> None:
        self._scenario, self._page, self._kill_at = scenario, page, kill_at
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def before(self, call: FileCall) -> int | None:
        phase = scenarios.name_phase(*call, self._scenario)
        with self._lock:
            self._counts[phase] += 1
        self._record(phase)
        self._kill("before", phase)
        return None

    def after(self, call: FileCall) -> None:
        phase = scenarios.name_phase(*call, self._scenario)
        if phase == "commit":
            self._page[0] = 1
        self._kill("after", phase)
        if phase == "decode":
            self._record(COMPUTE)

    def _record(self, phase: str) -> None:
        self._page[1:64] = phase.encode().ljust(63, b"\0")

    def _kill(self, moment: str, phase: str) -> None:
        if self._kill_at == (moment, phase, self._counts[phase]):
            os.kill(os.getpid(), signal.SIGKILL)


def make_page() -> mmap.mmap:
    """Make memory to share with a child. The first byte is 1 after the commit; the name of the phase follows."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    shared[1:64] = START.encode().ljust(63, b"\0")
    return shared


def read_phase(shared: mmap.mmap) -> str:
    return shared[1:64].rstrip(b"\0").decode()


def measure_preparation(scenario: Scenario, cache: Path) -> tuple[Counter[str], float]:
    """Return the number of calls of a whole preparation by phase, and its duration in s."""
    began = time.perf_counter()
    calls = Counter(phase for _, phase in scenarios.list_calls(scenario, cache))
    return calls, time.perf_counter() - began


def prepare_and_kill(
    scenario: Scenario, cache: Path, draw: random.Random, calls: Counter[str], duration: float
) -> tuple[bool, str, bool]:
    """Prepare and kill; return True if the kill was in time, the phase, and True if it was after the commit."""
    shared, by_time = make_page(), draw.random() < 0.5
    at: tuple[str, str, int] | None = None
    if not by_time:
        phase = draw.choice(sorted(calls))
        at = (draw.choice(["before", "after"]), phase, draw.randint(1, calls[phase]))
    store = scenario.find_store(cache)

    def prepare_observed() -> None:
        install_observer([scenario.root, store], PhaseObserver(scenario, shared, at))
        scenario.make_prep(cache, "--no-wait")()

    child = forking.Child(prepare_observed)
    if by_time:
        time.sleep(draw.uniform(0, duration))
        child.kill()
    result = child.wait()
    assert result.code in (0, -signal.SIGKILL), result
    return result.code != 0, read_phase(shared), shared[0] == 1


def check_store(scenario: Scenario, store: Path, *, committed: bool) -> None:
    """Check that a store is intact, and that it is the old or the new one."""
    found = scenarios.open_in_child(store)
    # A kill may happen between the rename of store.json and its record.
    allowed = [scenario.expected] if committed else [scenario.before, scenario.expected]
    assert found in allowed, f"neither the old store nor the new: {sorted(found.files)}"


def resume_preparation(scenario: Scenario, cache: Path, *, committed: bool) -> bool:
    """Prepare to the end; return True if shards of a killed preparation were reused."""
    store = scenario.find_store(cache)
    finished = forking.evaluate(lambda: sorted(scenarios.list_finished(store)))
    (report,) = forking.run_child(scenario.make_prep(cache, "--no-wait", "--json")).json  # the lock is free
    reusable = scenario.unchanged_utterances | ({*finished} & scenario.expected.audio.keys())
    expected = len(scenario.expected.audio) if committed else len(reusable)
    assert report["reused"] >= expected, f"{report['reused']} utterances reused of {expected} that were finished"
    scenarios.check_finished(scenario, cache)
    return not committed and len(reusable) > len(scenario.unchanged_utterances)


def run_campaign(scenario: Scenario, folder: Path, count: int, seed: int) -> Tally:
    draw, tally = random.Random(seed), Tally()
    calls, duration = measure_preparation(scenario, folder / "traced")
    while tally.kills < count:
        cache = folder / f"cache-{tally.resumed}"
        store = scenarios.copy_older_store(scenario, cache)
        committed = False
        for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
            is_in_time, phase, is_committed = prepare_and_kill(scenario, cache, draw, calls, duration)
            if is_in_time:
                tally.kills += 1
                tally.phases[phase] += 1
                tally.committed += is_committed
            committed |= is_committed or not is_in_time
            check_store(scenario, store, committed=committed)
            if tally.kills == count:
                break
        tally.reusing += resume_preparation(scenario, cache, committed=committed)
        tally.resumed += 1
    return tally


@click.command()
@click.option("--count", default=300, show_default=True, help="Runs to kill.")
@click.option("--seed", default=0, show_default=True)
@click.option("--root", type=click.Path(path_type=Path, exists=True), help="A corpus's audio.  [default: synthesised]")
@click.option("--corpus", default="emodb", show_default=True)
def main(count: int, seed: int, root: Path | None, corpus: str) -> None:
    """Kill emodna-prep at random times and print the number of kills per phase."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        scenario = scenarios.make_scenario(Path(folder), corpus=corpus, source=root and root.absolute())
        tally = run_campaign(scenario, Path(folder), count, seed)
    click.echo("| phase | kills |\n|---|---:|")
    for name, kills in sorted(tally.phases.items()):
        click.echo(f"| {name} | {kills} |")
    click.echo(f"| **all** | **{tally.kills}** |")
    click.echo(
        f"\n{tally.kills} kills (seed {seed}), {tally.committed} of them after the commit: every store was intact. "
        f"{tally.resumed} preparations were resumed and gave the bytes of an undisturbed one; "
        f"{tally.reusing} of them reused shards of a killed one. {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
