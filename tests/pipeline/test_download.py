"""Downloads from a server that one would not wish for: what is there in the end is the published file, or nothing."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from emodna.pipeline.download import Download, fetch, transfer
from emodna.pipeline.download.transfer import Patience
from emodna.pipeline.errors import DownloadError
from tests.pipeline.serving import (
    CONTENT,
    Heard,
    Request,
    Server,
    chunked,
    claiming,
    cut_after,
    endless,
    honest,
    redirecting,
    serving,
    silent,
    stalling_after,
    status,
    trickling,
    web_page,
    without_length,
    without_ranges,
)

FAST = Patience(connect_seconds=2.0, read_seconds=0.3, tries=3, pause_seconds=0.01)
HOMEPAGE = "https://corpus.example"
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def download(server: Server) -> Download:
    return Download(url=server.url, file="corpus.zip", bytes=len(CONTENT), checksum=SHA256, confirmed=True)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    folder = tmp_path / ".download"
    folder.mkdir()
    return folder / "corpus.zip.part"


def get(download: Download, folder: Path, heard: Heard | None = None) -> Path:
    return fetch(download, folder, heard or Heard(), homepage=HOMEPAGE, patience=FAST)


def failure(download: Download, folder: Path) -> str:
    """The error, which has to be one line that names the address; nothing lies under the final name."""
    with pytest.raises(DownloadError) as failed:
        get(download, folder)
    text = str(failed.value)
    assert text.startswith(f"{download.url}: ")
    assert text.isprintable()
    assert not (folder / download.file).exists()
    return text


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


class TestGood:
    def test_a_file_is_got_and_nothing_else_is_left(self, server: Server, download: Download, tmp_path: Path) -> None:
        heard = Heard()
        file = get(download, tmp_path / "data" / "corpus", heard)
        assert file == tmp_path / "data" / "corpus" / "corpus.zip"
        assert file.read_bytes() == CONTENT
        assert visible(file.parent) == ["corpus.zip"]
        assert heard.positions[0] == 0
        assert heard.positions[-1] == len(CONTENT)
        assert heard.positions == sorted(heard.positions)
        assert (heard.retries, heard.waits, server.ranges) == ([], [], [None])

    @pytest.mark.parametrize("algorithm", ["md5", "SHA256"])
    def test_checksums_are_of_any_kind(self, download: Download, tmp_path: Path, algorithm: str) -> None:
        digest = hashlib.new(algorithm, CONTENT).hexdigest().upper()
        assert get(replace(download, checksum=f"{algorithm}:{digest}"), tmp_path).read_bytes() == CONTENT

    def test_a_file_that_is_there_is_verified_and_kept(
        self, server: Server, download: Download, tmp_path: Path
    ) -> None:
        file = get(download, tmp_path)
        before = file.stat().st_mtime_ns
        assert get(download, tmp_path) == file
        assert len(server.ranges) == 1
        assert file.stat().st_mtime_ns == before

    def test_another_file_of_its_name_is_neither_used_nor_touched(self, download: Download, tmp_path: Path) -> None:
        (tmp_path / "corpus.zip").write_bytes(b"another edition")
        with pytest.raises(DownloadError) as refused:
            get(download, tmp_path)
        other = "sha256:" + hashlib.sha256(b"another edition").hexdigest()
        assert str(refused.value).startswith(f"{tmp_path / 'corpus.zip'}: not the published file")
        assert f"({other}, published {SHA256})" in str(refused.value)
        assert (tmp_path / "corpus.zip").read_bytes() == b"another edition"

    def test_redirects_are_followed(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [redirecting("/elsewhere"), redirecting(server.url), cut_after(70_000), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT


class TestInterrupted:
    def test_a_cut_is_continued_where_it_happened(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [cut_after(70_000), cut_after(50_000), honest]
        heard = Heard()
        assert get(download, tmp_path, heard).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-", "bytes=120000-"]
        assert heard.retries == ["the connection was cut off"] * 2

    def test_a_cut_between_http_chunks_is_one(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [chunked(70_000), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-"]

    def test_cut_always_says_how_far_it_came_and_goes_on_later(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        server.answers = [cut_after(20_000)]
        text = failure(download, tmp_path)
        assert "after 3 tries in a row 0.1 of 0.2 MB are here" in text
        assert "the same command goes on from there" in text
        assert part.read_bytes() == CONTENT[:60_000]
        server.answers = [honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges[-1] == "bytes=60000-"

    def test_tries_with_headway_do_not_count(
        self, server: Server, download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transfer, "_HEADWAY", 20_000)
        server.answers = [cut_after(20_000)]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert len(server.ranges) == 10

    def test_ctrl_c_keeps_what_came(self, server: Server, download: Download, tmp_path: Path, part: Path) -> None:
        class Impatient(Heard):
            def received(self, position: int) -> None:
                if position > 50_000:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            get(download, tmp_path, Impatient())
        held = part.stat().st_size
        assert part.read_bytes() == CONTENT[:held]
        assert held > 50_000
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, f"bytes={held}-"]

    @pytest.mark.parametrize("answer", [silent, stalling_after(0), stalling_after(20_000), trickling])
    def test_a_stall_is_one_line_and_a_matter_of_seconds(
        self, server: Server, download: Download, tmp_path: Path, answer: object
    ) -> None:
        server.answers = [answer]  # type: ignore[list-item]
        assert "0.3 s; after 3 tries in a row" in failure(download, tmp_path)
        server.answers = [honest]
        assert get(download, tmp_path).read_bytes() == CONTENT

    def test_a_stall_is_continued_as_a_cut_is(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [stalling_after(70_000), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-"]

    def test_nobody_there(self, server: Server, download: Download, tmp_path: Path) -> None:
        port = server.url.split(":")[2].split("/")[0]
        gone = replace(download, url=server.url.replace(port, "1"))
        assert "Connection refused; after 3 tries in a row" in failure(gone, tmp_path)

    def test_a_part_of_the_full_size_needs_no_server(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        part.write_bytes(CONTENT)
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == []

    def test_two_at_once_get_it_once(self, server: Server, download: Download, tmp_path: Path) -> None:
        begun, gate = threading.Event(), threading.Event()

        def gated(request: Request) -> None:
            begun.set()
            assert gate.wait(10)
            honest(request)

        class Opening(Heard):
            def waiting(self, file: object) -> None:
                super().waiting(file)
                gate.set()

        server.answers = [gated]
        files: list[Path] = []
        patient = replace(FAST, read_seconds=10)
        first = threading.Thread(target=lambda: files.append(fetch(download, tmp_path, Heard(), patience=patient)))
        first.start()
        assert begun.wait(10)
        second = Opening()
        files.append(get(download, tmp_path, second))
        first.join()
        assert files == [tmp_path / "corpus.zip"] * 2
        assert second.waits == [tmp_path / "corpus.zip"]
        assert server.ranges == [None]


class TestOddAnswers:
    def test_a_server_without_ranges_sends_all_again(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [cut_after(70_000), without_ranges]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-"]

    def test_and_takes_nothing_away_where_it_is_cut_off_earlier(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        server.answers = [cut_after(70_000), lambda request: without_ranges(request, sent=30_000)]
        failure(download, tmp_path)
        assert part.read_bytes() == CONTENT[:70_000]

    def test_a_range_that_is_refused_is_not_asked_for_again(
        self, server: Server, download: Download, tmp_path: Path
    ) -> None:
        server.answers = [cut_after(70_000), status(416), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-", None]

    @pytest.mark.parametrize("claimed", ["bytes 90000-199999/200000", "bytes 70000-199999", "nonsense"])
    def test_another_range_than_the_one_asked_for_is_not_believed(
        self, server: Server, download: Download, tmp_path: Path, claimed: str
    ) -> None:
        server.answers = [cut_after(70_000), status(206, Content_Range=claimed), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-", None]

    @pytest.mark.parametrize("code", [500, 503, 429])
    def test_a_passing_trouble_passes(self, server: Server, download: Download, tmp_path: Path, code: int) -> None:
        server.answers = [status(code, Retry_After=0), honest]
        heard = Heard()
        assert get(download, tmp_path, heard).read_bytes() == CONTENT
        assert heard.retries[0].startswith(f"the server answers {code}")

    def test_a_lasting_trouble_is_named(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [status(500)]
        assert "the server answers 500 Internal Server Error; after 3 tries" in failure(download, tmp_path)

    def test_the_server_may_ask_to_wait(
        self, server: Server, download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[float] = []
        monkeypatch.setattr(transfer.time, "sleep", slept.append)
        server.answers = [status(503, Retry_After=7), status(503, Retry_After=86_400), honest]
        get(download, tmp_path)
        assert slept == [7.0, 60.0]

    @pytest.mark.parametrize("code", [404, 410, 403])
    def test_a_file_that_is_gone_names_the_homepage_and_another_way(
        self, server: Server, download: Download, tmp_path: Path, code: int
    ) -> None:
        server.answers = [status(code)]
        text = failure(download, tmp_path)
        assert f"the server answers {code}" in text
        assert HOMEPAGE in text
        assert "--root" in text
        assert len(server.ranges) == 1

    def test_a_circle_of_redirects(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [redirecting(server.url)]
        assert "redirects in a circle" in failure(download, tmp_path)

    def test_a_redirect_to_another_kind_of_address(self, server: Server, download: Download, tmp_path: Path) -> None:
        server.answers = [redirecting("file:///etc/hostname")]
        assert "file:///etc/hostname" in failure(download, tmp_path)

    def test_a_login_page_is_not_taken_for_the_file(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        part.write_bytes(CONTENT[:70_000])
        server.answers = [web_page]
        assert "a web page instead of the file" in failure(download, tmp_path)
        assert part.read_bytes() == CONTENT[:70_000]


class TestWrongContent:
    def test_a_wrong_checksum_is_named_with_both_digests_and_not_kept(
        self, server: Server, download: Download, tmp_path: Path
    ) -> None:
        server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
        text = failure(download, tmp_path)
        assert f"expected {SHA256} but got {hashlib.sha256(server.content).hexdigest()}" in text
        assert visible(tmp_path) == []
        server.content = CONTENT
        assert get(download, tmp_path).read_bytes() == CONTENT

    def test_a_damaged_part_costs_one_run(self, server: Server, download: Download, tmp_path: Path, part: Path) -> None:
        part.write_bytes(bytes(70_000))
        assert "not the published file" in failure(download, tmp_path)
        assert visible(tmp_path) == []
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == ["bytes=70000-", None]

    def test_a_part_that_is_too_long_is_none(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        part.write_bytes(CONTENT + b"more")
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None]

    @pytest.mark.parametrize("length", [len(CONTENT) + 1, len(CONTENT) - 1])
    def test_a_file_of_another_size_is_refused_at_once(
        self, server: Server, download: Download, tmp_path: Path, length: int
    ) -> None:
        server.answers = [claiming(length)]
        text = failure(download, tmp_path)
        assert f"the server has a file of {length} bytes, the published one has {len(CONTENT)}" in text
        assert visible(tmp_path) == []

    def test_so_is_one_that_has_changed_since_the_last_run(
        self, server: Server, download: Download, tmp_path: Path, part: Path
    ) -> None:
        part.write_bytes(CONTENT[:70_000])
        server.content = CONTENT + b"2.0"
        assert f"a file of {len(CONTENT) + 3} bytes" in failure(download, tmp_path)

    @pytest.mark.parametrize("answer", [endless, without_length(CONTENT + b"more")])
    def test_more_than_was_published_is_refused_and_not_kept(
        self, server: Server, download: Download, tmp_path: Path, answer: object
    ) -> None:
        server.answers = [answer]  # type: ignore[list-item]
        assert f"more than the {len(CONTENT)} bytes" in failure(download, tmp_path)
        assert visible(tmp_path) == []

    def test_less_than_was_published_is_as_good_as_cut_off(
        self, server: Server, download: Download, tmp_path: Path
    ) -> None:
        server.answers = [without_length(CONTENT[:70_000]), honest]
        assert get(download, tmp_path).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=70000-"]


class TestDisk:
    def test_too_little_room_is_found_before_anything_is_asked(
        self, server: Server, download: Download, tmp_path: Path, part: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 100_000))
        assert "room for 0.1 MB" in failure(download, tmp_path)
        assert server.ranges == []
        part.write_bytes(CONTENT[:120_000])  # what is there already needs no room
        assert get(download, tmp_path).read_bytes() == CONTENT

    def test_a_disk_that_fills_up_is_one_line(self, download: Download, tmp_path: Path) -> None:
        class Full(Heard):
            def received(self, position: int) -> None:
                if position > 0:
                    raise OSError(28, "No space left on device")

        with pytest.raises(DownloadError, match="No space left on device"):
            get(download, tmp_path, Full())

    def test_a_folder_that_cannot_be_made_is_one_line(self, download: Download, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert f"cannot be kept in {tmp_path / 'file' / 'corpus'}" in failure(download, tmp_path / "file" / "corpus")
