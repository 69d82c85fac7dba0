"""Get a published corpus from where its authors put it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emodna.pipeline.errors import DownloadError
from emodna.pipeline.files import flush_folder
from emodna.pipeline.transfer import Patience, Watcher, progress, transfer

#: What a file is called until it is known to be the published one.
PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class Download:
    """One file that holds a whole corpus."""

    url: str
    file: str
    """Name under which it is kept."""
    bytes: int
    checksum: str
    """Algorithm and hexadecimal digest, such as sha256:1234..., as pooch writes it."""
    confirmed: bool
    """Whether a second, independent source gives the same checksum."""


def fetch(
    download: Download, folder: Path, watcher: Watcher, *, homepage: str = "", patience: Patience | None = None
) -> Path:
    """Get a file, unless it is there already; what an interrupted run has got is kept, and continued.

    Under its final name there is never anything but the published file.

    Parameters
    ----------
    folder
        Where the file is kept; made where there is none.
    homepage
        Where a user can look if the server has not got the file (any more).

    Returns
    -------
    file
        <folder>/<download.file>, verified by its checksum.

    Raises
    ------
    DownloadError
        It could not be got, in one line that names its address; or another file has its name.
    """
    file = folder / download.file
    if _is_there(download, file):
        return file
    look = f"see {homepage} for where it is now" if homepage else "look for it elsewhere"
    advice = f"{look}, and say by --root where you put what you got"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(file, watcher):
            if _is_there(download, file):  # another process has got it meanwhile
                return file
            part = file.with_name(file.name + PART_SUFFIX)
            _check_space(download, part)
            transfer(download.url, part, download.bytes, watcher, patience or Patience(), advice=advice)
            _verify(download, part)
            _flush(part)
            part.replace(file)
            flush_folder(folder)
    except OSError as error:
        raise DownloadError(f"{download.url}: cannot be kept in {folder}: {error.strerror or error}") from error
    return file


def _is_there(download: Download, file: Path) -> bool:
    """Whether the published file has its final name already."""
    if not file.exists():
        return False
    try:
        digest = _digest(download, file)
    except OSError as error:
        raise DownloadError(f"{file}: cannot be read: {error.strerror or error}") from error
    if digest != _published(download):
        # It may be all that a user has of another edition: not ours to remove.
        raise DownloadError(
            f"{file}: not the published file of {download.url} ({digest}, published {_published(download)}); "
            "move it away to get that one, or give it by --root to use it as it is"
        )
    return True


def _verify(download: Download, part: Path) -> None:
    digest = _digest(download, part)
    if digest != _published(download):
        part.unlink()
        raise DownloadError(
            f"{download.url}: what came is not the published file ({digest}, published {_published(download)}) "
            "and was removed; the same command gets it anew"
        )


def _published(download: Download) -> str:
    return download.checksum.lower()


def _digest(download: Download, file: Path) -> str:
    """Checksum of a file, written as the published one is."""
    import pooch

    algorithm = _published(download).partition(":")[0]
    return f"{algorithm}:{pooch.file_hash(str(file), alg=algorithm)}"


def _check_space(download: Download, part: Path) -> None:
    """Refuse to begin what cannot be finished."""
    held = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if download.bytes - held > free:
        raise DownloadError(
            f"{download.url}: {progress(held, download.bytes)} are in {part.parent}, which has room for "
            f"{free / 1e6:.1f} MB; make room, or choose another place by --root or $EMODNA_DATA"
        )


@contextlib.contextmanager
def _alone(file: Path, watcher: Watcher) -> Iterator[None]:
    """Be the only one who gets this file. The lock is the kernel's and dies with its holder."""
    import filelock

    lock = filelock.FileLock(file.with_name(f".{file.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        watcher.waiting(file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
