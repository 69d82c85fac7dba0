"""Find and remove what is left over in the folders of stores, of files that this package names itself."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from emodna.pipeline.errors import StoreError
from emodna.pipeline.files import is_temporary
from emodna.pipeline.store import layout
from emodna.pipeline.store.shards import hold_writer_lock, try_to_lock
from emodna.pipeline.store.snapshot import Snapshot, read_snapshot

#: Reasons why a leftover stays.
IN_USE: Final = "a process that reads the store may hold it"
USEFUL: Final = "finished work of an interrupted run, which the next one uses"


class LeftoverKind(StrEnum):
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
    kind: LeftoverKind
    reason: str | None = None
    """Reason why it stays, if it does."""

    @property
    def is_data(self) -> bool:
        """True if a reader may have it open."""
        return layout.is_content_name(self.path.name)


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """Result of tidying one store."""

    store: Path
    removed: tuple[Leftover, ...] = ()
    """Removed files; of a dry run, those that would be."""
    kept: tuple[Leftover, ...] = ()
    skipped: str | None = None
    """Reason why the store was left alone, if so."""
    failed: bool = False
    """True if any file could not be inspected or deleted."""


def list_store_folders(cache: Path) -> list[Path]:
    """List the folders of stores below a cache, also of those whose first run has not come to its commit."""
    return sorted(folder for folder in cache.glob("*/*") if is_store_folder(folder))


def is_store_folder(folder: Path) -> bool:
    """Return True if a folder is a store, or was to become one."""
    begun = (folder / layout.WRITER_LOCK).is_file() and (folder / layout.JOURNAL).is_dir()
    return begun or (folder / layout.STORE_JSON).is_file()


def delete_leftovers(store: Path, snapshot: Snapshot) -> None:
    """Remove all that a snapshot just committed does not name and no reader holds; the caller is the only writer."""
    _remove(store, find_leftovers(store, snapshot))


def delete_temporary_files(store: Path) -> None:
    """Remove what a killed run left half written: the next one may lack its room. The caller is the only writer."""
    _remove(store, [each for each in find_leftovers(store, None) if each.kind is LeftoverKind.TEMPORARY])


def collect_garbage(store: Path, *, delete: bool, unfinished: bool) -> GarbageReport:
    """Find what is left over in a store's folder, and remove it unless somebody may want it.

    A store that is being written, that is damaged or of another format version is left alone. In a folder without a
    store.json only what a run has left unfinished is known for certain; other files stay. Without `delete`, nothing is
    changed; `unfinished` includes finished work of interrupted runs.
    """
    try:
        if _is_held(store / layout.WRITER_LOCK):
            return GarbageReport(store, skipped="another process is writing it")
        due, useful = _due(store, unfinished=unfinished)
        if not delete:
            is_read = _is_held(store / layout.READER_LOCK)
            in_use = [replace(each, reason=IN_USE) for each in due if is_read and each.is_data]
            return GarbageReport(
                store, tuple(each for each in due if not (is_read and each.is_data)), (*useful, *in_use)
            )
        if not due:
            return GarbageReport(store, kept=tuple(useful))
        with hold_writer_lock(store, wait=False, on_wait=lambda: None):
            due, useful = _due(store, unfinished=unfinished)  # as it is now that nobody else writes
            removed, stays = _remove(store, due)
        failed = any(each.reason != IN_USE for each in stays)
        return GarbageReport(store, tuple(removed), (*useful, *stays), failed=failed)
    except StoreError as error:
        return GarbageReport(store, skipped=str(error))
    except OSError as error:
        return GarbageReport(store, skipped=f"{error.filename or store}: {error.strerror}", failed=True)


def find_leftovers(store: Path, snapshot: Snapshot | None) -> list[Leftover]:
    """List the files of a store's folder that a snapshot does not name, in order of their paths.

    Without a snapshot, only what a run left unfinished is certain to be left over.
    """
    named = {file.name for file in snapshot.files} if snapshot else set()
    files, journal = _sizes(store), _sizes(store / layout.JOURNAL)
    entries = {path: path.stem for path in journal if path.suffix == layout.CHECKSUMMED_SUFFIX}
    finished = {shard for shard in entries.values() if store / shard in files} - named
    found = []
    for path, size in sorted({**files, **journal}.items()):
        if is_temporary(path):
            found.append(Leftover(path, size, LeftoverKind.TEMPORARY))
        elif path.name in finished or entries.get(path) in finished:
            found.append(Leftover(path, size, LeftoverKind.UNFINISHED))
        elif path in entries or (
            snapshot and path in files and layout.is_content_name(path.name) and path.name not in named
        ):
            found.append(Leftover(path, size, LeftoverKind.OLD))
    return found


def _due(store: Path, *, unfinished: bool) -> tuple[list[Leftover], list[Leftover]]:
    """List what is to be removed, and the finished work that is to stay."""
    snapshot = read_snapshot(store) if os.path.lexists(store / layout.STORE_JSON) else None
    found = find_leftovers(store, snapshot)
    due = [each for each in found if unfinished or each.kind is not LeftoverKind.UNFINISHED]
    useful = [] if unfinished else [each for each in found if each.kind is LeftoverKind.UNFINISHED]
    return due, [replace(each, reason=USEFUL) for each in useful]


def _remove(store: Path, found: Iterable[Leftover]) -> tuple[list[Leftover], list[Leftover]]:
    """Remove files, data only while no reader holds a snapshot; return what is gone, and what stays."""
    removed, stays = [], []
    with (store / layout.READER_LOCK).open("r+b") as lock:  # a network file system locks no file that is only read
        try:
            alone = try_to_lock(lock.fileno())
        except OSError:  # nothing says that nobody reads
            alone = False
        for each in found:
            if each.is_data and not alone:
                stays.append(replace(each, reason=IN_USE))
                continue
            try:
                each.path.unlink(missing_ok=True)
                removed.append(each)
            except OSError as error:
                stays.append(replace(each, reason=f"cannot be removed: {error.strerror}"))
    return removed, stays


def _is_held(lock: Path) -> bool:
    """Return True if a process has a lock; asking changes nothing, and does not wait."""
    try:
        with lock.open() as file:
            return not try_to_lock(file.fileno())
    except FileNotFoundError:
        return False


def _sizes(folder: Path) -> dict[Path, int]:
    """Return the regular files of a folder, which may be absent, with their sizes in bytes."""
    try:
        with os.scandir(folder) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            return {Path(entry.path): entry.stat(follow_symlinks=False).st_size for entry in files}
    except FileNotFoundError:
        return {}
