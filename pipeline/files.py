"""Writing files so that a reader sees the old content or the new, never half of it."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: Bytes that small parts of a content are gathered into.
_BUFFER: Final = 1 << 20


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write under a temporary name, flush to the disk, rename into place, and flush the folder.

    The content comes whole or in parts. The temporary name carries no suffix of a store's files, so that an unfinished
    file is never taken for one.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb", buffering=_BUFFER) as stream:
            stream.writelines([content] if isinstance(content, bytes) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say whose file it is
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
