"""emodna-prep --download: what is shown, asked and said, and what is handed to the preparation."""

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
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.corpora.emodb import Emodb
from emodna.pipeline.download import Download
from emodna.pipeline.download import corpora as pipeline_download
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
    """Corpora and roots that are handed to the preparation, which is not what is looked at here."""
    given: list[tuple[str, Path]] = []

    def prepared(corpus: Corpus, root: Path, cache: Path, *_: object, **__: object) -> prepare.PrepareReport:
        given.append((corpus.name, root))
        return prepare.PrepareReport(corpus.name, cache, 1, 0, 1, 0, 1.0, 1.0, {}, (), ())

    monkeypatch.setattr(prepare, "prepare", prepared)
    return given


@pytest.fixture(autouse=True)
def harbour(server: Server, roots: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two corpora: `harbour` lies on the local server, `gated` behind a form."""

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
    """Standard input with somebody at it."""

    def isatty(self) -> bool:
        return True


OPTIONS = ("--corpus", "harbour", "--download", "--accept-licence")


class TestDownload:
    def test_the_file_is_got_and_prepared(
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
        assert "confirmed by one source only; the number of utterances will be checked" in info["checksum"]
        assert lines[7] == f"harbour: {FILE} is the published file (md5)"

    def test_a_second_run_verifies_and_asks_nothing(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], server: Server
    ) -> None:
        emodna_prep(*OPTIONS)
        ran = emodna_prep("--corpus", "harbour", "--download")
        assert (ran.code, ran.err) == (0, f"harbour: {FILE} is the published file (md5)\n")
        assert roots == [("harbour", FILE)] * 2
        assert len(server.ranges) == 1

    def test_root_and_the_data_folder_say_where_to(
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
    def test_what_is_there_is_used_as_it_is(
        self, emodna_prep: Command, roots: list[tuple[str, Path]], server: Server, quiet: tuple[str, ...]
    ) -> None:
        FILE.parent.mkdir(parents=True)
        (FILE.parent / "wav").mkdir()
        ran = emodna_prep(*OPTIONS, *quiet)
        assert ran.err == ("" if quiet else "harbour: data/harbour is there already; nothing to download\n")
        assert roots == [("harbour", FILE.parent)]
        assert server.ranges == []

    def test_json_stays_alone_and_quiet_says_nothing(self, emodna_prep: Command) -> None:
        ran = emodna_prep(*OPTIONS, "--json", "-q")
        assert ran.json[0]["corpus"] == "harbour"
        assert ran.err == ""

    def test_a_log_gets_a_line_now_and_then(self, emodna_prep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
        assert "harbour: 200.0/200.0 kB, " in emodna_prep(*OPTIONS).err

    def test_a_wrong_file_is_one_line_and_nothing_is_prepared(
        self, emodna_prep: Command, server: Server, roots: list[tuple[str, Path]]
    ) -> None:
        server.content = CONTENT[::-1]
        line = emodna_prep(*OPTIONS, "-q").error()
        assert line.startswith(f"error: {server.url}: ")
        assert MD5 in line
        assert roots == []


class TestLicence:
    def test_nobody_to_ask(self, emodna_prep: Command, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        line = emodna_prep("--corpus", "harbour", "--download", "-q").error()
        assert "harbour: its licence has to be accepted" in line
        assert "--accept-licence" in line
        assert Emodb.info.licence in line
        assert server.ranges == []

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
    def test_somebody_to_ask(
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
            assert ran.err.endswith("error: harbour: licence not accepted: nothing was downloaded\n")
        else:
            assert ran.json[0]["corpus"] == "harbour"


class TestOthers:
    def test_a_corpus_behind_a_form_says_how_to_get_it(self, emodna_prep: Command) -> None:
        line = emodna_prep("--corpus", "gated", "--download").error()
        assert line == (
            "error: gated: not freely downloadable: Sign the form at https://gated.example; "
            "emodna-corpora show gated tells more"
        )

    def test_unless_it_is_there(self, emodna_prep: Command, roots: list[tuple[str, Path]], here: Path) -> None:
        (here / "data" / "gated" / "wav").mkdir(parents=True)
        assert emodna_prep("--corpus", "gated", "--download").code == 0
        assert roots == [("gated", Path("data/gated"))]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("--download --corpus all", "--download goes with a --corpus by name"),
            ("--download --manifest own.csv", "--download goes with --corpus, not with --manifest"),
            ("--download", "--corpus is missing"),
            ("--accept-licence --corpus harbour", "--accept-licence goes with --download only"),
            ("--accept-licence --folder calls", "--accept-licence goes with --corpus, not with --folder"),
        ],
    )
    def test_it_goes_with_a_corpus_by_name(self, emodna_prep: Command, arguments: str, expected: str) -> None:
        assert expected in emodna_prep(*arguments.split()).usage()

    def test_a_corpus_that_is_not_there_names_the_way_to_get_it(self, emodna_prep: Command) -> None:
        assert "let --download get it" in emodna_prep("--corpus", "harbour").error()
        assert "--download" not in emodna_prep("--corpus", "gated").error()
