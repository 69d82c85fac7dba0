"""Tests of emodna-prep --download: output, the licence question, and the root that is prepared."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emodna.cli import progress
from emodna.pipeline import corpora, prepare
from emodna.pipeline import download as pipeline_download
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.corpora.emodb import Emodb
from emodna.pipeline.download import Download
from tests.cli.running import Command
from tests.pipeline.download_server import CONTENT, Server, run_server

MD5 = hashlib.md5(CONTENT).hexdigest()
FILE = Path("data") / "harbour" / "harbour.zip"


@pytest.fixture
def server() -> Iterator[Server]:
    with run_server() as server:
        yield server


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Return the list of corpora and roots to prepare, instead of preparing them."""
    prepared: list[tuple[str, Path]] = []

    def record(corpus: Corpus, root: Path, cache: Path, *_: object, **__: object) -> prepare.PrepareReport:
        prepared.append((corpus.name, root))
        return prepare.PrepareReport(corpus.name, cache, 1, 0, 1, 0, 1.0, 1.0, {}, {}, (), ())

    monkeypatch.setattr(prepare, "prepare", record)
    return prepared


@pytest.fixture(autouse=True)
def harbour(server: Server, roots: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register `harbour`, a corpus on the local server, and `gated`, which cannot be downloaded."""

    class Harbour(Emodb):
        name = "harbour"
        info = replace(
            Emodb.info,
            title="Voices of the harbour",
            homepage="https://harbour.example",
            download=Download(server.url, "harbour.zip", len(CONTENT), f"md5:{MD5}", confirmed=False),
        )

    class Gated(Emodb):
        name = "gated"
        info = replace(Emodb.info, download=None, obtain="Sign the form at https://gated.example. It takes days.")

    monkeypatch.setattr(corpora, "CORPORA", {"harbour": Harbour, "gated": Gated})
    monkeypatch.setattr(pipeline_download, "_PAUSE", 0.001)
    monkeypatch.setattr(pipeline_download, "_TRIES", 2)
    return Harbour


class Terminal(io.StringIO):
    """Standard input on a terminal."""

    def isatty(self) -> bool:
        return True


OPTIONS = ("--corpus", "harbour", "--download", "--accept-licence")


class TestDownload:
    def test_the_file_is_downloaded_and_prepared(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], server: Server
    ) -> None:
        ran = emodna_prep(*OPTIONS)
        assert ran.code == 0
        assert FILE.read_bytes() == CONTENT
        assert roots == [("harbour", FILE)]
        lines = ran.err.splitlines()
        assert lines[0] == "harbour: Voices of the harbour"
        info = dict(line.split(maxsplit=1) for line in lines[1:7])
        assert info["size"] == "0 MB"
        assert info["licence"] == Emodb.info.licence
        assert info["citation"] == Emodb.info.citation
        assert info["from"] == server.url
        assert info["to"] == str(FILE)
        assert "confirmed by only one source" in info["checksum"]
        assert lines[7] == f"harbour: {FILE} has the published checksum (md5)"

    def test_a_second_run_only_verifies(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], server: Server
    ) -> None:
        emodna_prep(*OPTIONS)
        ran = emodna_prep("--corpus", "harbour", "--download")
        assert (ran.code, ran.err) == (0, f"harbour: {FILE} has the published checksum (md5)\n")
        assert roots == [("harbour", FILE)] * 2
        assert len(server.ranges) == 1

    def test_root_and_data_folder_set_the_destination(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert emodna_prep(*OPTIONS, "--root", tmp_path / "mine").code == 0
        monkeypatch.setenv("EMODNA_DATA", str(tmp_path / "speech"))
        assert emodna_prep(*OPTIONS).code == 0
        assert [root for _, root in roots] == [
            tmp_path / "mine" / "harbour.zip",
            tmp_path / "speech" / "harbour" / "harbour.zip",
        ]

    @pytest.mark.parametrize("quiet", [(), ("-q",)])
    def test_an_existing_root_is_not_downloaded(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], server: Server, quiet: tuple[str, ...]
    ) -> None:
        FILE.parent.mkdir(parents=True)
        (FILE.parent / "wav").mkdir()
        ran = emodna_prep(*OPTIONS, *quiet)
        assert ran.err == ("" if quiet else "harbour: data/harbour exists; nothing to download\n")
        assert roots == [("harbour", FILE.parent)]
        assert server.ranges == []

    def test_quiet_json_prints_only_the_document(self, emodna_prep: Command) -> None:
        ran = emodna_prep(*OPTIONS, "--json", "-q")
        assert ran.json[0]["corpus"] == "harbour"
        assert ran.err == ""

    def test_progress_without_a_terminal_is_printed_as_lines(
        self, emodna_prep: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
        assert "harbour: 200.0/200.0 kB, " in emodna_prep(*OPTIONS).err

    def test_a_wrong_file_is_an_error_and_not_prepared(
        self, emodna_prep: Command, server: Server, roots: list[tuple[str, Path]]
    ) -> None:
        server.content = CONTENT[::-1]
        line = emodna_prep(*OPTIONS, "-q").error()
        assert line.startswith(f"error: {server.url}: ")
        assert MD5 in line
        assert roots == []


class TestLicence:
    def test_a_licence_without_a_terminal_needs_an_option(
        self, emodna_prep: Command, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        line = emodna_prep("--corpus", "harbour", "--download", "-q").error()
        assert line.startswith("error: harbour: ")
        assert "--accept-licence" in line
        assert Emodb.info.licence in line
        assert server.ranges == []

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
    def test_a_licence_is_accepted_on_the_terminal(
        self, emodna_prep: Command, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
    ) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        ran = emodna_prep("--corpus", "harbour", "--download", "--json")
        assert ran.code == code
        assert "Accept the licence of harbour" in ran.err
        assert "[y/N]" in ran.err
        assert FILE.exists() == (code == 0)
        if code:
            assert ran.out == ""
            assert "error: harbour: licence not accepted" in ran.err
        else:
            assert ran.json[0]["corpus"] == "harbour"


class TestOtherCorpora:
    def test_a_corpus_without_download_prints_how_to_get_it(self, emodna_prep: Command) -> None:
        line = emodna_prep("--corpus", "gated", "--download").error()
        assert "Sign the form at https://gated.example;" in line
        assert "emodna-corpora show gated" in line

    def test_an_existing_corpus_needs_no_download(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], here: Path
    ) -> None:
        (here / "data" / "gated" / "wav").mkdir(parents=True)
        assert emodna_prep("--corpus", "gated", "--download").code == 0
        assert roots == [("gated", Path("data/gated"))]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("--download --corpus all", "--download needs --corpus"),
            ("--download --manifest own.csv", "--download needs --corpus, not --manifest"),
            ("--download", "choose --corpus"),
            ("--accept-licence --corpus harbour", "--accept-licence needs --download"),
            ("--accept-licence --folder calls", "--accept-licence needs --corpus, not --folder"),
        ],
    )
    def test_download_needs_a_corpus_by_name(self, emodna_prep: Command, arguments: str, expected: str) -> None:
        assert expected in emodna_prep(*arguments.split()).usage()

    def test_a_missing_corpus_prints_how_to_get_it(self, emodna_prep: Command) -> None:
        assert "--download" in emodna_prep("--corpus", "harbour").error()
        assert "--download" not in emodna_prep("--corpus", "gated").error()
