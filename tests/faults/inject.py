"""Fail every file call of emodna-prep, one after the other: `python -m tests.faults.inject`.

Each preparation has one fault at one call, or from that call on: a full disk, a quota, an I/O error, a folder that
became read-only, no descriptors, a short write. It must succeed, or end with one line that names a file. The store must
be intact, and the next preparation must give the bytes of an undisturbed one.
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

from tests.faults import forking, scenarios
from tests.faults.layer import FileCall, FileObserver, install_observer
from tests.faults.scenarios import Scenario

#: Errors of each call on the folder of the store: once, or with + from then on.
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
    """A fault at one call."""

    operation: str
    place: str
    """Phase of the preparation, from `name_phase`."""
    number: int
    """Number of the call among those of this operation and phase, from 1."""
    kind: str
    """Name of an error, with + if it stays; or `short` for a short write."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.operation} {self.number} of {self.place!r}"


class FaultInjector(FileObserver):
    """An observer that fails a call."""

    def __init__(self, scenario: Scenario, fault: Fault) -> None:
        self._scenario, self._fault, self._count = scenario, fault, 0
        self._lock = threading.Lock()
        self._failing: str | None = None
        """Path of the call that failed."""

    def before(self, call: FileCall) -> int | None:
        fault = self._fault
        is_match = (call.operation, scenarios.name_phase(*call, self._scenario)) == (fault.operation, fault.place)
        with self._lock:
            self._count += is_match
            is_first = is_match and self._count == fault.number
            # A lasting error affects reads of the same file, or all calls of the same operation.
            is_alike = call.path == self._failing if call.operation == "read" else call.operation == fault.operation
            is_later = fault.kind.endswith("+") and self._failing is not None and is_alike
            if is_first:
                self._failing = call.path
        if not (is_first or is_later):
            return None
        if fault.kind == "short":
            return 7
        number = getattr(errno, fault.kind.rstrip("+"))
        # Errors of open files have no path.
        path = (call.path,) if call.operation not in ("read", "write", "fsync", "lock") else ()
        raise OSError(number, os.strerror(number), *path)


def list_faults(scenario: Scenario, cache: Path) -> Iterator[Fault]:
    """Yield every fault at every call of an undisturbed preparation."""
    counts = Counter(scenarios.list_calls(scenario, cache))
    for (operation, place), calls in sorted(counts.items()):
        for kind in WRITING.get(operation, ()) or READING.get(operation, ()):
            for number in range(1, calls + 1):
                yield Fault(operation, place, number, kind)


def shuffle_evenly(chosen: list[Fault], draw: random.Random) -> list[Fault]:
    """Return the faults in random order, with all kinds of calls and errors evenly spread."""
    draw.shuffle(chosen)
    counts = Counter[tuple[str, str]]()
    turns = []
    for fault in chosen:
        counts[fault.operation, fault.kind] += 1
        turns.append(counts[fault.operation, fault.kind])
    return [fault for _, fault in sorted(zip(turns, chosen, strict=True), key=lambda pair: pair[0])]


def run_with_fault(scenario: Scenario, cache: Path, fault: Fault) -> str:
    """Prepare with a fault; return `reported`, `tolerated`, `rejected` (a new file) or `kept` (an old file)."""
    store = scenarios.copy_older_store(scenario, cache)

    def run_faulty() -> None:
        install_observer([scenario.root, store], FaultInjector(scenario, fault))
        scenario.make_prep(cache, "--no-wait", "--json")()

    result = forking.run_child(run_faulty)
    found = scenarios.open_in_child(store)
    assert "Traceback" not in result.err, f"{fault}: {result.err}"
    assert result.code in (0, 1), f"{fault}: {result}"
    if result.code:
        line = scenarios.find_error_line(result)
        assert str(scenario.root) in line or str(store) in line, f"{fault}: names no file: {line}"
        assert line.count(": ") >= 3 or ";" in line, f"{fault}: gives no advice: {line}"
        assert found in (scenario.before, scenario.expected), fault
        outcome = "reported"
    elif found == scenario.expected:
        outcome = "tolerated"
    else:
        lost = scenario.expected.audio.keys() - found.audio.keys()
        rejected = json.loads(result.out)[0]["rejected"]
        assert not lost & scenario.before.audio.keys(), f"{fault}: lost {lost}"
        assert fault.place == "decode", f"{fault}: unexpected end"
        assert len(lost) + 1 >= rejected, f"{fault}: {lost}"
        outcome = "rejected" if lost else "kept"

    assert forking.run_child(scenario.make_prep(cache, "--no-wait")).code == 0, fault
    scenarios.check_finished(scenario, cache)
    return outcome


@click.command()
@click.option("--sample", type=int, help="Number of random faults.  [default: all]")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", default="", help="Only faults whose name contains this.")
@click.option("--keep-going", is_flag=True, help="Count failures instead of stopping at the first.")
def main(sample: int | None, seed: int, only: str, keep_going: bool) -> None:
    """Fail file calls one by one, and print the outcomes."""
    began, table, failures = time.perf_counter(), Counter[tuple[str, str, str]](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = scenarios.make_scenario(folder)
        chosen = [fault for fault in list_faults(scenario, folder / "traced") if only in str(fault)]
        if sample is not None:
            chosen = shuffle_evenly(chosen, random.Random(seed))[:sample]
        for number, fault in enumerate(chosen):
            try:
                outcome = run_with_fault(scenario, folder / f"cache-{number}", fault)
            except AssertionError as error:
                if not keep_going:
                    raise
                click.echo(f"FAILED {fault}: {error}", err=True)
                failures, outcome = failures + 1, "FAILED"
            table[fault.operation, fault.kind.rstrip("+"), outcome] += 1
    click.echo("| call | fault | outcome | faults |\n|---|---|---|---:|")
    for (operation, kind, outcome), count in sorted(table.items()):
        click.echo(f"| {operation} | {kind} | {outcome} | {count} |")
    click.echo(f"| **all** | | | **{table.total()}** |\n\n{time.perf_counter() - began:.0f} s")
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
