"""What is left over in the folders of stores, and its removal: after a commit, and by `emodna-cache gc`.

Only files that this package names itself are ever looked at: what a user laid beside them stays.
"""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from emodna.pipeline.errors import StoreError
from emodna.pipeline.files import is_temporary
from emodna.pipeline.store import layout
from emodna.pipeline.store.shards import writer_lock
from emodna.pipeline.store.snapshot import Snapshot, read_snapshot

#: Why a leftover stays: a reader may have it open; the next run has less to do with it.
IN_USE: Final = "a process that reads the store may hold it"
USEFUL: Final = "finished work of an interrupted run, which the next one uses"


class Kind(StrEnum):
    """Why a file is left over."""

    OLD = "old"
    """Of an earlier commit, or of a run that was killed: nothing names it."""
    TEMPORARY = "temporary"
    """Half written by a run that was killed."""
    UNFINISHED = "unfinished"
    """Finished work of a run that was interrupted, which the next run would use."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One file that no store.json names."""

    path: Path
    bytes: int
    kind: Kind

    @property
    def is_data(self) -> bool:
        """Whether a reader may have it open."""
        return layout.is_content_name(self.path.name)


@dataclass(frozen=True, slots=True)
class Kept:
    """A leftover that stays."""

    leftover: Leftover
    reason: str


@dataclass(frozen=True, slots=True)
class Tidied:
    """What came of tidying one store."""

    store: Path
    removed: tuple[Leftover, ...] = ()
    """Of a dry run: what would be."""
    kept: tuple[Kept, ...] = ()
    skipped: str | None = None
    """Why the store was left alone, if so."""
    failed: bool = False
    """Whether something was to be looked at or removed, and could not be."""


def folders(cache: Path) -> list[Path]:
    """Folders of stores below a cache, also of those whose first run has not come to its commit."""
    return sorted(folder for folder in cache.glob("*/*") if is_store_folder(folder))


def is_store_folder(folder: Path) -> bool:
    """Whether a folder is a store, or was to become one."""
    begun = (folder / layout.WRITER_LOCK).is_file() and (folder / layout.JOURNAL).is_dir()
    return begun or (folder / layout.STORE_JSON).is_file()


def sweep(store: Path, snapshot: Snapshot) -> None:
    """Remove all that a snapshot just committed does not name; the caller is the only writer.

    What a reader holds, or what cannot be removed, is left to a later commit, or to `tidy`.
    """
    _remove(store, leftovers(store, snapshot))


def clear(store: Path) -> None:
    """Remove what a killed run left half written: the next one may lack its room. The caller is the only writer."""
    _remove(store, [each for each in leftovers(store, None) if each.kind is Kind.TEMPORARY])


def tidy(store: Path, *, delete: bool, unfinished: bool) -> Tidied:
    """Find what is left over in a store's folder, and remove it unless somebody may want it.

    A store that is being written, that is damaged or of another format version is left alone. In a folder without a
    store.json only what a run has left unfinished is known for certain; other files stay.

    Parameters
    ----------
    delete
        Whether to remove anything; else nothing is changed.
    unfinished
        Whether finished work of interrupted runs goes, too.
    """
    try:
        return _tidied(store, delete=delete, unfinished=unfinished)
    except StoreError as error:
        return Tidied(store, skipped=str(error))
    except OSError as error:
        return Tidied(store, skipped=f"{error.filename or store}: {error.strerror}", failed=True)


def leftovers(store: Path, snapshot: Snapshot | None) -> list[Leftover]:
    """Files of a store's folder that a snapshot does not name, in order of their paths.

    Parameters
    ----------
    snapshot
        None if there is no store.json: then only what a run left unfinished is certain to be left over.
    """
    named = {file.name for file in snapshot.files} if snapshot else set()
    files, journal = _sizes(store), _sizes(store / layout.JOURNAL)
    finished = {path.stem for path in journal if path.suffix == layout.SEALED_SUFFIX}
    finished = {name for name in finished - named if store / name in files}
    found = []
    for path, size in files.items():
        if is_temporary(path):
            found.append(Leftover(path, size, Kind.TEMPORARY))
        elif path.name in finished:
            found.append(Leftover(path, size, Kind.UNFINISHED))
        elif snapshot and layout.is_content_name(path.name) and path.name not in named:
            found.append(Leftover(path, size, Kind.OLD))
    for path, size in journal.items():
        if is_temporary(path):
            found.append(Leftover(path, size, Kind.TEMPORARY))
        elif path.suffix == layout.SEALED_SUFFIX:
            found.append(Leftover(path, size, Kind.UNFINISHED if path.stem in finished else Kind.OLD))
    return sorted(found, key=lambda each: each.path)


def _tidied(store: Path, *, delete: bool, unfinished: bool) -> Tidied:
    if _is_held(store / layout.WRITER_LOCK):
        return Tidied(store, skipped="another process is writing it")
    found, kept = _found(store, unfinished=unfinished)
    if not delete:
        read = _is_held(store / layout.READER_LOCK)
        held = [_in_use(each) for each in found if read and each.is_data]
        return Tidied(store, tuple(each for each in found if not (read and each.is_data)), (*kept, *held))
    if not found:
        return Tidied(store, kept=tuple(kept))
    with writer_lock(store, wait=False, on_wait=lambda: None):
        found, kept = _found(store, unfinished=unfinished)  # as it is now that nobody else writes
        removed, stays = _remove(store, found)
    failed = any(each.reason != IN_USE for each in stays)
    return Tidied(store, tuple(removed), (*kept, *stays), failed=failed)


def _found(store: Path, *, unfinished: bool) -> tuple[list[Leftover], list[Kept]]:
    """What is to be removed, and what is not."""
    snapshot = read_snapshot(store) if os.path.lexists(store / layout.STORE_JSON) else None
    found = leftovers(store, snapshot)
    kept = [Kept(each, USEFUL) for each in found if each.kind is Kind.UNFINISHED and not unfinished]
    return [each for each in found if unfinished or each.kind is not Kind.UNFINISHED], kept


def _remove(store: Path, found: Collection[Leftover]) -> tuple[list[Leftover], list[Kept]]:
    """Remove files, data only while no reader holds a snapshot; return what is gone, and what stays."""
    removed, stays = [], []
    with _without_readers(store) as alone:
        for each in found:
            if each.is_data and not alone:
                stays.append(_in_use(each))
                continue
            try:
                each.path.unlink(missing_ok=True)
            except OSError as error:
                stays.append(Kept(each, f"cannot be removed: {error.strerror}"))
            else:
                removed.append(each)
    return removed, stays


def _in_use(leftover: Leftover) -> Kept:
    return Kept(leftover, IN_USE)


@contextmanager
def _without_readers(store: Path) -> Iterator[bool]:
    """Keep readers from opening a store; tells whether none has it open."""
    with (store / layout.READER_LOCK).open("r+b") as lock:  # a network file system locks no file that is only read
        try:
            alone = _locked(lock.fileno())
        except OSError:  # nothing says that nobody reads
            alone = False
        yield alone


def _is_held(lock: Path) -> bool:
    """Whether a process has a lock; asking changes nothing, and does not wait."""
    try:
        with lock.open() as file:
            return not _locked(file.fileno())
    except FileNotFoundError:
        return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sizes(folder: Path) -> dict[Path, int]:
    """Regular files of a folder, which may be absent, with their sizes in bytes."""
    try:
        with os.scandir(folder) as entries:
            return {
                Path(entry.path): entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            }
    except FileNotFoundError:
        return {}
