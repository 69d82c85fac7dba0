"""Tests of downloads from a faulty server: they end with the published file or an error."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from emodna.pipeline.download import Download, fetch
from emodna.pipeline.errors import DownloadError
from tests.pipeline.download_server import (
    CONTENT,
    Reply,
    Request,
    Server,
    ignore_range,
    run_server,
    send_nothing,
    send_status,
    serve_file,
    serve_start,
    serve_web_page,
    serve_web_page_without_length,
    serve_wrong_part,
)

HOMEPAGE = "https://corpus.example"
CHUNK = 1 << 14
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name, value in {"_PAUSE": 0.001, "_TIMEOUT": (2.0, 0.2), "_TRIES": 3}.items():
        monkeypatch.setattr(f"emodna.pipeline.download.{name}", value)
    with run_server() as server:
        yield server


@pytest.fixture
def download(server: Server) -> Download:
    return Download(url=server.url, file="corpus.zip", bytes=len(CONTENT), checksum=SHA256, confirmed=True)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    folder = tmp_path / ".download"
    folder.mkdir()
    return folder / "corpus.zip.part"


def download_file(download: Download, folder: Path, on_message: Callable[[str], None] = print) -> Path:
    return fetch(download, folder, lambda _: None, on_message, homepage=HOMEPAGE)


def get_error(download: Download, folder: Path) -> str:
    """Return the error of a download that must fail: one line with the URL, and no file."""
    with pytest.raises(DownloadError) as caught:
        download_file(download, folder)
    text = str(caught.value)
    assert caught.value.where == download.url
    assert text.isprintable()
    assert not (folder / download.file).exists()
    return text


def test_a_file_is_downloaded_once_and_leaves_no_other_visible_file(
    server: Server, download: Download, tmp_path: Path
) -> None:
    messages: list[str] = []
    folder = tmp_path / "data" / "corpus"
    file = download_file(download, folder, messages.append)
    assert file == folder / "corpus.zip"
    assert file.read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["corpus.zip"]
    assert download_file(download, folder) == file
    assert (messages, server.ranges) == ([], [None])


@pytest.mark.parametrize("algorithm", ["md5", "SHA256"])
def test_checksums_of_any_algorithm_are_verified(download: Download, tmp_path: Path, algorithm: str) -> None:
    digest = hashlib.new(algorithm, CONTENT).hexdigest().upper()
    for _ in range(2):  # the second time, the file exists
        assert download_file(replace(download, checksum=f"{algorithm}:{digest}"), tmp_path).read_bytes() == CONTENT


def test_another_file_of_this_name_is_an_error_and_kept(download: Download, tmp_path: Path) -> None:
    (tmp_path / "corpus.zip").write_bytes(b"another edition")
    with pytest.raises(DownloadError) as caught:
        download_file(download, tmp_path)
    assert caught.value.where == tmp_path / "corpus.zip"
    assert (tmp_path / "corpus.zip").read_bytes() == b"another edition"


@pytest.mark.parametrize(
    "replies",
    [
        [serve_start(CHUNK), serve_file],
        [serve_start(CHUNK), send_status(503), serve_file],
        [serve_start(CHUNK), send_nothing, serve_file],
    ],
    ids=["cut off", "server error", "no reply"],
)
def test_an_interrupted_download_is_continued(
    server: Server, download: Download, tmp_path: Path, replies: list[Reply]
) -> None:
    server.replies = replies
    assert download_file(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert set(server.ranges[1:]) == {f"bytes={CHUNK}-"}


@pytest.mark.parametrize("reply", [serve_start(0), send_nothing, send_status(500)])
def test_a_failing_server_is_an_error_and_a_later_download_continues(
    server: Server, download: Download, tmp_path: Path, part: Path, reply: Reply
) -> None:
    server.replies = [serve_start(4 * CHUNK), reply]
    assert "0.1 of 0.2 MB" in get_error(download, tmp_path)
    assert part.read_bytes() == CONTENT[: 4 * CHUNK]
    server.replies = [serve_file]
    assert download_file(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={4 * CHUNK}-"


def test_ctrl_c_keeps_the_downloaded_part(server: Server, download: Download, tmp_path: Path, part: Path) -> None:
    def interrupt(position: int) -> None:
        if position > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(download, tmp_path, interrupt, print)
    size = part.stat().st_size
    assert 0 < size < len(CONTENT)
    assert download_file(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={size}-"]


def test_two_downloads_at_once_request_the_file_once(server: Server, download: Download, tmp_path: Path) -> None:
    has_begun, gate = threading.Event(), threading.Event()

    def wait_and_serve(request: Request) -> None:
        has_begun.set()
        assert gate.wait(10)
        serve_file(request)

    server.replies = [wait_and_serve]
    files: list[Path] = []
    first = threading.Thread(target=lambda: files.append(download_file(download, tmp_path)))
    first.start()
    assert has_begun.wait(10)
    messages: list[str] = []
    files.append(download_file(download, tmp_path, lambda line: (messages.append(line), gate.set())[0]))
    first.join()
    assert files == [tmp_path / "corpus.zip"] * 2
    assert len(messages) == 1
    assert set(server.ranges) == {None}


@pytest.mark.parametrize("reply", [ignore_range, send_status(416)], ids=["whole file", "refused"])
def test_a_server_without_ranges_sends_the_whole_file_again(
    server: Server, download: Download, tmp_path: Path, reply: Reply
) -> None:
    server.replies = [serve_start(CHUNK), reply, serve_file]
    assert download_file(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[:2] == [None, f"bytes={CHUNK}-"]


def test_the_error_of_a_missing_file_names_the_homepage(server: Server, download: Download, tmp_path: Path) -> None:
    server.replies = [send_status(404)]
    text = get_error(download, tmp_path)
    assert "404" in text
    assert HOMEPAGE in text
    assert len(server.ranges) == 1


@pytest.mark.parametrize("page", [serve_web_page, serve_web_page_without_length])
def test_a_login_page_is_an_error(server: Server, download: Download, tmp_path: Path, part: Path, page: Reply) -> None:
    part.write_bytes(CONTENT[:70_000])
    server.replies = [page]
    assert "text/html" in get_error(download, tmp_path)
    assert part.read_bytes() == CONTENT[:70_000]


def test_a_part_that_was_not_requested_is_not_appended(
    server: Server, download: Download, tmp_path: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:70_000])
    server.replies = [serve_wrong_part, serve_file]
    assert download_file(download, tmp_path).read_bytes() == CONTENT


def test_a_disk_without_space_is_an_error_before_the_first_request(
    server: Server, download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) - 1))
    assert "0 MB free" in get_error(download, tmp_path)
    assert server.ranges == []


@pytest.mark.parametrize("size", [0, 70_000, 300_000])
def test_a_wrong_checksum_deletes_the_part(
    server: Server, download: Download, tmp_path: Path, part: Path, size: int
) -> None:
    """The downloaded part is empty, damaged or too long."""
    part.write_bytes(bytes(size))
    server.content = bytes(len(CONTENT))
    assert SHA256.partition(":")[2] in get_error(download, tmp_path)
    server.content = CONTENT
    assert download_file(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_full_disk_is_an_error(download: Download, tmp_path: Path) -> None:
    def fill_disk(position: int) -> None:
        if position > 0:
            raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(download, tmp_path, fill_disk, print)
