"""Write files and folders atomically: a reader sees the old content or the new one."""

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from emodna.pipeline.errors import EmodnaError, ExportError, Remedy

_CHOOSE_OR_REPLACE: Final = Remedy("choose another {out}, or set {force=True} to replace it")


def expand_home(path: str) -> str:
    """Return a path whose leading ~ or ~user is replaced by the home folder, as a shell does.

    No shell expands the variables of a container or the texts of a configuration file. Raises `EmodnaError`: no such
    home folder, because a folder named ~ helps nobody.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser changes other parts of a path, such as ./)
    name = path.partition("/")[0]
    if expanded == path and (name == "~" or (path.startswith("~") and "/" in path)) and not Path(name).exists():
        raise EmodnaError(f"{name} is no home folder", where=path, remedy="give the path without it, or set $HOME")
    return expanded


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it."""
    with open_atomically(path) as stream:
        stream.write(content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content replaces a file at the end of the block, unless the block raises.

    The temporary name has no suffix of a store's files, so nothing reads an unfinished file.
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
    """Make a folder and its missing parents, and flush their names to disk."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        flush_folder(each.parent)


def make_temporary_path(path: Path) -> Path:
    """Return the temporary path for a file or folder, unique to this process."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Return True if `make_temporary_path` can have made this path."""
    return re.fullmatch(r".+\.\d+\.tmp", path.name, re.DOTALL) is not None


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if the file system supports it."""
    with name_in_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by some network file systems
                raise
        finally:
            os.close(descriptor)


@contextmanager
def name_in_errors(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Add a path to an `OSError` in this block that names no file, or only the temporary file `instead_of`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.filename != str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replace_atomically(
    destination: Path, *, own_files: re.Pattern[str] | None = None, always: Collection[str] = (), force: bool
) -> Iterator[Path]:
    """Yield a temporary path for an export, and rename it to its destination at the end of the block.

    For a folder, which is yielded empty, `own_files` is a pattern of the paths in it, and `always` has paths that every
    export contains. For a single file, `own_files` is None. `force` replaces an earlier export, but never a folder with
    other files or without the paths in `always`.

    Raises `ExportError`: the destination cannot be written or replaced.
    """
    _check_destination(destination, own_files, always, force=force)
    temporary = make_temporary_path(destination)
    try:
        if own_files:
            temporary.mkdir()
        yield temporary
        for path in [temporary, *temporary.rglob("*")]:  # all content is on disk before the rename
            flush_folder(path)
        if own_files and destination.is_dir() and any(destination.iterdir()):
            # A folder cannot replace a non-empty one. A kill between these lines leaves no export, never half of one.
            old = destination.with_name(f"{destination.name}.{os.getpid()}.old")
            destination.rename(old)
            temporary.rename(destination)
            shutil.rmtree(old)
        else:
            temporary.replace(destination)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True) if temporary.is_dir() else temporary.unlink(missing_ok=True)
        # The error of a full disk names no file; those of pyarrow name it in their text.
        if isinstance(error, OSError) and str(error.filename or temporary).startswith(str(temporary)):
            text = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, text, str(destination)) from error
        raise
    flush_folder(destination.parent)


def _check_destination(
    destination: Path, own_files: re.Pattern[str] | None, always: Collection[str], *, force: bool
) -> None:
    if destination.name in ("", ".."):
        raise ExportError("must end with the name of a file or folder", field="out", value=destination)
    if not destination.parent.is_dir():
        raise ExportError(f"folder {destination.parent} not found", field="out", value=destination)
    if not os.path.lexists(destination):
        return
    if own_files is None:
        if destination.is_dir():
            raise ExportError("is a folder, but this format is a single file", field="out", value=destination)
        if not force:
            raise ExportError("exists", field="out", value=destination, remedy=_CHOOSE_OR_REPLACE)
        return
    if not destination.is_dir() or destination.is_symlink():
        raise ExportError("is a file, but this format is a folder", field="out", value=destination)
    files = sorted(path.relative_to(destination).as_posix() for path in destination.rglob("*") if not path.is_dir())
    foreign = [path for path in files if not own_files.fullmatch(path)]
    if foreign := foreign or (files if not set(always) <= set(files) else []):
        problem = f"contains files that are not of an export, such as {foreign[0]}"
        raise ExportError(problem, field="out", value=destination, remedy=Remedy("choose another {out}"))
    if files and not force:
        raise ExportError("is not empty", field="out", value=destination, remedy=_CHOOSE_OR_REPLACE)
