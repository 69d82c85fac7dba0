"""metrics.jsonl: what a run logs while it trains."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from emodna.model.errors import RunError
from emodna.pipeline.files import write_atomically


class MetricsLog:
    """A line of values every so many steps; a resumed run goes on where its checkpoint was.

    Parameters
    ----------
    keep
        Steps of the checkpoint: later lines, and half a line that a kill left, are dropped.

    Raises
    ------
    RunError
        A damaged log.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        lines = path.read_text(errors="replace").splitlines(keepends=True) if keep and path.exists() else []
        if lines and not lines[-1].endswith("\n"):
            lines.pop()  # a kill cut it short
        write_atomically(path, "".join(line for line in lines if self._step(line) <= keep).encode())

    def _step(self, line: str) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self._path}: damaged: {line.strip()!r:.40} is not a line of the log") from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line; what is not finite, as something that a method monitors may be, is null in it."""
        line = {"step": step, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Make sure that the lines so far outlive a power cut: a checkpoint counts on them."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())
