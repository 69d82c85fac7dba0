"""What has become of the cells of a benchmark. It needs no torch."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from emodna.model.bench.plan import Bench, Cell
from emodna.model.errors import RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import RunFolder, read_json
from emodna.model.runs.listing import is_locked

State = Literal["done", "failed", "running", "interrupted", "waiting"]


#: Bytes at the end of metrics.jsonl in which there is a whole line.
_TAIL: Final = 8192


@dataclass(frozen=True, slots=True)
class Outcome:
    """A cell, and how far it is."""

    cell: Cell
    state: State
    result: Mapping[str, Any] | None = None
    """Content of result.json, of a cell that is done: scores in percent, null without labels of the target."""
    error: str | None = None
    """Of a failed cell: why."""


def outcomes(bench: Bench, cells: Sequence[Cell] | None = None) -> list[Outcome]:
    """What has become of all cells, or of some, in their order."""
    return [outcome(bench, cell) for cell in (bench.cells if cells is None else cells)]


def outcome(bench: Bench, cell: Cell) -> Outcome:
    """What has become of a cell; one whose files are damaged has failed."""
    run, failure = bench.folder(cell), bench.failure(cell)
    try:
        if run.done.exists():
            result = read_json(run.result)
            if missing := [key for key in SCORE_NAMES if key not in result]:
                return Outcome(cell, "failed", error=f"{run.result}: damaged (no {missing[0]})")
            return Outcome(cell, "done", result)
        if is_locked(run):
            return Outcome(cell, "running")
        if failure.exists():
            return Outcome(cell, "failed", error=str(read_json(failure).get("error")))
    except RunError as error:
        return Outcome(cell, "failed", error=str(error))
    return Outcome(cell, "interrupted" if run.config.exists() else "waiting")


def wall_seconds(result: Mapping[str, Any] | None) -> float | None:
    """What a run took, by its result.json; None where that is not known."""
    seconds = (result or {}).get("wall_seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
        return None
    return float(seconds)


def at_work(bench: Bench) -> bool:
    """Whether a process runs cells of a benchmark, or clears it up."""
    return is_locked(RunFolder(bench.out))  # whose lock is named as that of a run


def steps_done(run: RunFolder) -> int:
    """Steps that a running cell has logged, read off the end of its metrics.jsonl."""
    try:
        with run.metrics.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):  # the last one may be half written, the first one half read
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0
