"""Where an export goes: it appears there whole, or not at all."""

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from emodna.pipeline.errors import ExportError
from emodna.pipeline.files import flush_folder, temporary_for


@contextmanager
def replacing(
    place: Path, *, own_files: re.Pattern[str] | None, always: Collection[str], force: bool
) -> Iterator[Path]:
    """Write beside a place, and rename into it at the end.

    Parameters
    ----------
    own_files
        Of a folder: paths of the files that an export consists of; a folder that holds any other is never replaced.
        None if an export is a single file.
    always
        Those that every export has; a full folder without one of them is never replaced either.
    force
        Whether an earlier export is replaced.

    Yields
    ------
    fresh
        Where to write: a new folder, or the name of a new file.

    Raises
    ------
    ExportError
        The place is taken.
    """
    _check(place, own_files, always, force=force)
    fresh = temporary_for(place)
    try:
        if own_files:
            fresh.mkdir()
        yield fresh
        _flush(fresh)
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


def _check(place: Path, own_files: re.Pattern[str] | None, always: Collection[str], *, force: bool) -> None:
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
        raise ExportError(
            f"--out {place}: holds files that no export wrote, such as {foreign[0]}: choose another place"
        )
    if held and not force:
        raise ExportError(f"--out {place}: is not empty; choose another place, or replace it by --force")


def _flush(fresh: Path) -> None:
    """Have everything on the disk before it gets its name."""
    for path in [fresh, *fresh.rglob("*")] if fresh.is_dir() else [fresh]:
        flush_folder(path)
