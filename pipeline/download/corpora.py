"""Get a published corpus from where its authors put it."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emodna.pipeline.download.transfer import Patience, Watcher, progress, transfer
from emodna.pipeline.errors import DownloadError
from emodna.pipeline.files import flush_folder

#: Hidden folder beside the file, for all that is not yet known to be the published one.
UNFINISHED: Final = ".download"


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
    unfinished = folder / UNFINISHED
    part = unfinished / f"{download.file}.part"

    def resume(url: str, output: str, _: object) -> None:
        transfer(url, part, download.bytes, watcher, patience or Patience(), advice=advice)
        part.replace(output)

    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        with _alone(unfinished, lambda: watcher.waiting(file)):
            if not _is_there(download, file):  # else another process has got it meanwhile
                _check_space(download, part)
                _retrieve(download, unfinished, resume).replace(file)
                flush_folder(folder)
    except OSError as error:
        raise DownloadError(f"{download.url}: cannot be kept in {folder}: {error.strerror or error}") from error
    return file


def _retrieve(download: Download, folder: Path, downloader: Callable[[str, str, object], None]) -> Path:
    """Have pooch download and verify a file; what is not the published one it deletes."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        file = pooch.retrieve(download.url, download.checksum, download.file, folder, downloader=downloader)
    except ValueError as error:
        raise DownloadError(f"{download.url}: not the published file: {error} The same command gets it anew") from error
    with Path(file).open("rb") as stream:
        os.fsync(stream.fileno())
    return Path(file)


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
def _alone(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only one who downloads into a folder. The lock is the kernel's and dies with its holder."""
    import filelock

    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
