"""Writing files so that a reader sees the old content or the new, never half of it."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename into place, and flush the folder."""
    with writing_atomically(path) as stream:
        stream.write(content)


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Do so with what the block writes; if it raises, the old content stands.

    The temporary name carries no suffix of a store's files, so that an unfinished file is never taken for one.
    """
    temporary = temporary_for(path)
    try:
        with naming(path, instead_of=temporary):
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    flush_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder with all above it, and make their names durable."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        flush_folder(each.parent)


def temporary_for(path: Path) -> Path:
    """Name, unlike any other process's, under which a file or folder is written before it is renamed into place."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a path's name is one that `temporary_for` makes."""
    return re.fullmatch(r".+\.\d+\.tmp", path.name, re.DOTALL) is not None


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    with naming(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems flush no folders
                raise
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Let an error name a file: that of a file which is open already, say of a full disk, does not.

    Parameters
    ----------
    instead_of
        A file that nobody asked for, whose name says nothing.

    Raises
    ------
    OSError
        That of the block, with a name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.filename != str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
