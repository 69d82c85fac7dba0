"""Write files and folders so that a reader sees the old content or the new, never half of it."""

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from emodna.pipeline.errors import ExportError


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename into place, and flush the folder."""
    with open_atomically(path) as stream:
        stream.write(content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write atomically what the block writes; if it raises, the old content stands.

    The temporary name carries no suffix of a store's files, so that an unfinished file is never taken for one.
    """
    temporary = make_temporary_path(path)
    try:
        with name_in_errors(path, instead_of=temporary):
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


def make_temporary_path(path: Path) -> Path:
    """Return a name of this process alone, to write a file or folder under before it is renamed into place."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Return True if a path's name is one that `make_temporary_path` makes."""
    return re.fullmatch(r".+\.\d+\.tmp", path.name, re.DOTALL) is not None


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    with name_in_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems flush no folders
                raise
        finally:
            os.close(descriptor)


@contextmanager
def name_in_errors(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Let an `OSError` of the block name a file; `instead_of` is one that nobody asked for, whose name says nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.filename != str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replace_atomically(
    place: Path, *, own_files: re.Pattern[str] | None = None, always: Collection[str] = (), force: bool
) -> Iterator[Path]:
    """Yield a new folder, or the name of a new file, beside the place of an export; rename it into that at the end.

    An earlier export is replaced if `force` is true; else, `ExportError` is raised. `own_files` are the paths of the
    files that an export to a folder consists of, of which it has `always` some; a folder that holds any other file, or
    is full and lacks one of these, is never replaced. They are None if an export is a single file.
    """
    _check_destination(place, own_files, always, force=force)
    fresh = make_temporary_path(place)
    try:
        if own_files:
            fresh.mkdir()
        yield fresh
        for path in [fresh, *fresh.rglob("*")]:  # all of it is on the disk before it gets its name
            flush_folder(path)
        if own_files and place.is_dir() and any(place.iterdir()):
            # No folder can be renamed over a full one. Killed between these, there is none: not half of one.
            old = place.with_name(f"{place.name}.{os.getpid()}.old")
            place.rename(old)
            fresh.rename(place)
            shutil.rmtree(old)
        else:
            fresh.replace(place)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True) if fresh.is_dir() else fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say whose file it is
            raise OSError(error.errno, error.strerror or str(error), str(place)) from error
        raise
    flush_folder(place.parent)


def _check_destination(place: Path, own_files: re.Pattern[str] | None, always: Collection[str], *, force: bool) -> None:
    if place.name in ("", ".."):
        raise ExportError(f"--out {place}: name the file or folder to write, not one that you are in")
    if not place.parent.is_dir():
        raise ExportError(f"--out {place}: there is no folder {place.parent}")
    if not os.path.lexists(place):
        return
    if own_files is None:
        if place.is_dir():
            raise ExportError(f"--out {place}: is a folder; this format is a single file")
        if not force:
            raise ExportError(f"--out {place}: exists; choose another place, or replace it by --force")
        return
    if not place.is_dir() or place.is_symlink():
        raise ExportError(f"--out {place}: is no folder; this format is one")
    held = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir())
    foreign = [path for path in held if not own_files.fullmatch(path)]
    if foreign := foreign or (held if not set(always) <= set(held) else []):
        held_back = f"holds files that no export wrote, such as {foreign[0]}"
        raise ExportError(f"--out {place}: {held_back}: choose another place")
    if held and not force:
        raise ExportError(f"--out {place}: is not empty; choose another place, or replace it by --force")
