"""Runs of emodna-fit on real RAVDESS and EMODB, side by side and resumable, for the tables of docs/RESULTS.md."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

PAIRS: Final = (("ravdess", "emodb"), ("emodb", "ravdess"))
SCORES: Final = {"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    src: str
    tgt: str
    task: str
    method: str
    seed: int
    options: tuple[str, ...] = ()
    """More of emodna-fit's, such as --add scl."""

    def folder(self, steps: int) -> str:
        """Name of its run's folder."""
        words = [self.src, self.tgt, self.task, self.method, *self.options, f"s{self.seed}", str(steps)]
        return "-".join(word.lstrip("-").replace(":", "") for word in words)


@dataclass(frozen=True, slots=True)
class Failed:
    """What emodna-fit said of a run that came to nothing."""

    why: str


def run(cell: Cell, steps: int, cache: Path, out: Path) -> dict[str, Any] | Failed:
    """Run one cell with one thread, or go on with it, or find it done: content of its result.json."""
    command = [
        str(Path(sys.executable).with_name("emodna-fit")),
        *("--src", cell.src, "--tgt", cell.tgt, "--task", cell.task, "--method", cell.method, *cell.options),
        *("--seed", str(cell.seed), "--steps", str(steps), "--threads", "1", "--cache", str(cache)),
        *("--out", str(out / cell.folder(steps)), "--resume", "--json", "--quiet"),
    ]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if ended.returncode == 0:
        result: dict[str, Any] = json.loads(ended.stdout)
        return result
    return Failed(ended.stderr.strip().rpartition("\n")[2] or f"exit {ended.returncode}")


def run_all(
    cells: Sequence[Cell], steps: int, cache: Path, out: Path, jobs: int
) -> Iterator[tuple[Cell, dict[str, Any] | Failed]]:
    """Run all cells, some side by side; each with what became of it, in their order, and told on standard error."""
    with ThreadPoolExecutor(jobs) as pool:
        ended = pool.map(lambda cell: run(cell, steps, cache, out), cells)
        for number, (cell, result) in enumerate(zip(cells, ended, strict=True), 1):
            what = " ".join([cell.src, "->", cell.tgt, cell.task, cell.method, *cell.options, f"seed {cell.seed}"])
            told = result.why if isinstance(result, Failed) else f"UAR {result['uar']:.1f}"
            click.echo(f"{number}/{len(cells)} {what}: {told}", err=True)
            yield cell, result


def scores(row: Mapping[str, float]) -> str:
    """The cells of a row of Markdown."""
    return " | ".join(f"{row[key]:.1f}" for key in SCORES)
