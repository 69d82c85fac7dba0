"""Get the bytes of one file over HTTP, going on where an earlier try ended.

Nothing is believed of a server: it may cut off, stall, ignore or misread the request for the rest of a file, or send
another file. Whether the bytes are the right ones is for `download` to check.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from emodna.pipeline.errors import DownloadError

if TYPE_CHECKING:
    import requests

_CHUNK: Final = 1 << 16
#: A try that brought so many bytes made headway, and the count of failed tries begins anew.
_HEADWAY: Final = 1 << 20
#: Bytes per second below which a connection counts as dead: RAVDESS would take ten days.
_SLOWEST: Final = 256
#: Seconds to wait at most, whatever the server asks for.
_LONGEST_PAUSE: Final = 60.0
#: Answers after which another try makes sense: timeouts and too many requests; 5xx beside them.
_PASSING: Final = frozenset({408, 425, 429})
_GONE: Final = frozenset({401, 403, 404, 410, 451})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer waits for a server, and how often it tries."""

    connect_seconds: float = 20.0
    read_seconds: float = 30.0
    """Without, or next to without, a byte."""
    tries: int = 5
    """In a row without headway."""
    pause_seconds: float = 1.0
    """Before the second try; each further one waits twice as long, or as the server says."""


class Watcher(Protocol):
    """Is told how a transfer goes."""

    def waiting(self, file: Path) -> None:
        """Another process is getting this file; this one waits for it."""

    def received(self, position: int) -> None:
        """The file is there up to this byte."""

    def retrying(self, reason: str, pause: float) -> None:
        """A try has failed; the next one follows in so many seconds."""


class _Broken(Exception):  # noqa: N818 (not an error yet: there is another try)
    """A try ended early; another one may go on.

    Parameters
    ----------
    pause
        Seconds that the server asks to wait.
    whole
        Ask for the whole file the next time: this server does not understand the request for a part.
    """

    def __init__(self, reason: str, *, pause: float = 0.0, whole: bool = False) -> None:
        super().__init__(reason)
        self.pause = pause
        self.whole = whole


def transfer(url: str, part: Path, size: int, watcher: Watcher, patience: Patience, *, advice: str) -> None:
    """Bring a file to its full size, from however much of it is there.

    Parameters
    ----------
    part
        May hold the beginning of the file. It keeps all that comes, unless that cannot be the file.
    size
        Of the whole, in bytes.
    advice
        What a user can do where the server has no such file.

    Raises
    ------
    DownloadError
        The server has not got this file, or failed too often in a row.
    OSError
        The part cannot be written.
    """
    if _held(part) > size:  # it cannot be the beginning of this file
        part.unlink()
    failures, whole = 0, False
    while (held := _held(part)) < size:
        watcher.received(held)
        try:
            _receive(url, part, size, 0 if whole else held, watcher, patience, advice)
        except _Broken as broken:
            now = _held(part)
            failures = 1 if now - held >= _HEADWAY else failures + 1
            whole |= broken.whole
            if failures >= patience.tries:
                raise DownloadError(
                    f"{url}: {broken}; after {failures} tries in a row {progress(now, size)} "
                    "are here, and the same command goes on from there"
                ) from broken
            pause = min(max(patience.pause_seconds * 2 ** (failures - 1), broken.pause), _LONGEST_PAUSE)
            watcher.retrying(str(broken), pause)
            time.sleep(pause)


def progress(position: int, size: int) -> str:
    """How much of a file is there, as people say it."""
    return f"{position / 1e6:.1f} of {size / 1e6:.1f} MB"


def _held(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _receive(url: str, part: Path, size: int, begin: int, watcher: Watcher, patience: Patience, advice: str) -> None:
    """One try: ask for the file from byte `begin` on, and write what comes."""
    with _asked(url, begin, patience) as response:
        position = _first_byte(response, url, begin, size, advice)
        # Written over, not cut off: where a server ignores the request for the rest, what is here already stays.
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(position)
            for chunk in _chunks(response, patience):
                if position + len(chunk) > size:
                    part.unlink()
                    raise DownloadError(f"{url}: the server sends more than the {size} bytes of the published file")
                file.write(chunk)
                position += len(chunk)
                watcher.received(position)
        if position < size:
            raise _Broken("the server ended the file early")


def _asked(url: str, begin: int, patience: Patience) -> requests.Response:
    """Send a request, follow redirects, and return the answer with its content still to come."""
    import requests

    # Compressed on the way, a part could not be continued.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        return requests.get(
            url, headers=headers, stream=True, timeout=(patience.connect_seconds, patience.read_seconds)
        )
    except requests.ConnectTimeout:
        raise _Broken(f"no connection within {patience.connect_seconds:g} s") from None
    except requests.Timeout:
        raise _Broken(f"no answer within {patience.read_seconds:g} s") from None
    except requests.TooManyRedirects:
        raise DownloadError(f"{url}: the server redirects in a circle; {_ELSEWHERE}") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _Broken(_innermost(error)) from error
    except (requests.RequestException, ValueError) as error:  # an address, or a redirect to one, that is none
        raise DownloadError(f"{url}: {_innermost(error)}") from error


def _first_byte(response: requests.Response, url: str, begin: int, size: int, advice: str) -> int:
    """Position at which the content of an answer begins, if it can be this file's."""
    status, headers = response.status_code, response.headers
    said = f"{status} {response.reason}".strip()
    if status in _PASSING or status >= 500:
        seconds = headers.get("Retry-After", "")
        raise _Broken(f"the server answers {said}", pause=float(seconds) if seconds.isdecimal() else 0.0)
    if status == 416:
        raise _Broken(f"the server answers {said}", whole=True)
    if status in _GONE:
        raise DownloadError(f"{url}: the server answers {said}; {advice}")
    if status not in (200, 206):
        raise DownloadError(f"{url}: the server answers {said}; {_ELSEWHERE}")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(f"{url}: the server sends a web page instead of the file; {_ELSEWHERE}")
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) > begin:
            raise _Broken("the server sends another part than the one asked for", whole=True)
        start, total = int(match[1]), match[2]
    else:
        start, total = 0, "*" if "Content-Encoding" in headers else headers.get("Content-Length", "*")
    if total.isdecimal() and int(total) != size:
        raise DownloadError(f"{url}: the server has a file of {total} bytes, the published one has {size}; {advice}")
    return start


def _chunks(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    """Content of an answer as it comes."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    stalled = _Broken(f"next to nothing came for {patience.read_seconds:g} s")
    since, brought = time.monotonic(), 0
    while True:
        try:
            # read1 returns what is there: read would wait for a whole chunk, and a trickle would look like silence.
            chunk = response.raw.read1(_CHUNK, decode_content=True)
        except ReadTimeoutError:
            raise stalled from None
        except (HTTPError, OSError) as error:
            raise _Broken("the connection was cut off") from error
        if not chunk:
            return
        yield chunk
        brought += len(chunk)
        if (now := time.monotonic()) - since >= patience.read_seconds:
            if brought < _SLOWEST * patience.read_seconds:
                raise stalled
            since, brought = now, 0


_ELSEWHERE: Final = "a proxy or a login page may be in the way"


def _innermost(error: BaseException) -> str:
    """What an error of the network comes down to, in one line: its wrappings say no more, at length."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
