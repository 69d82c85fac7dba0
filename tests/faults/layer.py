"""A layer between a process and its files: it sees each call on watched folders, and may fail it, cut it short or kill.

It stands in for the functions of `os`, `io` and `fcntl` that Python code reaches files by, so that it knows no name of
the code under test. It stays for the life of a process: install it in a child.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call on a file."""

    operation: str
    """open, create, read, write, fsync, rename, unlink, mkdir, list, stat, touch or lock."""
    path: str
    """Absolute; of a rename, the new name."""


class Watcher:
    """Is told of each call. `before` may raise an OSError, which becomes the call's."""

    def before(self, call: Call) -> int | None:  # noqa: ARG002
        """Return how many bytes a write may write; None for all."""
        return None

    def after(self, call: Call) -> None:
        """Be told that a call succeeded."""


def install(folders: Sequence[Path], watcher: Watcher) -> None:
    """Watch all calls of this process on files below some folders."""
    below = tuple(f"{folder}{os.sep}" for folder in folders)
    whole = tuple(map(str, folders))
    names: dict[int, str] = {}

    def watched(path: object) -> str | None:
        if isinstance(path, int):
            return names.get(path)
        if not isinstance(path, str | os.PathLike):
            return None
        name = str(Path(path).absolute())
        return name if name.startswith(below) or name in whole else None

    def around(operation: str, original: Callable[..., Any], which: int = 0) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            name = watched(arguments[which]) if len(arguments) > which else None
            if name is None:
                return original(*arguments, **options)
            watcher.before(Call(operation, name))
            result = original(*arguments, **options)
            watcher.after(Call(operation, name))
            return result

        return call

    os_open, io_open = os.open, io.open

    def open_descriptor(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        name = watched(path)
        if name is None:
            descriptor = os_open(path, flags, *arguments, **options)
            names.pop(descriptor, None)
            return descriptor
        call = Call("create" if flags & os.O_CREAT else "open", name)
        watcher.before(call)
        descriptor = os_open(path, flags, *arguments, **options)
        names[descriptor] = name
        watcher.after(call)
        return descriptor

    class Raw(io.FileIO):
        """An unbuffered file whose reads and writes are told."""

        def readinto(self, buffer: Any) -> int | None:  # type: ignore[override]
            return self._read(lambda: super(Raw, self).readinto(buffer))

        def readall(self) -> bytes:
            return self._read(lambda: super(Raw, self).readall())

        def read(self, size: int | None = -1) -> bytes:
            return self._read(lambda: super(Raw, self).read(-1 if size is None else size))

        def _read(self, read: Callable[[], Any]) -> Any:
            call = Call("read", str(self.name))
            watcher.before(call)
            result = read()
            watcher.after(call)
            return result

        def write(self, content: Any) -> int | None:  # type: ignore[override]
            call = Call("write", str(self.name))
            limit = watcher.before(call)
            written = super().write(memoryview(content)[:limit])
            watcher.after(call)
            return written

    def open_file(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        name = None if isinstance(file, int) else watched(file)
        if name is None or "b" not in mode:
            return io_open(file, mode, buffering, *arguments, **options)
        call = Call("open" if "r" in mode else "create", name)
        watcher.before(call)
        raw = Raw(name, mode.replace("b", ""))
        names[raw.fileno()] = name
        watcher.after(call)
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
        return kind(raw)

    os.open = open_descriptor
    io.open = builtins.open = open_file  # type: ignore[assignment]
    os.fsync = around("fsync", os.fsync)
    os.replace = around("rename", os.replace, 1)
    os.rename = around("rename", os.rename, 1)
    os.unlink = os.remove = around("unlink", os.unlink)
    os.mkdir = around("mkdir", os.mkdir)
    os.listdir = around("list", os.listdir)
    os.scandir = around("list", os.scandir)
    os.stat = around("stat", os.stat)
    os.utime = around("touch", os.utime)
    fcntl.flock = around("lock", fcntl.flock)
