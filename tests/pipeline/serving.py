"""A web server for one file, on this machine, that behaves as badly as it is told to."""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CONTENT = random.Random(0).randbytes(200_000)

Answer = Callable[["Request"], None]


@dataclass
class Server:
    """What the server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    answers: list[Answer] = field(default_factory=list)
    """To the next requests, one each; the last one stays."""
    ranges: list[str | None] = field(default_factory=list)
    """Range of each request so far."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Lets those go on who wait."""

    def next_answer(self) -> Answer:
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]) if self.answers else honest


class Request(BaseHTTPRequestHandler):
    """One request, with what an answer is made of."""

    timeout = 10
    corpus: Server

    def do_GET(self) -> None:
        self.corpus.ranges.append(self.headers["Range"])
        # A client that has had enough is no failure.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.corpus.next_answer()(self)

    def log_message(self, format: str, *args: object) -> None: ...

    def begin(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def asked(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")
        assert match is not None
        return int(match[1])


def honest(request: Request, *, sent: int | None = None) -> None:
    """All that was asked for, or its first `sent` bytes."""
    content, first = request.corpus.content, request.asked()
    if request.headers["Range"] is None:
        request.begin(200, Content_Length=len(content))
    elif first >= len(content):
        request.begin(416, Content_Range=f"bytes */{len(content)}")
        return
    else:
        request.begin(
            206, Content_Length=len(content) - first, Content_Range=f"bytes {first}-{len(content) - 1}/{len(content)}"
        )
    request.wfile.write(content[first:][:sent])


def cut_after(sent: int) -> Answer:
    return lambda request: honest(request, sent=sent)


def stalling_after(sent: int) -> Answer:
    def answer(request: Request) -> None:
        honest(request, sent=sent)
        request.corpus.ended.wait(10)

    return answer


def silent(request: Request) -> None:
    """The connection stands, and nothing comes."""
    request.corpus.ended.wait(10)


def trickling(request: Request) -> None:
    """A byte now and then, which is no silence."""
    request.begin(200, Content_Length=len(request.corpus.content))
    for byte in request.corpus.content:
        request.wfile.write(bytes([byte]))
        if request.corpus.ended.wait(0.02):
            return


def without_ranges(request: Request, *, sent: int | None = None) -> None:
    request.begin(200, Content_Length=len(request.corpus.content))
    request.wfile.write(request.corpus.content[:sent])


def without_length(content: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.begin(200)
        request.wfile.write(content)

    return answer


def claiming(length: int) -> Answer:
    """The real file, under a length that is not its own."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=length)
        request.wfile.write(request.corpus.content)

    return answer


def chunked(sent: int) -> Answer:
    """HTTP's own pieces, of which the last one is missing."""

    def answer(request: Request) -> None:
        request.protocol_version = "HTTP/1.1"
        request.begin(200, Transfer_Encoding="chunked", Connection="close")
        request.wfile.write(b"%x\r\n%s\r\n" % (sent, request.corpus.content[:sent]))
        request.close_connection = True

    return answer


def endless(request: Request) -> None:
    request.begin(200)
    while not request.corpus.ended.is_set():
        request.wfile.write(bytes(1 << 16))


def status(code: int, **headers: object) -> Answer:
    return lambda request: request.begin(code, **{"Content_Length": 0} | headers)


def web_page(request: Request) -> None:
    page = b"<html>Log in first</html>"
    request.begin(200, Content_Type="text/html; charset=utf-8", Content_Length=len(page))
    request.wfile.write(page)


def redirecting(to: str) -> Answer:
    return status(302, Location=to)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server for as long as the context lasts."""
    corpus = Server()

    class Handler(Request):
        pass

    Handler.corpus = corpus
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        server.daemon_threads = False
        host, port = server.server_address[:2]
        corpus.url = f"http://{host!s}:{port}/corpus.zip?download=1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield corpus
        finally:
            corpus.ended.set()
            server.shutdown()
            thread.join()


@dataclass
class Heard:
    """A watcher of a download that remembers what it was told."""

    positions: list[int] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    waits: list[Any] = field(default_factory=list)

    def waiting(self, file: object) -> None:
        self.waits.append(file)

    def received(self, position: int) -> None:
        self.positions.append(position)

    def retrying(self, reason: str, pause: float) -> None:
        self.retries.append(reason)
        self.pauses.append(pause)
