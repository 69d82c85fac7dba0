"""Fuzz all code that reads external data: `python -m tests.faults.fuzz --minutes 10 --seed 0`.

The targets run in processes with limited memory and time, so that a crash or a hang is a finding. Every trial has its
own random generator: `--only TARGET:SEED:NUMBER` repeats one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

#: Memory limit of a process in bytes: torch and Arrow map some unused GB.
_BYTES = 8 * 2**30
#: Time limit of a batch in s.
_SECONDS = 300
_BATCH = 200


@dataclass
class Tally:
    """Results of the trials of a target."""

    trials: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def run_batch(targets: Sequence[str], seed: int, start: int, count: int) -> dict[str, Tally]:
    """Run some trials of some targets in a process, and in a new one after each crash."""
    tallies = {target: Tally() for target in targets}
    at, stop = start * len(targets), (start + count) * len(targets)
    while at < stop:
        with tempfile.TemporaryDirectory() as folder:
            position, results = Path(folder) / "position", Path(folder) / "results"
            child = json.dumps([list(targets), seed, at, stop, str(position), str(results)])
            command = [sys.executable, "-m", "tests.faults.fuzz", "--child", child]
            environment = {**os.environ, "TMPDIR": folder}
            try:
                ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment)
                problem = f"exit {ran.returncode}: {ran.stderr[-600:]}" if ran.returncode else None
            except subprocess.TimeoutExpired:
                problem = f"no end in {_SECONDS} s"
            last = int(position.read_text()) if position.exists() else at
            lines = results.read_text().splitlines() if results.exists() else []
        for name, outcome, finding in map(json.loads, lines):
            tally = tallies[name]
            tally.outcomes[outcome] += 1
            tally.trials += 1
            tally.findings += [finding] if finding else []
        if not problem:
            break
        number, index = divmod(last, len(targets))
        tallies[targets[index]].findings.append(f"{targets[index]}:{seed}:{number}: {problem}")
        at = last + 1
    return tallies


def _run_trials(targets: list[str], seed: int, start: int, stop: int, position: str, results: str) -> None:
    """Run trials in a child; write the position of the current trial, and all results."""
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tests.faults.targets import find_target

    raised: list[str] = []
    sys.unraisablehook = lambda hook: raised.append(repr(hook.exc_value))
    with Path(position).open("w") as position_file, Path(results).open("w") as result_file, warnings.catch_warnings():
        warnings.simplefilter("error")
        for at in range(start, stop):
            position_file.seek(0)
            position_file.write(f"{at}\n")
            position_file.flush()
            number, index = divmod(at, len(targets))
            name, outcome, finding = targets[index], "FOUND", None
            try:
                outcome = find_target(name)(_make_generator(name, seed, number))
            except Exception:
                raised.append(traceback.format_exc(limit=-4))
            if raised:
                outcome, finding = "FOUND", f"{name}:{seed}:{number}: {' / '.join(raised)}"
                raised.clear()
            print(json.dumps([name, outcome, finding]), file=result_file, flush=True)


def _make_generator(target: str, seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(target.encode()), seed, number])


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=float, default=10.0, help="Duration for all targets together.")
@click.option("--seed", type=int, default=0, help="Seed of the inputs.")
@click.option("--target", "chosen", multiple=True, help="Only these targets.")
@click.option("--only", help="TARGET:SEED:NUMBER: one trial, in this process.")
@click.option("--child", hidden=True)
def main(minutes: float, seed: int, chosen: Sequence[str], only: str | None, child: str | None) -> None:
    """Fuzz, and print the outcomes of each target; exit 1 if there is a finding."""
    if child is not None:
        _run_trials(*json.loads(child))
        return
    from tests.faults.targets import TARGETS

    if only is not None:
        name, *rest = only.split(":")
        click.echo(TARGETS[name](_make_generator(name, *map(int, rest))))
        return
    names = list(chosen or TARGETS)
    tallies = {name: Tally() for name in names}
    end = time.monotonic() + 60 * minutes
    start = 0
    while time.monotonic() < end:
        for name, ran in run_batch(names, seed, start, _BATCH).items():
            for finding in ran.findings:
                click.echo(f"FOUND {finding}", err=True)
            tallies[name].trials += ran.trials
            tallies[name].outcomes += ran.outcomes
            tallies[name].findings += ran.findings
        start += _BATCH
    _print_table(tallies)
    sys.exit(int(any(tally.findings for tally in tallies.values())))


def _print_table(tallies: dict[str, Tally]) -> None:
    click.echo("| target | inputs | findings | outcomes |\n|---|---:|---:|---|")
    for name, tally in tallies.items():
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in tally.outcomes.most_common())
        click.echo(f"| {name} | {tally.trials} | {len(tally.findings)} | {outcomes} |")


if __name__ == "__main__":
    main()
