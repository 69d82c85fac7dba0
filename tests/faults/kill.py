"""Kill emodna-prep at random instants: `python -m tests.faults.kill --count 300`.

Every second kill falls at a random time; the others just before or after a random call on a file, so that each phase of
a run is hit. After each the store must open whole and be the old one or, once it was committed, the new one. After one
to four kills in a row the next run must use what was finished, and end as an undisturbed one does, byte for byte.
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

from tests.faults import forking, scenario
from tests.faults.layer import Call, Watcher, install
from tests.faults.scenario import Scenario

START, COMPUTE = "start", "extract"


@dataclass
class Tally:
    """What the kills showed."""

    phases: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    committed: int = 0
    finishing_runs: int = 0
    reused_finished: int = 0
    """Finishing runs that used shards which only a killed run had finished."""


class Phases(Watcher):
    """Notes in shared memory where a run is, and kills it there if it should."""

    def __init__(self, of: Scenario, page: mmap.mmap, kill_at: tuple[str, str, int] | None = None) -> None:
        self._of, self._page, self._kill_at = of, page, kill_at
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def before(self, call: Call) -> int | None:
        phase = scenario.phase_of(*call, self._of)
        with self._lock:
            self._seen[phase] += 1
        self._note(phase)
        self._kill("before", phase)
        return None

    def after(self, call: Call) -> None:
        phase = scenario.phase_of(*call, self._of)
        if phase == "commit":
            self._page[0] = 1
        self._kill("after", phase)
        if phase == "decode":
            self._note(COMPUTE)

    def _note(self, phase: str) -> None:
        self._page[1:64] = phase.encode().ljust(63, b"\0")

    def _kill(self, moment: str, phase: str) -> None:
        if self._kill_at == (moment, phase, self._seen[phase]):
            os.kill(os.getpid(), signal.SIGKILL)


def page() -> mmap.mmap:
    """Memory that a child shares: whether it has committed, and the phase it is in."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    shared[1:64] = START.encode().ljust(63, b"\0")
    return shared


def phase(shared: mmap.mmap) -> str:
    return shared[1:64].rstrip(b"\0").decode()


def undisturbed(of: Scenario, cache: Path) -> tuple[Counter[str], float]:
    """Calls of a whole run by phase, and how long it takes in s."""
    began = time.perf_counter()
    calls = Counter(phase for _, phase in scenario.calls_of(of, cache))
    return calls, time.perf_counter() - began


def killed(
    of: Scenario, cache: Path, draw: random.Random, calls: Counter[str], length: float
) -> tuple[bool, str, bool]:
    """Run once and kill; whether it was killed in time, in which phase, and whether it had committed."""
    shared, by_time = page(), draw.random() < 0.5
    at: tuple[str, str, int] | None = None
    if not by_time:
        where = draw.choice(sorted(calls))
        at = (draw.choice(["before", "after"]), where, draw.randint(1, calls[where]))
    store = of.store(cache)

    def watched() -> None:
        install([of.root, store], Phases(of, shared, at))
        of.prep(cache, "--no-wait")()

    child = forking.Child(watched)
    if by_time:
        time.sleep(draw.uniform(0, length))
        child.kill()
    ended = child.wait()
    assert ended.code in (0, -signal.SIGKILL), ended
    return ended.code != 0, phase(shared), shared[0] == 1


def check(of: Scenario, store: Path, *, committed: bool) -> None:
    """The store opens whole, and is the old one or the new one."""
    found = scenario.opened(store)
    # A kill may fall between the rename of store.json and the note of it.
    allowed = [of.expected] if committed else [of.before, of.expected]
    assert found in allowed, f"neither the old store nor the new: {sorted(found.files)}"


def finish(of: Scenario, cache: Path, *, committed: bool) -> bool:
    """Run to the end; whether shards were used that only a killed run had finished."""
    store = of.store(cache)
    finished = forking.answer(lambda: sorted(scenario.finished(store)))
    (report,) = forking.run(of.prep(cache, "--no-wait", "--json")).json  # the lock died with its holder
    kept = of.unchanged | ({*finished} & of.expected.audio.keys())
    expected = len(of.expected.audio) if committed else len(kept)
    assert report["reused"] >= expected, f"{report['reused']} utterances reused of {expected} that were finished"
    scenario.check_finished(of, cache)
    return not committed and len(kept) > len(of.unchanged)


def campaign(of: Scenario, folder: Path, count: int, seed: int) -> Tally:
    """Kill so many runs."""
    draw, tally = random.Random(seed), Tally()
    calls, length = undisturbed(of, folder / "traced")
    number = 0
    while tally.kills < count:
        cache = folder / f"cache-{number}"
        number += 1
        store = scenario.copy_older(of, cache)
        committed = False
        for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
            in_time, where, now = killed(of, cache, draw, calls, length)
            if in_time:
                tally.kills += 1
                tally.phases[where] += 1
                tally.committed += now
            committed |= now or not in_time
            check(of, store, committed=committed)
            if tally.kills == count:
                break
        tally.reused_finished += finish(of, cache, committed=committed)
        tally.finishing_runs += 1
    return tally


@click.command()
@click.option("--count", default=300, show_default=True, help="Runs to kill.")
@click.option("--seed", default=0, show_default=True)
@click.option("--root", type=click.Path(path_type=Path, exists=True), help="A corpus's audio.  [default: synthesised]")
@click.option("--corpus", default="emodb", show_default=True)
def main(count: int, seed: int, root: Path | None, corpus: str) -> None:
    """Kill emodna-prep at random instants and print how many kills fell into each phase."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        of = scenario.make(Path(folder), corpus=corpus, source=root and root.absolute())
        tally = campaign(of, Path(folder), count, seed)
    click.echo("| phase | kills |\n|---|---:|")
    for name, kills in sorted(tally.phases.items()):
        click.echo(f"| {name} | {kills} |")
    click.echo(f"| **all** | **{tally.kills}** |")
    click.echo(
        f"\n{tally.kills} kills (seed {seed}), {tally.committed} of them behind the commit: every store was whole. "
        f"{tally.finishing_runs} finishing runs: every end state that of an undisturbed run; "
        f"{tally.reused_finished} of them used shards that a killed run had finished. "
        f"{time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
