"""Get a published corpus from where its authors put it. A download that was cut off goes on where it ended."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emodna.pipeline.errors import DownloadError
from emodna.pipeline.files import flush_folder

#: Hidden folder beside the file, for all that is not yet known to be the published one.
UNFINISHED_FOLDER: Final = ".download"

#: Tries in a row that bring nothing, and the pause in s after the first one; each further pause is twice as long.
_TRIES: Final = 5
_PAUSE: Final = 1.0
#: Seconds to wait for a connection, and for the next bytes.
_TIMEOUT: Final = (20.0, 30.0)
#: Bytes that are written at a time: of a cut, so many are lost at most.
_CHUNK: Final = 1 << 14
#: Answers below 500 after which another try makes sense. 416: the part that is here is none of this file.
_RETRIED_STATUSES: Final = (408, 416, 425, 429)


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
    """True if a second, independent source gives the same checksum."""


def fetch(
    download: Download,
    folder: Path,
    on_progress: Callable[[int], None],
    on_message: Callable[[str], None],
    *,
    homepage: str = "",
) -> Path:
    """Get a file into a folder, verified by its checksum, unless it is there already.

    What an interrupted run has got is kept, and continued. The file gets its name when it is the published one.
    `on_progress` is called with the number of bytes that are there, `on_message` with lines about waits and failed tries. At the
    homepage a user can look if the server has not got the file (any more).

    Raises `DownloadError`: it could not be got, in one line that names its address; or another file has its name.
    """
    import filelock

    file = folder / download.file
    unfinished = folder / UNFINISHED_FOLDER
    part = unfinished / f"{download.file}.part"
    try:
        if _is_downloaded(download, file):
            return file
        unfinished.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(unfinished / "lock")  # the kernel's: it dies with its holder
        try:
            held = lock.acquire(timeout=0)
        except filelock.Timeout:
            on_message(f"waiting for another process that downloads {file}")
            held = lock.acquire()
        with held:
            if not _is_downloaded(download, file):
                _check_space(download, part)
                _download_rest(download, part, on_progress, on_message, homepage)
                if not _is_published(download, part):
                    part.unlink()
                    wrong = f"not the published file: its checksum is not {download.checksum}"
                    raise DownloadError(f"{download.url}: {wrong}; the same command gets it anew")
                part.replace(file)
                flush_folder(folder)
    except OSError as error:
        raise DownloadError(f"{download.url}: cannot be kept in {folder}: {error.strerror or error}") from error
    return file


def _check_space(download: Download, part: Path) -> None:
    """Refuse to begin what the disk cannot hold."""
    missing = download.bytes - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DownloadError(
            f"{download.url}: {missing / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free in {part.parent.parent}; "
            "make room, or choose another place by --root or $EMODNA_DATA"
        )


def _is_downloaded(download: Download, file: Path) -> bool:
    """Return True if the published file has its final name already."""
    if not file.exists():
        return False
    if not _is_published(download, file):
        # It may be all that a user has of another edition: not ours to remove.
        raise DownloadError(
            f"{file}: not the published file of {download.url} (its checksum is not {download.checksum}); "
            "move it away to get that one, or give it by --root to use it as it is"
        )
    return True


def _is_published(download: Download, file: Path) -> bool:
    from pooch.hashes import hash_matches

    return bool(hash_matches(str(file), download.checksum))


def _download_rest(
    download: Download, part: Path, on_progress: Callable[[int], None], on_message: Callable[[str], None], homepage: str
) -> None:
    """Bring a part to its full size, from however much of it is there. Its content is for the checksum to judge."""
    import requests

    failures = 0
    part.touch()
    while (held := part.stat().st_size) < download.bytes:
        on_progress(held)
        try:
            _request_rest(download, part, held, on_progress)
        except requests.RequestException as error:
            now = part.stat().st_size
            failures = 1 if now > held else failures + 1
            status = None if error.response is None else error.response.status_code
            if status is not None and status < 500 and status not in _RETRIED_STATUSES:
                look = f"see {homepage} for where it is now" if homepage else "look for it elsewhere"
                then = f"{look}, and say by --root where you put what you got"
            elif failures == _TRIES:
                here = f"{now / 1e6:.1f} of {download.bytes / 1e6:.1f} MB are here"
                then = f"{here}, and the same command goes on from there"
            else:
                pause = _PAUSE * 2 ** (failures - 1)
                on_message(f"{_describe_cause(error)}; trying again in {pause:.0f} s")
                time.sleep(pause)
                continue
            raise DownloadError(f"{download.url}: {_describe_cause(error)}; {then}") from error


def _request_rest(download: Download, part: Path, held: int, on_progress: Callable[[int], None]) -> None:
    """Ask for the file from byte `held` on, and write what comes."""
    import requests

    # Compressed on the way, a part could not be continued.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with (
        requests.get(download.url, headers=headers, stream=True, timeout=_TIMEOUT) as response,
        part.open("ab") as file,
    ):
        if response.status_code == 416:
            file.truncate(0)
        response.raise_for_status()
        total = response.headers.get("Content-Range", response.headers.get("Content-Length", "")).rpartition("/")[2]
        kind = response.headers.get("Content-Type", "unknown type")
        if kind.startswith("text/html") or (total.isdecimal() and int(total) != download.bytes):
            raise DownloadError(
                f"{download.url}: the server sends {total or 'some'} bytes ({kind}), the published file has "
                f"{download.bytes}: it has changed, or a login page is in the way"
            )
        if response.status_code == 200:  # the whole file, whatever was asked for
            file.truncate(0)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            file.truncate(0)
            raise requests.ConnectionError("the server sent another part of the file than was asked for")
        for chunk in response.iter_content(_CHUNK):
            if file.tell() + len(chunk) > download.bytes:
                file.truncate(0)
                raise DownloadError(f"{download.url}: the server sends more than the {download.bytes} bytes published")
            file.write(chunk)
            on_progress(file.tell())
        file.flush()
        os.fsync(file.fileno())
        if file.tell() < download.bytes:
            raise requests.ConnectionError("the server ended the file early")


def _describe_cause(error: BaseException) -> str:
    """Return what an error of the network comes down to, in one line: its wrappings say no more, at length."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
