"""Tests of emodna-corpora: corpora, their roots and stores, and the next command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emodna.pipeline.corpora import CORPORA
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.making import flip
from tests.plugins import install_plugin

KEYS = [
    "corpus", "language", "speakers", "utterances", "download_bytes", "licence", "root", "found", "stores", "next",
    "error",
]  # fmt: skip


class TestLs:
    def test_every_corpus_is_listed(self, emodna_corpora: Command, here: Path) -> None:
        rows = emodna_corpora("--json").json
        assert [row["corpus"] for row in rows] == sorted(CORPORA)
        for row in rows:
            assert list(row) == KEYS
            info = CORPORA[row["corpus"]].info
            assert (row["utterances"], row["speakers"]) == (info.utterances, info.speakers)
            assert row["root"] == str(here / "data" / row["corpus"])
            assert (row["found"], row["stores"], row["error"]) == (False, [], None)

    def test_ls_is_the_default_command(self, emodna_corpora: Command) -> None:
        assert emodna_corpora().out == emodna_corpora("ls").out
        assert emodna_corpora("--cache", "other").out == emodna_corpora("ls", "--cache", "other").out

    def test_each_corpus_has_its_next_command(self, emodna_corpora: Command, here: Path, cache: Path) -> None:
        def steps(*options: object) -> dict[str, str]:
            return {row["corpus"]: row["next"] for row in emodna_corpora("ls", "--json", *options).json}

        assert steps()["emodb"] == "emodna-prep --corpus emodb --download"
        assert steps()["savee"] == "emodna-corpora show savee"
        (here / "data" / "emodb" / ".download").mkdir(parents=True)
        (here / "data" / "emodb" / ".download" / "emodb.zip.part").write_bytes(b"")
        assert steps()["emodb"] == "emodna-prep --corpus emodb --download"
        (here / "data" / "emodb" / "wav").mkdir()
        assert steps()["emodb"] == "emodna-prep --corpus emodb"
        assert steps("--cache", "a b")["emodb"] == "emodna-prep --corpus emodb --cache 'a b'"
        (here / "cache").mkdir()
        shutil.copytree(cache / "emodb", here / "cache" / "emodb")
        assert steps()["emodb"] == "emodna-fit --src emodb --tgt CORPUS"
        shutil.copytree(cache / "ravdess", here / "cache" / "ravdess")
        assert steps()["emodb"] == "emodna-fit --src emodb --tgt ravdess"
        assert steps()["ravdess"] == "emodna-fit --src ravdess --tgt emodb"

    def test_stores_are_listed(self, emodna_corpora: Command, cache: Path, emodb_store: Path) -> None:
        (row,) = [row for row in emodna_corpora("--json", "--cache", cache).json if row["corpus"] == "emodb"]
        store = {"corpus": "emodb", "feature_set": emodb_store.name, "store": str(emodb_store)}
        assert row["stores"] == [store | {"utterances": len(FeatureStore(emodb_store)), "error": None}]
        assert emodna_corpora("show", "emodb", "--cache", cache, "--json").json["stores"] == row["stores"]
        assert f"{emodb_store} (" in emodna_corpora("show", "emodb", "--cache", cache).out

    def test_a_damaged_store_does_not_count_as_prepared(
        self, emodna_corpora: Command, here: Path, cache: Path, emodb_store: Path
    ) -> None:
        copied = Path(shutil.copytree(cache, here / "cache")) / "emodb" / emodb_store.name
        flip(copied / "store.json", 100)
        row, other = (each for each in emodna_corpora("--json").json if each["stores"])
        assert "damaged" in row["stores"][0]["error"]
        assert row["next"] == "emodna-prep --corpus emodb --download"
        assert other["next"] == "emodna-fit --src ravdess --tgt CORPUS"
        assert "damaged" in emodna_corpora().out

    def test_tables_fit_80_columns(self, emodna_corpora: Command, here: Path) -> None:
        (here / "data" / "emodb" / "wav").mkdir(parents=True)
        ran = emodna_corpora()
        assert (ran.code, ran.err) == (0, "")
        assert max(map(len, ran.out.splitlines())) <= 80
        for whole in ("data/emodb", "emodna-prep --corpus emodb", "emodna-prep --corpus ravdess --download", "1440"):
            assert whole in ran.out

    def test_a_broken_plug_in_is_listed_with_its_error(
        self, emodna_corpora: Command, emodna_prep: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(
            install_plugin(tmp_path / "path", {"broken": "broken_corpus:Absent"}, broken_corpus="")
        )
        rows = {row["corpus"]: row for row in emodna_corpora("--json").json}
        assert list(rows["broken"]) == KEYS
        assert "emodna-studio 1.0" in rows["broken"]["error"]
        assert rows["emodb"]["error"] is None
        assert "emodna-studio" in emodna_corpora().out
        line = emodna_prep("--corpus", "broken").error()
        assert line == f"error: {rows['broken']['error']}"
        assert emodna_corpora("show", "broken").error() == line
        (Path("data") / "broken" / "wav").mkdir(parents=True)
        assert "warning: broken: plug-in of emodna-studio" in emodna_prep("--corpus", "all").err


class TestShow:
    @pytest.mark.parametrize("name", sorted(CORPORA))
    def test_published_information_is_shown(self, emodna_corpora: Command, here: Path, name: str) -> None:
        document = emodna_corpora("show", name, "--json").json
        info = CORPORA[name].info
        assert document["title"] == info.title
        assert document["emotions"] == info.counts
        assert document["citation"] == info.citation
        assert document["root"] == str(here / "data" / name)
        text = emodna_corpora("show", name)
        assert (text.code, text.err) == (0, "")
        printed = dict(line.split(maxsplit=1) for line in text.out.splitlines())
        assert list(printed) == list(document)
        assert printed["sample_rate"] == f"{info.sample_rate} Hz"

    def test_an_unconfirmed_checksum_is_marked(self, emodna_corpora: Command) -> None:
        for name, is_unconfirmed in (("emodb", True), ("ravdess", False)):
            assert emodna_corpora("show", name, "--json").json["download"]["confirmed"] is not is_unconfirmed
            assert ("confirmed by only one source" in emodna_corpora("show", name).out) is is_unconfirmed

    def test_an_unknown_corpus_is_an_error_that_names_the_others(self, emodna_corpora: Command) -> None:
        line = emodna_corpora("show", "berlin").error()
        assert "berlin" in line
        assert "casia, emodb" in line
