"""Download published corpora, verify their checksums, and continue interrupted downloads."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emodna.pipeline.errors import DownloadError, Remedy
from emodna.pipeline.files import flush_folder

#: Hidden folder for unfinished downloads, in the folder of the file.
UNFINISHED_FOLDER: Final = ".download"

#: Maximum number of tries in a row without new bytes, and the pause in s after the first; each further pause doubles.
_TRIES: Final = 5
_PAUSE: Final = 1.0
#: Timeouts in s for a connection and for the next bytes.
_TIMEOUT: Final = (20.0, 30.0)
#: Number of bytes written at a time; an interruption loses at most these.
_CHUNK: Final = 1 << 14
#: Statuses below 500 that are tried again. 416: the downloaded part does not belong to this file.
_RETRIED_STATUSES: Final = (408, 416, 425, 429)


@dataclass(frozen=True, slots=True)
class Download:
    """A published file that holds a whole corpus."""

    url: str
    file: str
    """File name on this machine."""
    bytes: int
    checksum: str
    """Algorithm and hexadecimal digest in the form of pooch: sha256:1234..."""
    confirmed: bool
    """True if a second, independent source publishes the same checksum."""


def fetch(
    download: Download,
    folder: Path,
    on_progress: Callable[[int], None],
    on_message: Callable[[str], None],
    *,
    homepage: str = "",
) -> Path:
    """Download a file into a folder, unless it is there, and return its path.

    An interrupted download is kept and continued. The file gets its name after its checksum is verified.
    `on_progress` gets the number of bytes so far, `on_message` a line about each wait or failed try. The error names
    the `homepage` if the server no longer has the file.

    Raises `DownloadError`: the download failed, or the folder holds another file of this name.
    """
    import filelock

    file = folder / download.file
    hidden = folder / UNFINISHED_FOLDER
    part = hidden / f"{download.file}.part"
    try:
        if _is_downloaded(download, file):
            return file
        hidden.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(hidden / "lock")  # the kernel frees it if this process dies
        try:
            held_lock = lock.acquire(timeout=0)
        except filelock.Timeout:
            on_message(f"waiting for another process that downloads {file}")
            held_lock = lock.acquire()
        with held_lock:
            if not _is_downloaded(download, file):
                _check_space(download, part)
                _download_rest(download, part, on_progress, on_message, homepage)
                if not _is_published(download, part):
                    part.unlink()
                    problem = f"not the published file: its checksum is not {download.checksum}"
                    raise DownloadError(problem, where=download.url, remedy="download it again")
                part.replace(file)
                flush_folder(folder)
    except OSError as error:
        raise DownloadError(f"cannot be saved in {folder}: {error.strerror or error}", where=download.url) from error
    return file


def _check_space(download: Download, part: Path) -> None:
    missing = download.bytes - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        problem = f"needs {missing / 1e6:.0f} MB, but {part.parent.parent} has {free / 1e6:.0f} MB free"
        remedy = Remedy("free some space, or choose another folder with {root} or $EMODNA_DATA")
        raise DownloadError(problem, where=download.url, remedy=remedy)


def _is_downloaded(download: Download, file: Path) -> bool:
    """Return True if the published file is in place. Raises `DownloadError`: another file has its name."""
    if not file.exists():
        return False
    if not _is_published(download, file):
        # It may be another edition that the user needs, so it is not deleted.
        problem = f"not the published file {download.url}: its checksum is not {download.checksum}"
        remedy = Remedy("move it away to download the published one, or choose it with {root} to use it")
        raise DownloadError(problem, where=file, remedy=remedy)
    return True


def _is_published(download: Download, file: Path) -> bool:
    from pooch.hashes import hash_matches

    return bool(hash_matches(str(file), download.checksum))


def _download_rest(
    download: Download, part: Path, on_progress: Callable[[int], None], on_message: Callable[[str], None], homepage: str
) -> None:
    """Download the missing bytes of a part, with several tries. The caller verifies the content."""
    import requests

    failures = 0
    part.touch()
    while (size := part.stat().st_size) < download.bytes:
        on_progress(size)
        try:
            _request_rest(download, part, size, on_progress)
        except requests.RequestException as error:
            size_now = part.stat().st_size
            failures = 1 if size_now > size else failures + 1
            status = None if error.response is None else error.response.status_code
            if status is not None and status < 500 and status not in _RETRIED_STATUSES:
                page = f" (homepage: {homepage})" if homepage else ""
                problem = f"{_describe_cause(error)}{page}"
                remedy = Remedy("download it by hand, and choose it with {root}")
            elif failures == _TRIES:
                problem = f"{_describe_cause(error)}, after {size_now / 1e6:.1f} of {download.bytes / 1e6:.1f} MB"
                remedy = Remedy("download again to continue")
            else:
                pause = _PAUSE * 2 ** (failures - 1)
                on_message(f"{_describe_cause(error)}; trying again in {pause:.0f} s")
                time.sleep(pause)
                continue
            raise DownloadError(problem, where=download.url, remedy=remedy) from error


def _request_rest(download: Download, part: Path, size: int, on_progress: Callable[[int], None]) -> None:
    """Request the file from byte `size` on, and append it to the part."""
    import requests

    # A part of a compressed transfer could not be continued.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
    response = requests.get(download.url, headers=headers, stream=True, timeout=_TIMEOUT)
    with response, part.open("ab") as file:
        if response.status_code == 416:
            file.truncate(0)
        response.raise_for_status()
        total = response.headers.get("Content-Range", response.headers.get("Content-Length", "")).rpartition("/")[2]
        content_type = response.headers.get("Content-Type", "unknown type")
        if content_type.startswith("text/html") or (total.isdecimal() and int(total) != download.bytes):
            problem = f"the server sends {content_type} of {total or 'unknown'} bytes instead of {download.bytes}"
            raise DownloadError(problem, where=download.url, remedy="the file may have changed, or need a login")
        if response.status_code == 200:  # the whole file, not the requested range
            file.truncate(0)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
            file.truncate(0)
            raise requests.ConnectionError("the server sent another part of the file than requested")
        for chunk in response.iter_content(_CHUNK):
            if file.tell() + len(chunk) > download.bytes:
                file.truncate(0)
                problem = f"the server sends more than the {download.bytes} bytes of the published file"
                raise DownloadError(problem, where=download.url)
            file.write(chunk)
            on_progress(file.tell())
        file.flush()
        os.fsync(file.fileno())
        if file.tell() < download.bytes:
            raise requests.ConnectionError("the server ended the file early")


def _describe_cause(error: BaseException) -> str:
    """Return the innermost cause of a network error, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
