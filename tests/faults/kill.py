"""Kill emodna-prep at random times: `python -m tests.faults.kill --count 300`.

Half of the kills happen at a random time, the others just before or after a random file call, so that each phase is
hit. After each kill the store must be intact: the old one, or the new one after its commit. After one to four kills in
a row, the next run must reuse the finished work and give the bytes of an undisturbed run.
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
    finishing_runs: int = 0
    reused_finished: int = 0
    """Number of finishing runs that reused shards of a killed run."""


class PhaseObserver(FileObserver):
    """An observer that writes the phase to shared memory, and kills the process at a given call."""

    def __init__(self, scenario: Scenario, page: mmap.mmap, kill_at: tuple[str, str, int] | None = None) -> None:
        self._scenario, self._page, self._kill_at = scenario, page, kill_at
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def before(self, call: FileCall) -> int | None:
        phase = scenarios.name_phase(*call, self._scenario)
        with self._lock:
            self._seen[phase] += 1
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
        if self._kill_at == (moment, phase, self._seen[phase]):
            os.kill(os.getpid(), signal.SIGKILL)


def make_page() -> mmap.mmap:
    """Make memory shared with a child: its first byte is 1 after the commit, and its phase follows."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    shared[1:64] = START.encode().ljust(63, b"\0")
    return shared


def read_phase(shared: mmap.mmap) -> str:
    return shared[1:64].rstrip(b"\0").decode()


def measure_run(scenario: Scenario, cache: Path) -> tuple[Counter[str], float]:
    """Return the number of calls of a whole run by phase, and its duration in s."""
    began = time.perf_counter()
    calls = Counter(phase for _, phase in scenarios.list_calls(scenario, cache))
    return calls, time.perf_counter() - began


def run_and_kill(
    scenario: Scenario, cache: Path, draw: random.Random, calls: Counter[str], length: float
) -> tuple[bool, str, bool]:
    """Run once and kill; return whether the kill was in time, the phase, and whether it had committed."""
    shared, by_time = make_page(), draw.random() < 0.5
    at: tuple[str, str, int] | None = None
    if not by_time:
        where = draw.choice(sorted(calls))
        at = (draw.choice(["before", "after"]), where, draw.randint(1, calls[where]))
    store = scenario.store(cache)

    def run_observed() -> None:
        install_observer([scenario.root, store], PhaseObserver(scenario, shared, at))
        scenario.make_prep(cache, "--no-wait")()

    child = forking.Child(run_observed)
    if by_time:
        time.sleep(draw.uniform(0, length))
        child.kill()
    ended = child.wait()
    assert ended.code in (0, -signal.SIGKILL), ended
    return ended.code != 0, read_phase(shared), shared[0] == 1


def check_store(scenario: Scenario, store: Path, *, committed: bool) -> None:
    """Check that the store is intact, and is the old or the new one."""
    found = scenarios.open_in_child(store)
    # A kill may happen between the rename of store.json and its record.
    allowed = [scenario.expected] if committed else [scenario.before, scenario.expected]
    assert found in allowed, f"neither the old store nor the new: {sorted(found.files)}"


def finish_run(scenario: Scenario, cache: Path, *, committed: bool) -> bool:
    """Run to the end; return True if it reused shards of a killed run."""
    store = scenario.store(cache)
    finished = forking.evaluate(lambda: sorted(scenarios.list_finished(store)))
    (report,) = forking.run_child(scenario.make_prep(cache, "--no-wait", "--json")).json  # the lock is free
    kept = scenario.unchanged_utterances | ({*finished} & scenario.expected.audio.keys())
    expected = len(scenario.expected.audio) if committed else len(kept)
    assert report["reused"] >= expected, f"{report['reused']} utterances reused of {expected} that were finished"
    scenarios.check_finished(scenario, cache)
    return not committed and len(kept) > len(scenario.unchanged_utterances)


def run_campaign(scenario: Scenario, folder: Path, count: int, seed: int) -> Tally:
    """Kill this many runs."""
    draw, tally = random.Random(seed), Tally()
    calls, length = measure_run(scenario, folder / "traced")
    number = 0
    while tally.kills < count:
        cache = folder / f"cache-{number}"
        number += 1
        store = scenarios.copy_older_store(scenario, cache)
        committed = False
        for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
            in_time, where, now = run_and_kill(scenario, cache, draw, calls, length)
            if in_time:
                tally.kills += 1
                tally.phases[where] += 1
                tally.committed += now
            committed |= now or not in_time
            check_store(scenario, store, committed=committed)
            if tally.kills == count:
                break
        tally.reused_finished += finish_run(scenario, cache, committed=committed)
        tally.finishing_runs += 1
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
        f"{tally.finishing_runs} finishing runs: each gave the bytes of an undisturbed run; "
        f"{tally.reused_finished} of them reused shards of a killed run. "
        f"{time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
