"""What has become of the cells of a benchmark. It needs no torch."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final, Literal

from emodna.model.bench.spec import Experiment
from emodna.model.run_folder import RunFolder
from emodna.model.runs.listing import is_locked

State = Literal["done", "failed", "running", "interrupted", "waiting"]


#: Bytes at the end of metrics.jsonl in which there is a whole line.
_TAIL: Final = 8192


def wall_seconds(result: Mapping[str, Any] | None) -> float | None:
    """What a run took, by its result.json; None where that is not known."""
    seconds = (result or {}).get("wall_seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
        return None
    return float(seconds)


def at_work(bench: Experiment) -> bool:
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
