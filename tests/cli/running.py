"""Run a command in this process as its entry point does, or in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "CommandResult"]


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document and nothing else."""
        return json.loads(self.out)

    def error(self) -> str:
        """The error, which has to be one line on standard error; nothing else was printed, and the exit code is 1."""
        assert self.code == 1, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line

    def usage(self) -> str:
        """Click's message of a wrong usage: its last line; the exit code is 2."""
        assert self.code == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        assert self.err.startswith("Usage: ")
        return self.err.rstrip().splitlines()[-1]


def make_runner(
    name: str, main: Callable[[], object], patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> Command:
    """Make a function that runs a command's entry point with the arguments it is given."""

    def run(*arguments: object) -> CommandResult:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capture.readouterr()
        return CommandResult(int(ended.value.code or 0), captured.out, captured.err)

    return run


def run_script(name: str, *arguments: object, **options: Any) -> CommandResult:
    """Run an installed command as a user does."""
    command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    return CommandResult(done.returncode, done.stdout, done.stderr)
