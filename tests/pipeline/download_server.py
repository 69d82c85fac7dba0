"""A local web server for one file; a test chooses its replies."""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONTENT = random.Random(0).randbytes(200_000)

Reply = Callable[["Request"], None]


@dataclass
class Server:
    """Content and replies of a server, and its requests so far."""

    url: str = ""
    content: bytes = CONTENT
    replies: list[Reply] = field(default_factory=list)
    """Replies to the next requests, one each; the last one is repeated."""
    ranges: list[str | None] = field(default_factory=list)
    """Range header of each request so far."""

    def next_reply(self) -> Reply:
        return (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]) if self.replies else serve_file


class Request(BaseHTTPRequestHandler):
    timeout = 10
    server_state: Server

    def do_GET(self) -> None:
        self.server_state.ranges.append(self.headers["Range"])
        # The client may end the connection.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.server_state.next_reply()(self)

    def log_message(self, format: str, *args: object) -> None: ...

    def begin(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def serve_file(request: Request, *, sent: int | None = None) -> None:
    """Send the requested range, or its first `sent` bytes."""
    content = request.server_state.content
    match = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    first = int(match[1]) if match else 0
    if match is None:
        request.begin(200, Content_Length=len(content))
    elif first >= len(content):
        return request.begin(416, Content_Range=f"bytes */{len(content)}")
    else:
        place = f"bytes {first}-{len(content) - 1}/{len(content)}"
        request.begin(206, Content_Length=len(content) - first, Content_Range=place)
    request.wfile.write(content[first:][:sent])
    return None


def serve_start(sent: int) -> Reply:
    return lambda request: serve_file(request, sent=sent)


def send_nothing(request: Request) -> None:
    """Wait until the client ends the connection."""
    request.rfile.read(1)


def ignore_range(request: Request) -> None:
    request.begin(200, Content_Length=len(request.server_state.content))
    request.wfile.write(request.server_state.content)


def send_status(code: int, **headers: object) -> Reply:
    return lambda request: request.begin(code, **{"Content_Length": 0} | headers)


def serve_web_page(request: Request) -> None:
    page = b"<html>Log in first</html>"
    request.begin(200, Content_Type="text/html; charset=utf-8", Content_Length=len(page))
    request.wfile.write(page)


def serve_web_page_without_length(request: Request) -> None:
    request.begin(200, Content_Type="text/html")
    request.wfile.write(b"<html>Log in first</html>")


def serve_wrong_part(request: Request) -> None:
    """Send the file from its first byte as a reply to any range."""
    content = request.server_state.content
    request.begin(206, Content_Length=len(content), Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")
    request.wfile.write(content)


@contextlib.contextmanager
def run_server() -> Iterator[Server]:
    """Run a server in this block."""
    state = Server()

    class Handler(Request):
        pass

    Handler.server_state = state
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        server.daemon_threads = False
        host, port = server.server_address[:2]
        state.url = f"http://{host!s}:{port}/corpus.zip?download=1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
