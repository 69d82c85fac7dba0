"""Test unusual file names: commands print them as plain text, and exactly as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from emodna.cli import predict as predict_command
from emodna.model.fit import fit as run_fit
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command, CommandResult
from tests.model.small import SETTINGS, SilentCallback, run_command
from tests.pipeline.making import noise, prepare_corpus, wav

NAMES = [
    *("a b", " leading", 'it\'s "q"', "two\nlines", "a\rb", "tab\t", "bell\a", "back\\slash", "end\\"),
    *("\x1b[31mred\x1b[0m", "\x9b31m", "[red]x[/red]", "[/]", "[link=e.x]y[/link]", "[", "]", "\\[red]", ":smile:"),
    *("{x}", "%s %(x)s", "two\nlines $x$", "\u202egnp 😀 %s %(x)s", "100%", "$x$", "$\\frac"),
    *("-rf", "--json", "~", "#"),
    *("dot.", "CON", "x" * 200, "&lt;<b>"),
    *("ü", "u\u0308", "\u202egnp", "\u2028", "\ufeffbom", "\u200b", "😀", "日本語"),
    *("=1+1", "@SUM", "a@00012.340", "null", "None", "0"),
]
FILES = [f"{name}.wav" for name in NAMES]

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="its file system normalises names")


def visible(name: str) -> str:
    """Return a name with unprintable characters escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name)


def assert_plain(ran: CommandResult) -> None:
    assert "Traceback" not in ran.err
    assert all(each.isprintable() or each == "\n" for each in ran.out + ran.err)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings named `FILES`, and of broken files of the same names in `bad`."""
    folder = tmp_path_factory.mktemp("recordings")
    for name in FILES:
        (folder / "bad" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(wav(noise(0.12, seed=name)))
        (folder / "bad" / name).write_bytes(b"no audio")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.wav")).write_bytes(wav(noise(0.12)))
    return folder


@pytest.fixture(scope="module")
def store(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from emodna.pipeline.corpora.own import Recordings

    return prepare_corpus(recordings, tmp_path_factory.mktemp("cache"), Recordings(recordings, "odd")).store


class TestPrep:
    def test_recordings_are_prepared_or_rejected_under_their_names(
        self, recordings: Path, here: Path, emodna_prep: Command
    ) -> None:
        ran = emodna_prep("--folder", recordings, "--name", "odd", "-v")
        assert ran.code == 0
        assert_plain(ran)
        for name in FILES:
            assert f"rejected: {visible('bad/' + name)}: not readable as audio" in ran.err
        assert "1 file skipped: " in ran.err
        assert FeatureStore(next((here / "cache" / "odd").iterdir())).verify() == []

    @pytest.mark.parametrize("name", ["[red]x\n[red]", "\x1b[2J", "trailing\\"])
    def test_errors_print_paths_as_plain_text(self, name: str, here: Path, emodna_prep: Command) -> None:
        (here / name).mkdir()
        table = here / name / f"{name}.csv"
        table.write_text("file\n")
        for arguments in (["--manifest", table], ["--folder", here / name], ["--manifest", here / name / "absent"]):
            ran = emodna_prep(*arguments, "--name", "x")
            assert visible(name) in ran.error()
            assert_plain(ran)


class TestCache:
    def test_ids_and_paths_round_trip_as_json(self, store: Path, emodna_cache: Command) -> None:
        rejected = emodna_cache("show", store, "--json").json["rejected"]
        assert sorted(each["path"] for each in rejected) == sorted(f"bad/{name}" for name in FILES)
        for name in FILES:
            document = emodna_cache("show", "--json", "--", store, name).json
            assert (document["id"], document["path"]) == (name, name)

    def test_show_prints_plain_text(self, store: Path, emodna_cache: Command) -> None:
        ran = emodna_cache("show", store)
        assert_plain(ran)
        for name in FILES:
            assert visible(f"bad/{name}") in ran.out
        for name in FILES:
            shown = emodna_cache("show", "--", store, name)
            assert_plain(shown)
            assert visible(name) in shown.out.splitlines()[0]

    def test_ls_prints_plain_text(self, tmp_path: Path, emodna_cache: Command) -> None:
        names = [name for name in NAMES if "/" not in name]
        for name in names:
            place = tmp_path / name / name
            place.mkdir(parents=True)
            (place / "store.json").write_text("{}")
        ran = emodna_cache("ls", "--cache", tmp_path)
        assert_plain(ran)
        assert all(visible(name) in ran.out for name in names if len(visible(name)) < 9)  # longer ones are folded
        found = emodna_cache("ls", "--cache", tmp_path, "--json").json
        assert sorted(each["corpus"] for each in found) == sorted(names)


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run in a folder with an unusual name."""
    source, target = (FeatureStore(next((cache / name).iterdir())) for name in ("ravdess", "emodb"))
    folder = tmp_path_factory.mktemp("runs") / "[red]\nrun"
    run_fit(
        FitRequest([source], target, task="arousal", steps=1, threads=1, settings=SETTINGS, out=folder),
        SilentCallback(),
    )
    return folder


def test_predict_reads_files_with_unusual_names(run: Path, recordings: Path) -> None:
    good = [recordings / name for name in FILES]
    good.append(Path(os.fsdecode(os.fsencode(recordings) + b"/\xff\xfe.wav")))
    files = [*good, *(recordings / "bad" / name for name in FILES)]
    ran = run_command(predict_command.main, "--json", "--threads", 1, run, *files)
    found = json.loads(ran.out)
    assert [each["file"] for each in found] == [str(file) for file in files]
    assert [each["error"] is None for each in found] == [each in good for each in files]
    printed = run_command(predict_command.main, "--threads", 1, run, *files)
    assert printed.code == 1
    assert all(each.isprintable() or each == "\n" for each in printed.out + printed.err)
    for file in good[:-1]:
        assert f"{visible(str(file))}: " in printed.out
    assert "\\udcff\\udcfe.wav: " in printed.out
