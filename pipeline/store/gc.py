"""Find and delete leftovers: files in the folders of stores that no store needs. Only files named by emodna count."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from emodna.pipeline.errors import ForeignStoreError, StoreError
from emodna.pipeline.files import is_temporary
from emodna.pipeline.store import layout
from emodna.pipeline.store.shards import hold_writer_lock, try_to_lock
from emodna.pipeline.store.snapshot import Snapshot, read_snapshot

#: Reasons for keeping a leftover.
IN_USE: Final = "a process that reads the store may use it"
REUSABLE: Final = "finished work of an interrupted preparation, which the next one uses"


class LeftoverKind(StrEnum):
    """Kinds of leftovers."""

    OLD = "old"
    """File of an earlier commit, or of a killed preparation."""
    TEMPORARY = "temporary"
    """Incomplete file of a killed preparation."""
    UNFINISHED = "unfinished"
    """Finished work of an interrupted preparation, which the next one would use."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file that no store.json lists."""

    path: Path
    bytes: int
    kind: LeftoverKind
    reason: str | None = None
    """Reason for keeping it; None if it is deleted."""

    @property
    def is_data(self) -> bool:
        """True if a reader may have it open."""
        return layout.is_content_name(self.path.name)


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """Result of garbage collection in one store."""

    store: Path
    removed: tuple[Leftover, ...] = ()
    """Deleted files, or in a dry run those to delete."""
    kept: tuple[Leftover, ...] = ()
    skipped: str | None = None
    """Reason for skipping the store; None if it was processed."""
    failed: bool = False
    """True if any file could not be inspected or deleted."""
    is_unreadable: bool = False
    """True if the store is damaged or cannot be read."""


def list_store_folders(cache: Path) -> list[Path]:
    """List the folders of stores below a cache, including those before their first commit."""
    return sorted(folder for folder in cache.glob("*/*") if is_store_folder(folder))


def is_store_folder(folder: Path) -> bool:
    """Return True if a folder is a store, or one before its first commit."""
    is_new = (folder / layout.WRITER_LOCK).is_file() and (folder / layout.JOURNAL).is_dir()
    return is_new or (folder / layout.STORE_JSON).is_file()


def delete_leftovers(store: Path, snapshot: Snapshot) -> None:
    """Delete all leftovers of a new snapshot that no reader uses. The caller must hold the writer lock."""
    _delete(store, find_leftovers(store, snapshot))


def delete_temporary_files(store: Path) -> None:
    """Delete temporary files of killed preparations, to free their space. The caller must hold the writer lock."""
    _delete(store, [each for each in find_leftovers(store, None) if each.kind is LeftoverKind.TEMPORARY])


def collect_garbage(store: Path, *, delete: bool, unfinished: bool) -> GarbageReport:
    """Find the leftovers in a store's folder, and delete those that nobody may need.

    A store is skipped while it is being written, and if it is damaged or of another format version. In a folder without
    a store.json, only temporary and unfinished files are leftovers. Without `delete`, this is a dry run. `unfinished`
    includes the finished work of interrupted preparations.
    """
    try:
        if _is_locked(store / layout.WRITER_LOCK):
            return GarbageReport(store, skipped="another process is writing it")
        deletable, kept = _select_leftovers(store, unfinished=unfinished)
        if not delete:
            is_read = _is_locked(store / layout.READER_LOCK)
            in_use = [replace(each, reason=IN_USE) for each in deletable if is_read and each.is_data]
            unused = tuple(each for each in deletable if not (is_read and each.is_data))
            return GarbageReport(store, unused, (*kept, *in_use))
        if not deletable:
            return GarbageReport(store, kept=tuple(kept))
        with hold_writer_lock(store, wait=False, on_wait=lambda: None):
            deletable, kept = _select_leftovers(store, unfinished=unfinished)  # again, now that nobody else writes
            removed, remaining = _delete(store, deletable)
        failed = any(each.reason != IN_USE for each in remaining)
        return GarbageReport(store, tuple(removed), (*kept, *remaining), failed=failed)
    except StoreError as error:
        return GarbageReport(store, skipped=str(error), is_unreadable=not isinstance(error, ForeignStoreError))
    except OSError as error:
        return GarbageReport(store, skipped=f"{error.filename or store}: {error.strerror}", failed=True)


def find_leftovers(store: Path, snapshot: Snapshot | None) -> list[Leftover]:
    """List the files in a store's folder that a snapshot does not list, sorted by path.

    Without a snapshot, only temporary and unfinished files are leftovers.
    """
    listed = {file.name for file in snapshot.files} if snapshot else set()
    files, journal = _list_files(store), _list_files(store / layout.JOURNAL)
    entries = {path: path.stem for path in journal if path.suffix == layout.CHECKSUMMED_SUFFIX}
    finished = {shard for shard in entries.values() if store / shard in files} - listed
    leftovers = []
    for path, size in sorted({**files, **journal}.items()):
        if is_temporary(path):
            leftovers.append(Leftover(path, size, LeftoverKind.TEMPORARY))
        elif path.name in finished or entries.get(path) in finished:
            leftovers.append(Leftover(path, size, LeftoverKind.UNFINISHED))
        elif path in entries or (
            snapshot and path in files and layout.is_content_name(path.name) and path.name not in listed
        ):
            leftovers.append(Leftover(path, size, LeftoverKind.OLD))
    return leftovers


def _select_leftovers(store: Path, *, unfinished: bool) -> tuple[list[Leftover], list[Leftover]]:
    """Return the leftovers to delete, and the finished work to keep."""
    snapshot = read_snapshot(store) if os.path.lexists(store / layout.STORE_JSON) else None
    leftovers = find_leftovers(store, snapshot)
    if unfinished:
        return leftovers, []
    reusable = [replace(each, reason=REUSABLE) for each in leftovers if each.kind is LeftoverKind.UNFINISHED]
    return [each for each in leftovers if each.kind is not LeftoverKind.UNFINISHED], reusable


def _delete(store: Path, leftovers: Iterable[Leftover]) -> tuple[list[Leftover], list[Leftover]]:
    """Delete files, but data only if no reader holds a snapshot. Return the deleted and the remaining files."""
    removed, remaining = [], []
    with (store / layout.READER_LOCK).open("r+b") as lock:  # network file systems do not lock read-only files
        try:
            is_unread = try_to_lock(lock.fileno())
        except OSError:  # without locks, there may be readers
            is_unread = False
        for each in leftovers:
            if each.is_data and not is_unread:
                remaining.append(replace(each, reason=IN_USE))
                continue
            try:
                each.path.unlink(missing_ok=True)
                removed.append(each)
            except OSError as error:
                remaining.append(replace(each, reason=f"cannot be deleted: {error.strerror}"))
    return removed, remaining


def _is_locked(lock: Path) -> bool:
    """Return True if a process holds a lock; do not wait."""
    try:
        with lock.open() as file:
            return not try_to_lock(file.fileno())
    except FileNotFoundError:
        return False


def _list_files(folder: Path) -> dict[Path, int]:
    """Return the size in bytes of each regular file in a folder; empty if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            return {Path(entry.path): entry.stat(follow_symlinks=False).st_size for entry in files}
    except FileNotFoundError:
        return {}
