"""Commands in forked children: as real as processes get, without a start of seconds each.

The parent imports what a run needs and never runs one, so that it has no thread of its own and every child begins
alike.
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
class Ended:
    """How a child ended and what it printed."""

    code: int
    """Exit code; the negative number of the signal that killed it."""
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as one JSON document."""
        assert self.code == 0, self
        return json.loads(self.out)


class Child:
    """A forked process that runs a function, then ends; its exit code is that of a SystemExit."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 (they live as long as the child)
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
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def kill(self) -> None:
        """Kill it by SIGKILL, if it has not ended."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 3600) -> Ended:
        """Wait for its end; one that does not come in time is killed, which the code tells."""
        deadline = time.monotonic() + seconds
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.002)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
            stream.close()
        return Ended(os.waitstatus_to_exitcode(ended[1]), *texts)


def run(action: Callable[[], object]) -> Ended:
    """Run a function in a child to its end."""
    return Child(action).wait()


class Asked:
    """A child that works out something, which JSON can carry; what it prints before does not matter."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._child = Child(lambda: print(f"\n{json.dumps(action())}"))

    def answer(self) -> Any:
        """Wait for it."""
        ended = self._child.wait()
        assert ended.code == 0, ended
        return json.loads(ended.out.splitlines()[-1])


def answer(action: Callable[[], object]) -> Any:
    """Return what a function returns in a child, as JSON carries it."""
    return Asked(action).answer()


def preload(action: Callable[[], object]) -> None:
    """Import all modules that a function needs, as a child finds them out."""

    def modules() -> list[str]:
        before = set(sys.modules)
        succeed(action)
        return [name for name in sys.modules if name not in before]

    for name in answer(modules):
        with suppress(ImportError):
            importlib.import_module(name)


def succeed(action: Callable[[], object]) -> None:
    """Run a command in this process, which goes on if it succeeded."""
    try:
        action()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"exit {ended.code}") from None


def command(main: Callable[[], object], *arguments: object) -> Callable[[], object]:
    """Entry point of a command with its arguments."""

    def call() -> None:
        sys.argv = [main.__module__.rpartition(".")[2], *map(str, arguments)]
        main()

    return call
