"""Downloads from a server that one would not wish for: what is there in the end is the published file, or nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from emodna.pipeline.download import Download, corpora, fetch
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
    monkeypatch.setattr(corpora, "_PAUSE", 0.001)
    monkeypatch.setattr(corpora, "_TIMEOUT", (2.0, 0.2))
    monkeypatch.setattr(corpora, "_TRIES", 3)
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


def get(download: Download, folder: Path, tell: Callable[[str], None] = print) -> Path:
    return fetch(download, folder, lambda _: None, tell, homepage=HOMEPAGE)


def failure(download: Download, folder: Path) -> str:
    """The error, which has to be one line that names the address; nothing lies under the final name."""
    with pytest.raises(DownloadError) as failed:
        get(download, folder)
    text = str(failed.value)
    assert text.startswith(f"{download.url}: ")
    assert text.isprintable()
    assert not (folder / download.file).exists()
    return text


def test_a_file_is_got_once_and_nothing_else_is_left(server: Server, download: Download, tmp_path: Path) -> None:
    told: list[str] = []
    folder = tmp_path / "data" / "corpus"
    file = get(download, folder, told.append)
    assert file == folder / "corpus.zip"
    assert file.read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["corpus.zip"]
    assert get(download, folder) == file
    assert (told, server.ranges) == ([], [None])


@pytest.mark.parametrize("algorithm", ["md5", "SHA256"])
def test_checksums_are_of_any_kind(download: Download, tmp_path: Path, algorithm: str) -> None:
    digest = hashlib.new(algorithm, CONTENT).hexdigest().upper()
    for _ in range(2):  # the second time it is there
        assert get(replace(download, checksum=f"{algorithm}:{digest}"), tmp_path).read_bytes() == CONTENT


def test_another_file_of_its_name_is_neither_used_nor_touched(download: Download, tmp_path: Path) -> None:
    (tmp_path / "corpus.zip").write_bytes(b"another edition")
    with pytest.raises(DownloadError, match=r"corpus\.zip: not the published file"):
        get(download, tmp_path)
    assert (tmp_path / "corpus.zip").read_bytes() == b"another edition"


@pytest.mark.parametrize(
    "replies",
    [
        [serve_start(CHUNK), serve_file],
        [serve_start(CHUNK), send_status(503), serve_file],
        [serve_start(CHUNK), send_nothing, serve_file],
    ],
    ids=["cut off", "a server in trouble", "no answer"],
)
def test_a_download_goes_on_where_it_ended(
    server: Server, download: Download, tmp_path: Path, replies: list[Reply]
) -> None:
    server.replies = replies
    assert get(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert set(server.ranges[1:]) == {f"bytes={CHUNK}-"}


@pytest.mark.parametrize("reply", [serve_start(0), send_nothing, send_status(500)])
def test_a_server_that_fails_always_is_given_up_and_a_later_run_goes_on(
    server: Server, download: Download, tmp_path: Path, part: Path, reply: Reply
) -> None:
    server.replies = [serve_start(4 * CHUNK), reply]
    assert "0.1 of 0.2 MB are here, and the same command goes on" in failure(download, tmp_path)
    assert part.read_bytes() == CONTENT[: 4 * CHUNK]
    server.replies = [serve_file]
    assert get(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={4 * CHUNK}-"


def test_ctrl_c_keeps_what_came(server: Server, download: Download, tmp_path: Path, part: Path) -> None:
    def impatient(position: int) -> None:
        if position > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(download, tmp_path, impatient, print)
    held = part.stat().st_size
    assert 0 < held < len(CONTENT)
    assert get(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={held}-"]


def test_two_at_once_get_it_once(server: Server, download: Download, tmp_path: Path) -> None:
    begun, gate = threading.Event(), threading.Event()

    def gated(request: Request) -> None:
        begun.set()
        assert gate.wait(10)
        serve_file(request)

    server.replies = [gated]
    files: list[Path] = []
    first = threading.Thread(target=lambda: files.append(get(download, tmp_path)))
    first.start()
    assert begun.wait(10)
    told: list[str] = []
    files.append(get(download, tmp_path, lambda line: (told.append(line), gate.set())[0]))
    first.join()
    assert files == [tmp_path / "corpus.zip"] * 2
    assert len(told) == 1
    assert set(server.ranges) == {None}


@pytest.mark.parametrize("reply", [ignore_range, send_status(416)], ids=["all again", "refused"])
def test_a_server_that_does_not_send_the_rest_sends_all_again(
    server: Server, download: Download, tmp_path: Path, reply: Reply
) -> None:
    server.replies = [serve_start(CHUNK), reply, serve_file]
    assert get(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[:2] == [None, f"bytes={CHUNK}-"]


def test_a_file_that_is_gone_names_the_homepage_and_another_way(
    server: Server, download: Download, tmp_path: Path
) -> None:
    server.replies = [send_status(404)]
    text = failure(download, tmp_path)
    for part in ("404", HOMEPAGE, "--root"):
        assert part in text
    assert len(server.ranges) == 1


@pytest.mark.parametrize("page", [serve_web_page, serve_web_page_without_length])
def test_a_login_page_is_not_taken_for_the_file(
    server: Server, download: Download, tmp_path: Path, part: Path, page: Reply
) -> None:
    part.write_bytes(CONTENT[:70_000])
    server.replies = [page]
    assert "text/html" in failure(download, tmp_path)
    assert part.read_bytes() == CONTENT[:70_000]


def test_a_part_that_was_not_asked_for_is_not_appended(
    server: Server, download: Download, tmp_path: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:70_000])
    server.replies = [serve_wrong_part, serve_file]
    assert get(download, tmp_path).read_bytes() == CONTENT


def test_a_disk_without_room_is_refused_before_the_first_byte(
    server: Server, download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) - 1))
    assert "make room" in failure(download, tmp_path)
    assert server.ranges == []


@pytest.mark.parametrize("held", [0, 70_000, 300_000])
def test_a_wrong_checksum_costs_one_run(
    server: Server, download: Download, tmp_path: Path, part: Path, held: int
) -> None:
    """Of another file, of a damaged part, and of one that is too long."""
    part.write_bytes(bytes(held))
    server.content = bytes(len(CONTENT))
    text = failure(download, tmp_path)
    assert "not the published file" in text
    assert SHA256.partition(":")[2] in text
    server.content = CONTENT
    assert get(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_disk_that_fills_up_is_one_line(download: Download, tmp_path: Path) -> None:
    def full(position: int) -> None:
        if position > 0:
            raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(download, tmp_path, full, print)
