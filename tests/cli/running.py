"""Run a command in this process, or in a new one."""

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
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    def error(self) -> str:
        """Return the error; assert that it is the only line printed and that the exit code is 1."""
        assert self.code == 1, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line

    def usage(self) -> str:
        """Return the last line of a usage error; assert that the exit code is 2."""
        assert self.code == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        assert self.err.startswith("Usage: ")
        return self.err.rstrip().splitlines()[-1]


def make_runner(
    name: str, main: Callable[[], object], patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs the entry point of a command with its arguments."""

    def run(*arguments: object) -> CommandResult:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capture.readouterr()
        return CommandResult(int(ended.value.code or 0), captured.out, captured.err)

    return run


def run_script(name: str, *arguments: object, **options: Any) -> CommandResult:
    command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    return CommandResult(done.returncode, done.stdout, done.stderr)
