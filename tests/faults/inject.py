"""Fail every call on a file that emodna-prep makes, one after the other: `python -m tests.faults.inject`.

Each run meets one fault at one call, or from that call on: a full disk, a quota, an I/O error, a folder that became
read-only, no descriptors left, a write that is cut short. It must end with one line that names a file, or go on to the
right end; the store must be whole, and the next run must end as an undisturbed one does, byte for byte.
"""

from __future__ import annotations

import errno
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from tests.faults import forking, scenario
from tests.faults.layer import Call, Watcher, install
from tests.faults.scenario import Scenario

#: What can go wrong with each call on the store's folder: once, or from then on.
WRITING: Final = {
    "create": ("ENOSPC+", "EDQUOT+", "EROFS+", "EMFILE", "EIO"),
    "write": ("ENOSPC+", "EDQUOT+", "EIO", "short"),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "EROFS+", "ENOSPC"),
    "mkdir": ("ENOSPC", "EROFS+"),
    "touch": ("EROFS+",),
    "unlink": ("EIO", "EROFS+"),
    "lock": ("ENOLCK", "EOPNOTSUPP+", "ENOSYS+"),
}
READING: Final = {
    "open": ("EIO", "EMFILE", "ESTALE", "ENFILE+"),
    "read": ("EIO", "ESTALE", "EIO+"),
    "list": ("EIO", "EMFILE"),
    "stat": ("EIO", "ESTALE"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at one call."""

    operation: str
    place: str
    """Phase of the run, as the scenario names it."""
    number: int
    """Which of the calls of this operation in this phase, from 1."""
    kind: str
    """Name of an error, with + if it stays; or `short`: half of what is to be written is."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.operation} {self.number} of {self.place!r}"


class Faulty(Watcher):
    """Fails a call."""

    def __init__(self, of: Scenario, fault: Fault) -> None:
        self._of, self._fault, self._seen = of, fault, 0
        self._lock = threading.Lock()
        self._failing: str | None = None
        """Path of the call that failed."""

    def before(self, call: Call) -> int | None:
        fault = self._fault
        here = (call.operation, scenario.phase_of(*call, self._of)) == (fault.operation, fault.place)
        with self._lock:
            self._seen += here
            now = here and self._seen == fault.number
            # An error that stays: that of this file where a file is read, else of all that is done so.
            same = call.path == self._failing if call.operation == "read" else call.operation == fault.operation
            stays = fault.kind.endswith("+") and self._failing is not None and same
            if now:
                self._failing = call.path
        if not (now or stays):
            return None
        if fault.kind == "short":
            return 7
        number = getattr(errno, fault.kind.rstrip("+"))
        # A call on a path names it, one on an open file does not.
        named = (call.path,) if call.operation not in ("read", "write", "fsync", "lock") else ()
        raise OSError(number, os.strerror(number), *named)


def faults(of: Scenario, cache: Path) -> Iterator[Fault]:
    """Every fault of every call of an undisturbed run."""
    counts = Counter(scenario.calls_of(of, cache))
    for (operation, place), calls in sorted(counts.items()):
        for kind in WRITING.get(operation, ()) or READING.get(operation, ()):
            for number in range(1, calls + 1):
                yield Fault(operation, place, number, kind)


def mixed(chosen: list[Fault], draw: random.Random) -> list[Fault]:
    """Faults in random order, but one of each kind of call and error before the second of any."""
    draw.shuffle(chosen)
    seen = Counter[tuple[str, str]]()
    turns = []
    for fault in chosen:
        seen[fault.operation, fault.kind] += 1
        turns.append(seen[fault.operation, fault.kind])
    return [fault for _, fault in sorted(zip(turns, chosen, strict=True), key=lambda pair: pair[0])]


def suffer(of: Scenario, cache: Path, fault: Fault) -> str:
    """Run once with a fault; return how it ended: `told`, `tolerated`, or `rejected` for an unreadable new file."""
    store = scenario.copy_older(of, cache)

    def faulty() -> None:
        install([of.root, store], Faulty(of, fault))
        of.prep(cache, "--no-wait", "--json")()

    ended = forking.run(faulty)
    found = scenario.opened(store)
    assert "Traceback" not in ended.err, f"{fault}: {ended.err}"
    assert ended.code in (0, 1), f"{fault}: {ended}"
    if ended.code:
        line = scenario.error_line(ended)
        assert str(of.root) in line or str(store) in line, f"{fault}: names no file: {line}"
        assert line.count(": ") >= 3 or ";" in line, f"{fault}: says not what to do: {line}"
        assert found in (of.before, of.expected), fault
        outcome = "told"
    elif found == of.expected:
        outcome = "tolerated"
    else:
        lost = of.expected.audio.keys() - found.audio.keys()
        rejected = json.loads(ended.out)[0]["rejected"]
        assert not lost & of.before.audio.keys(), f"{fault}: lost {lost}"
        assert fault.place == "decode", f"{fault}: another end"
        assert len(lost) + 1 >= rejected, f"{fault}: {lost}"
        outcome = "rejected" if lost else "kept as it was"

    assert forking.run(of.prep(cache, "--no-wait")).code == 0, fault
    scenario.check_finished(of, cache)
    return outcome


@click.command()
@click.option("--sample", type=int, help="Only so many faults, drawn at random.  [default: all]")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", default="", help="Only faults whose name holds this.")
@click.option("--keep-going", is_flag=True, help="Count failures instead of ending at the first.")
def main(sample: int | None, seed: int, only: str, keep_going: bool) -> None:
    """Fail calls on files one by one, and print how the runs ended."""
    began, table, failures = time.perf_counter(), Counter[tuple[str, str, str]](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        of = scenario.make(folder)
        chosen = [fault for fault in faults(of, folder / "traced") if only in str(fault)]
        if sample is not None:
            chosen = mixed(chosen, random.Random(seed))[:sample]
        for number, fault in enumerate(chosen):
            try:
                outcome = suffer(of, folder / f"cache-{number}", fault)
            except AssertionError as error:
                if not keep_going:
                    raise
                click.echo(f"FAILED {fault}: {error}", err=True)
                failures, outcome = failures + 1, "FAILED"
            table[fault.operation, fault.kind.rstrip("+"), outcome] += 1
    click.echo("| call | fault | how the run ended | faults |\n|---|---|---|---:|")
    for (operation, kind, outcome), count in sorted(table.items()):
        click.echo(f"| {operation} | {kind} | {outcome} | {count} |")
    click.echo(f"| **all** | | | **{table.total()}** |\n\n{time.perf_counter() - began:.0f} s")
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
