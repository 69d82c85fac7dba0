"""metrics.jsonl: what a run logs while it trains."""

import json
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
        """Add a line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
