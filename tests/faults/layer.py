"""Observe the file calls of a process in some folders; an observer can fail them, cut them short, or kill the process.

This layer replaces the file functions of `os`, `io` and `fcntl`, so it depends on no name of the code under test. It
stays until the end of the process: install it in a child.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class FileCall(NamedTuple):
    """A call on a file."""

    operation: str
    """open, create, read, write, fsync, rename, unlink, mkdir, list, stat, touch or lock."""
    path: str
    """Absolute path; the new name in a rename."""


class FileObserver:
    """An observer of calls. If `before` raises an OSError, the call fails with it."""

    def before(self, call: FileCall) -> int | None:  # noqa: ARG002
        """Return the number of bytes that a write may write; None for all."""
        return None

    def after(self, call: FileCall) -> None:
        """Handle a successful call."""


def install_observer(folders: Sequence[Path], observer: FileObserver) -> None:
    """Observe all calls of this process on these folders and the files below them."""
    prefixes = tuple(f"{folder}{os.sep}" for folder in folders)
    folder_names = tuple(map(str, folders))
    names: dict[int, str] = {}

    def find_name(path: object) -> str | None:
        if isinstance(path, int):
            return names.get(path)
        if not isinstance(path, str | os.PathLike):
            return None
        name = str(Path(path).absolute())
        return name if name.startswith(prefixes) or name in folder_names else None

    def wrap(operation: str, original: Callable[..., Any], index: int = 0) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            name = find_name(arguments[index]) if len(arguments) > index else None
            if name is None:
                return original(*arguments, **options)
            observer.before(FileCall(operation, name))
            result = original(*arguments, **options)
            observer.after(FileCall(operation, name))
            return result

        return call

    os_open, io_open = os.open, io.open

    def open_descriptor(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        name = find_name(path)
        if name is None:
            descriptor = os_open(path, flags, *arguments, **options)
            names.pop(descriptor, None)
            return descriptor
        call = FileCall("create" if flags & os.O_CREAT else "open", name)
        observer.before(call)
        descriptor = os_open(path, flags, *arguments, **options)
        names[descriptor] = name
        observer.after(call)
        return descriptor

    class Raw(io.FileIO):
        """An unbuffered file whose reads and writes are observed."""

        def readinto(self, buffer: Any) -> int | None:  # type: ignore[override]
            return self._read(lambda: super(Raw, self).readinto(buffer))

        def readall(self) -> bytes:
            return self._read(lambda: super(Raw, self).readall())

        def read(self, size: int | None = -1) -> bytes:
            return self._read(lambda: super(Raw, self).read(-1 if size is None else size))

        def _read(self, read: Callable[[], Any]) -> Any:
            call = FileCall("read", str(self.name))
            observer.before(call)
            result = read()
            observer.after(call)
            return result

        def write(self, content: Any) -> int | None:  # type: ignore[override]
            call = FileCall("write", str(self.name))
            limit = observer.before(call)
            written = super().write(memoryview(content)[:limit])
            observer.after(call)
            return written

    def open_file(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        name = None if isinstance(file, int) else find_name(file)
        if name is None or "b" not in mode:
            return io_open(file, mode, buffering, *arguments, **options)
        call = FileCall("open" if "r" in mode else "create", name)
        observer.before(call)
        raw = Raw(name, mode.replace("b", ""))
        names[raw.fileno()] = name
        observer.after(call)
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
        return kind(raw)

    os.open = open_descriptor
    io.open = builtins.open = open_file  # type: ignore[assignment]
    os.fsync = wrap("fsync", os.fsync)
    os.replace = wrap("rename", os.replace, 1)
    os.rename = wrap("rename", os.rename, 1)
    os.unlink = os.remove = wrap("unlink", os.unlink)
    os.mkdir = wrap("mkdir", os.mkdir)
    os.listdir = wrap("list", os.listdir)
    os.scandir = wrap("list", os.scandir)
    os.stat = wrap("stat", os.stat)
    os.utime = wrap("touch", os.utime)
    fcntl.flock = wrap("lock", fcntl.flock)
