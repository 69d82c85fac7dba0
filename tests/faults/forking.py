"""Run commands in forked children, which start at once.

The parent only imports the modules of a command and never runs it. It therefore has no threads, and all children start
in the same state.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class ChildResult:
    """Exit code and output of a child."""

    code: int
    """Exit code; the negative number of the signal that killed it."""
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


class Child:
    """A forked process that runs a function; its exit code is that of a SystemExit."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 (open as long as the child)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(action)

    def _run(self, action: Callable[[], object]) -> NoReturn:
        code = 70
        try:
            for target, stream in enumerate(self._streams, start=1):
                os.dup2(stream.fileno(), target)
            action()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 3600) -> ChildResult:
        """Wait for the end of the child, and kill it after a time limit."""
        deadline = time.monotonic() + seconds
        while (status := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.002)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
            stream.close()
        return ChildResult(os.waitstatus_to_exitcode(status[1]), *texts)


def run_child(action: Callable[[], object]) -> ChildResult:
    return Child(action).wait()


class ChildTask:
    """A child that computes a JSON value; its other output is ignored."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._child = Child(lambda: print(f"\n{json.dumps(action())}"))

    def get_result(self) -> Any:
        result = self._child.wait()
        assert result.code == 0, result
        return json.loads(result.out.splitlines()[-1])


def evaluate(action: Callable[[], object]) -> Any:
    """Evaluate a function in a child; return its result by way of JSON."""
    return ChildTask(action).get_result()


def preload(action: Callable[[], object]) -> None:
    """Import all modules that a function imports in a child."""

    def list_new_modules() -> list[str]:
        before = set(sys.modules)
        run_here(action)
        return [name for name in sys.modules if name not in before]

    for name in evaluate(list_new_modules):
        with suppress(ImportError):
            importlib.import_module(name)


def run_here(action: Callable[[], object]) -> None:
    """Run a command in this process; raise an error if it fails."""
    try:
        action()
    except SystemExit as error:
        if error.code:
            raise RuntimeError(f"exit {error.code}") from None


def make_command(main: Callable[[], object], *arguments: object) -> Callable[[], object]:
    """Return a function that runs the entry point of a command with arguments."""

    def call() -> None:
        sys.argv = [main.__module__.rpartition(".")[2], *map(str, arguments)]
        main()

    return call
