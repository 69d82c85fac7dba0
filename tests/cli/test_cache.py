"""Tests of emodna-cache ls, show and verify."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import click
import pytest

from emodna.cli.cache import command as cache_command
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command, run_script
from tests.pipeline.making import flip, noise, prepare_corpus, wav


@pytest.fixture
def copied_cache(cache: Path, tmp_path: Path) -> Path:
    """Return a copy of the cache that a test may damage."""
    return Path(shutil.copytree(cache, tmp_path / "copied"))


def store_of(cache: Path, corpus: str) -> Path:
    return next((cache / corpus).iterdir())


class TestLs:
    KEYS = (
        "corpus", "feature_set", "utterances", "rejected", "audio_seconds", "bytes", "fingerprint", "created", "store",
        "error",
    )  # fmt: skip

    def test_it_lists_the_stores(self, emodna_cache: Command, cache: Path) -> None:
        ran = emodna_cache("ls", "--cache", cache)
        assert (ran.code, ran.err) == (0, "")
        (emodb,) = [line.split() for line in ran.out.splitlines() if line.split()[:1] == ["emodb"]]
        assert emodb[1:4] == [MfccSet().name, str(len(FeatureStore(store_of(cache, "emodb")))), "0"]
        assert "ravdess" in ran.out

    def test_json_lists_the_same_stores(self, emodna_cache: Command, cache: Path) -> None:
        rows = emodna_cache("ls", "--cache", cache, "--json").json
        assert [row["corpus"] for row in rows] == ["emodb", "ravdess"]
        for row in rows:
            assert tuple(row) == self.KEYS
            store = FeatureStore(row["store"])
            assert Path(row["store"]).is_absolute()
            assert (row["utterances"], row["fingerprint"]) == (len(store), store.fingerprint)
            assert row["bytes"] == sum(file.size for file in store.snapshot.files)
            assert row["error"] is None

    def test_an_empty_or_missing_cache_has_no_stores(self, emodna_cache: Command, here: Path) -> None:
        for place in (here, here / "absent"):
            assert emodna_cache("ls", "--cache", place, "--json").json == []
            ran = emodna_cache("ls", "--cache", place)
            assert ran.code == 0
            assert f"no stores in {place}" in ran.out

    def test_a_damaged_store_is_listed_as_damaged(self, emodna_cache: Command, copied_cache: Path) -> None:
        store = store_of(copied_cache, "emodb")
        flip(store / "store.json", 100)
        emodb, ravdess = emodna_cache("ls", "--cache", copied_cache, "--json").json
        assert (emodb["corpus"], emodb["store"]) == ("emodb", str(store))
        assert "store.json: damaged" in emodb["error"]
        assert ravdess["error"] is None
        assert "damaged" in emodna_cache("ls", "--cache", copied_cache).out

    def test_the_default_cache_is_that_of_emodna_prep(
        self, emodna_cache: Command, cache: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert emodna_cache("ls", "--json").json == []
        (here / "cache").symlink_to(cache)
        assert len(emodna_cache("ls", "--json").json) == 2
        monkeypatch.setenv("EMODNA_CACHE", str(here / "other"))
        assert emodna_cache("ls", "--json").json == []


class TestShow:
    def test_json_summarises_a_store(self, emodna_cache: Command, cache: Path, emodb_root: Path) -> None:
        document = emodna_cache("show", "emodb", "--cache", cache, "--json").json
        store = FeatureStore(store_of(cache, "emodb"))
        assert document["store"] == str(store.path)
        assert document["root"] == str(emodb_root)
        assert document["utterances"] == len(store)
        assert document["speakers"] == 2
        assert document["emotions"] == dict(sorted(Counter(store.column("emotion")).items()))
        assert document["arousal"] == {"0": store.column("arousal").count(0), "1": store.column("arousal").count(1)}
        assert document["gender"] == {"f": store.column("gender").count("f"), "m": store.column("gender").count("m")}
        assert document["sample_rate"] == {"16000": len(store)}
        assert document["parameters"] == ExtractionConfig(MfccSet()).store_parameters
        assert document["rejected"] == []
        assert document["citation"].startswith("Burkhardt")

    def test_a_summary_is_printed(self, emodna_cache: Command, cache: Path) -> None:
        ran = emodna_cache("show", "emodb", "--cache", cache)
        assert (ran.code, ran.err) == (0, "")
        printed = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
        assert printed["corpus"] == "emodb"
        assert "anger" in printed["emotions"]
        assert "n_mfcc 40" in printed["parameters"]

    def test_json_of_an_utterance_is_its_row(self, emodna_cache: Command, cache: Path) -> None:
        store = FeatureStore(store_of(cache, "emodb"))
        row = emodna_cache("show", "emodb", "08b03Wa", "--cache", cache, "--json").json
        assert row == store.table.slice(store.find_row("08b03Wa"), 1).to_pylist()[0]

    def test_an_utterance_is_drawn(self, emodna_cache: Command, cache: Path) -> None:
        ran = emodna_cache("show", "emodb", "08b03Wa", "--cache", cache)
        assert ran.code == 0
        lines = ran.out.splitlines()
        n_fields = len(FeatureStore(store_of(cache, "emodb")).table.column_names)
        assert lines[0].split() == ["id", "08b03Wa"]
        assert len(lines) == n_fields + 20  # two coefficients a line
        assert len(set("".join(lines[n_fields:]))) > 5
        assert "\x1b" not in ran.out

    def test_rejected_files_are_listed_and_unlabelled_utterances_counted(
        self, emodna_cache: Command, tmp_path: Path, here: Path
    ) -> None:
        (tmp_path / "a.wav").write_bytes(wav(noise()))
        (tmp_path / "[b].wav").write_bytes(b"")
        (tmp_path / "own.csv").write_text("path\na.wav\n[b].wav\n")
        prepare_corpus(tmp_path, here / "cache", Manifest(tmp_path / "own.csv", "own"))
        expected = [{"path": "[b].wav", "reason": "empty file (0 bytes)"}]
        document = emodna_cache("show", "own", "--json").json
        assert document["rejected"] == expected
        assert document["emotions"] == document["arousal"] == {"unlabelled": 1}
        assert "[b].wav: empty file (0 bytes)" in emodna_cache("show", "own").out


class TestVerify:
    def test_an_intact_store_exits_0(self, emodna_cache: Command, cache: Path) -> None:
        ran = emodna_cache("verify", "emodb", "--cache", cache)
        size = len(FeatureStore(store_of(cache, "emodb")))
        assert ran.code == 0
        assert ran.out == f"{store_of(cache, 'emodb')}: {size} utterances, no damage found\n"
        document = emodna_cache("verify", "emodb", "--cache", cache, "--json").json
        assert document == {"store": str(store_of(cache, "emodb")), "utterances": size, "problems": []}

    def test_damage_is_printed_and_exits_1(self, emodna_cache: Command, copied_cache: Path) -> None:
        shard = next(store_of(copied_cache, "emodb").glob("*.h5"))
        flip(shard, shard.stat().st_size // 2)
        ran = emodna_cache("verify", "emodb", "--cache", copied_cache)
        assert ran.code == 1
        assert ran.err == ""
        assert all(line.startswith("problem: ") and shard.name in line for line in ran.out.splitlines())
        ran = emodna_cache("verify", "emodb", "--cache", copied_cache, "--json")
        assert ran.code == 1
        assert shard.name in ran.json["problems"][0]

    @pytest.mark.parametrize("pattern", ["index-*", "store.json"])
    def test_a_store_that_cannot_be_opened_is_an_error(
        self, emodna_cache: Command, copied_cache: Path, pattern: str
    ) -> None:
        path = next(store_of(copied_cache, "emodb").glob(pattern))
        flip(path, path.stat().st_size // 2)
        line = emodna_cache("verify", "emodb", "--cache", copied_cache).error()
        assert path.name in line
        assert "emodna-prep" in line


class TestErrors:
    @pytest.mark.parametrize("command", ["show", "verify"])
    def test_an_unknown_store_is_an_error_that_names_the_others(
        self, emodna_cache: Command, cache: Path, command: str
    ) -> None:
        line = emodna_cache(command, "savee", "--cache", cache).error()
        assert "savee" in line
        assert "emodb, ravdess" in line

    def test_a_png_needs_an_utterance(self, emodna_cache: Command, cache: Path) -> None:
        assert "--png needs the ID" in emodna_cache("show", "emodb", "--png", "a.png", "--cache", cache).usage()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [(("shw",), "No such command 'shw'"), (("show",), "Missing argument 'STORE'"), (("ls", "x"), "extra argument")],
    )
    def test_a_wrong_usage_is_exit_2(self, emodna_cache: Command, arguments: tuple[str, ...], expected: str) -> None:
        assert expected in emodna_cache(*arguments).usage()


class TestOptions:
    COMMANDS = sorted(cache_command.cache.commands)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_help_names_options_and_defaults(self, emodna_cache: Command, name: str) -> None:
        ran = emodna_cache(name, "--help")
        assert (ran.code, ran.err) == (0, "")
        text = " ".join(ran.out.split())
        assert "default: cache" in text
        assert "env var: EMODNA_CACHE" in text
        command = cache_command.cache.commands[name]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help
                assert all(option in text for option in parameter.opts)

    def test_output_is_escaped_without_unicode(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(wav(noise()))
        (tmp_path / "own.csv").write_text("path,speaker\na.wav,Łódź\n", encoding="utf-8")
        prepare_corpus(tmp_path, tmp_path / "cache", Manifest(tmp_path / "own.csv", "own"))
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        ran = run_script("emodna-cache", "show", "own", "a.wav", "--cache", tmp_path / "cache", env=environment)
        assert ran.code == 0, ran.err
        assert json.dumps("Łódź").strip('"') in ran.out or r"\u0141\xf3d\u017a" in ran.out
