"""Writing files so that a reader sees the old content or the new, never half of it."""

import contextlib
import os
import re
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename into place, and flush the folder.

    The temporary name carries no suffix of a store's files, so that an unfinished file is never taken for one.
    """
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
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


def temporary_for(path: Path) -> Path:
    """Name, unlike any other process's, under which a file or folder is written before it is renamed into place."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a path's name is one that `temporary_for` makes."""
    return re.fullmatch(r".+\.\d+\.tmp", path.name, re.DOTALL) is not None


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
