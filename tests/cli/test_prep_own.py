"""Tests of emodna-prep with own recordings, archives, segmentation and subsets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emodna.cli.wording import word_action
from emodna.pipeline.audio.ffmpeg import read_ffmpeg_version
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.errors import PrepareCorpus
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.archives.packing import pack, read_files
from tests.pipeline.corpora.builders import BUILDERS, IEMOCAP_CODES
from tests.pipeline.making import age, make_emodb_names, noise, wav, write_tiny_emodb
from tests.pipeline.test_segment import make_bursts

EXCLUDE = "exclude each other"


@pytest.fixture
def calls(here: Path) -> Path:
    """Return a folder of two recordings; calls.csv and packed.zip list and contain them."""
    folder = here / "calls"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(wav(make_bursts(4, [(0.8, 1.6), (2.6, 3.2)], rate=16_000, seed=len(name))))
        age([folder / name])
    (here / "calls.csv").write_text("path,emotion,agent\na.wav,anger,1\nb.wav,,2\n")
    pack(here / "packed.zip", read_files(folder))
    return folder


def ids(store: str) -> list[str]:
    return sorted(FeatureStore(Path(store)).ids)


class TestFolders:
    def test_a_folder_becomes_a_corpus_of_its_name(self, emodna_prep: Command, calls: Path, here: Path) -> None:
        ran = emodna_prep("--folder", calls, "--json")
        (report,) = ran.json
        assert (ran.code, ran.err) == (0, "")
        assert (report["corpus"], report["utterances"], report["extracted"]) == ("calls", 2, 2)
        assert report["store"].startswith(f"{here}/cache/calls/mfcc40-")
        assert ids(report["store"]) == ["a.wav", "b.wav"]
        (again,) = emodna_prep("--folder", calls, "--json").json
        assert again["reused"] == 2

    def test_an_archive_can_be_prepared_under_another_name(self, emodna_prep: Command, calls: Path, here: Path) -> None:
        (report,) = emodna_prep("--folder", here / "packed.zip", "--json").json
        assert (report["corpus"], report["utterances"]) == ("packed", 2)
        (named,) = emodna_prep("--folder", here / "packed.zip", "--name", "calls", "--json").json
        assert named["corpus"] == "calls"
        (same,) = emodna_prep("--folder", calls, "--json").json
        assert (same["store"], same["reused"]) == (named["store"], 2)

    def test_recordings_are_segmented_on_request(self, emodna_prep: Command, calls: Path) -> None:
        (report,) = emodna_prep("--folder", calls, "--segment", "energy", "--json").json
        assert report["utterances"] == 4
        assert [id.rpartition("@")[0] for id in ids(report["store"])] == ["a.wav", "a.wav", "b.wav", "b.wav"]
        (whole,) = emodna_prep("--folder", calls, "--segment", "none", "--json").json
        assert (whole["utterances"], whole["reused"]) == (2, 0)

    def test_unusable_files_are_rejected(self, emodna_prep: Command, calls: Path) -> None:
        (calls / "c.mp3").write_bytes(b"<html>")
        (calls / "silent.wav").write_bytes(wav(bytes(64_000)))
        ran = emodna_prep("--folder", calls, "--segment", "energy", "--strict")
        assert ran.code == 1
        assert [line.split(":")[:2] for line in ran.err.splitlines()] == [
            ["rejected", " c.mp3"],
            ["rejected", " silent.wav"],
            ["error", " --strict"],
        ]
        assert "2 files of calls rejected" in ran.err

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("--folder", "absent"), "absent"),
            (("--folder", "calls.csv"), "calls.csv"),
            (("--folder", "calls", "--name", "My Calls"), "--name My Calls"),
            (("--folder", "calls", "--name", "emodb"), "--name emodb: "),
            (("--folder", "calls", "--name", "iemocap-all"), "--name iemocap-all: "),
            (("--folder", "calls", "--segment", "loud"), "--segment loud"),
        ],
    )
    @pytest.mark.usefixtures("calls")
    def test_unusable_folders_are_errors(
        self, emodna_prep: Command, here: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        assert expected in emodna_prep(*arguments).error()
        assert not list(here.rglob("store.json"))


class TestManifests:
    @pytest.mark.usefixtures("calls")
    def test_a_manifest_reads_recordings_from_an_archive(self, emodna_prep: Command) -> None:
        ran = emodna_prep("--manifest", "calls.csv", "--root", "packed.zip", "--json")
        (report,) = ran.json
        assert (ran.code, report["corpus"], report["utterances"]) == (0, "calls", 2)
        rows = FeatureStore(Path(report["store"])).table.to_pylist()
        assert {row["path"]: (row["emotion"], row["agent"]) for row in rows} == {
            "a.wav": ("anger", "1"),
            "b.wav": (None, "2"),
        }

    def test_paths_outside_the_archive_are_errors(self, emodna_prep: Command, calls: Path, here: Path) -> None:
        for path in (str(calls / "a.wav"), "../calls/a.wav"):
            (here / "calls.csv").write_text(f"path\n{path}\n")
            line = emodna_prep("--manifest", "calls.csv", "--root", "packed.zip").error()
            assert path in line
            assert "row 1" in line


class TestSubsets:
    def test_a_subset_gets_its_own_store(self, emodna_prep: Command, here: Path) -> None:
        root, builder = here / "iemocap", BUILDERS["iemocap"]
        paths = {code: path for path, code in IEMOCAP_CODES.items()}  # one of each code
        for path in paths.values():
            builder.add(root, path).write_bytes(wav(noise()))
        (default,) = emodna_prep("--corpus", "iemocap", "--root", root, "--json").json
        (whole,) = emodna_prep("--corpus", "iemocap", "--root", root, "--subset", "all", "--json").json
        assert (default["corpus"], default["utterances"]) == ("iemocap", 5)
        assert (whole["corpus"], whole["utterances"]) == ("iemocap-all", len(paths))
        assert whole["store"].startswith(f"{here}/cache/iemocap-all/")
        emotions = dict(zip(*map(FeatureStore(Path(whole["store"])).column, ("emotion_code", "emotion")), strict=True))
        assert (emotions["exc"], emotions["xxx"], emotions["fea"]) == ("happiness", None, "fear")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("iemocap", "--subset", "most"), "--subset most"),
            (("emodb", "--subset", "all"), "--subset all"),
            (("nobody", "--subset", "all"), "nobody"),
        ],
    )
    def test_unknown_subsets_are_errors(self, emodna_prep: Command, arguments: tuple[str, ...], expected: str) -> None:
        assert expected in emodna_prep("--corpus", *arguments, "--root", ".").error()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--folder", "calls", "--corpus", "emodb"), EXCLUDE),
        (("--folder", "calls", "--manifest", "calls.csv"), EXCLUDE),
        (("--folder", "calls", "--subset", "all"), "--subset needs --corpus, not --folder"),
        (("--manifest", "calls.csv", "--subset", "all"), "--subset needs --corpus, not --manifest"),
        (("--folder", "calls", "--root", "calls"), "--root needs --corpus or --manifest"),
        (("--corpus", "emodb", "--segment", "energy"), "--segment needs --manifest or --folder"),
        (("--corpus", "emodb", "--corpus", "iemocap", "--subset", "all"), "--subset needs a single --corpus"),
        (("--name", "mine"), "choose --corpus"),
        (("--corpus", "emodb", "--name", "mine"), "--name needs --manifest or --folder"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    emodna_prep: Command, calls: Path, here: Path, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in emodna_prep(*arguments).usage()
    assert not (here / "cache").exists()


def test_other_corpora_are_prepared_after_an_error(
    emodna_prep: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMODNA_DATA", str(tmp_path / "data"))
    write_tiny_emodb(tmp_path / "data" / "emodb", make_emodb_names(2))
    (tmp_path / "data" / "ravdess").mkdir()
    ran = emodna_prep("--corpus", "ravdess", "--corpus", "emodb", "--json", "--quiet")
    assert ran.code == 1
    assert [report["corpus"] for report in ran.json] == ["emodb"]
    assert str(tmp_path / "data" / "ravdess") in ran.err


class TestLeftOut:
    @pytest.fixture
    def phone(self, calls: Path) -> Path:
        """Return the folder `calls` with files that only ffmpeg decodes, one of them with a wrong suffix."""
        for name in ("c.m4a", "d.m4a", "e.amr", "f.wav"):
            (calls / name).write_bytes(b"\0\0\0\x1cftypM4A " + bytes(99))
        return calls

    def test_a_warning_counts_them_by_kind_and_names_the_remedy(self, emodna_prep: Command, phone: Path) -> None:
        ran = emodna_prep("--folder", phone)
        assert ran.code == 0
        warning, rejected = ran.err.splitlines()
        assert warning.startswith("warning: calls: 3 files left out: 2 .m4a, 1 .amr; decode them with --ffmpeg")
        assert rejected.startswith("rejected: f.wav: ")
        assert "with --ffmpeg" in rejected

    def test_without_another_recording_the_error_does(self, emodna_prep: Command, phone: Path) -> None:
        for name in ("a.wav", "b.wav"):
            (phone / name).unlink()
        assert re.search(r"rejected.*3 files left out: 2 \.m4a.*--ffmpeg", emodna_prep("--folder", phone).error())
        (phone / "f.wav").unlink()
        assert "3 files left out: 2 .m4a, 1 .amr; decode them with --ffmpeg" in emodna_prep("--folder", phone).error()

    def test_a_missing_ffmpeg_is_one_error(
        self, emodna_prep: Command, phone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_ffmpeg_version.cache_clear()
        monkeypatch.setenv("PATH", "/nowhere")
        error = emodna_prep("--folder", phone, "--ffmpeg").error()
        assert error.startswith("error: --ffmpeg: no program ffmpeg on the PATH")


class TestChannelAndBandwidth:
    @pytest.fixture
    def stereo(self, here: Path) -> Path:
        folder = here / "stereo"
        folder.mkdir()
        for name in ("a.wav", "b.wav"):
            (folder / name).write_bytes(wav(noise(0.4, seed=name), channels=2))
        return folder

    def test_a_name_from_the_path_tells_them_and_a_given_one_is_kept(
        self, emodna_prep: Command, stereo: Path, here: Path
    ) -> None:
        for options, expected in (
            ((), "stereo"),
            (("--channel", 1), "stereo-channel1"),
            (("--channel", 1, "--bandwidth", 4000), "stereo-channel1-4000hz"),
            (("--bandwidth", 4000, "--name", "mine"), "mine"),
        ):
            ran = emodna_prep("--folder", stereo, *options, "--json")
            (report,) = ran.json
            assert (report["corpus"], report["extracted"]) == (expected, 2)
            assert ("2 recordings with several channels" in ran.err) == ("--channel" not in options)
            assert Path(report["store"]).parent.name == expected
        repair = word_action(PrepareCorpus("mine", here / "cache"))
        assert repair is not None
        assert "--name mine --bandwidth 4000 " in repair
        line = emodna_prep("--folder", stereo, "--channel", 1, "--name", "mine").error()
        assert "channel 1" in line
        assert "choose another --name" in line

    def test_a_registered_corpus_gets_a_store_of_its_own(self, emodna_prep: Command, here: Path) -> None:
        write_tiny_emodb(here / "emodb", make_emodb_names(3))
        options = ("--corpus", "emodb", "--root", here / "emodb", "--json")
        reports = [emodna_prep(*options, *more).json[0] for more in ((), ("--bandwidth", 1000), ())]
        assert [each["corpus"] for each in reports] == ["emodb", "emodb-1000hz", "emodb"]
        assert [each["reused"] for each in reports] == [0, 0, 3]
        assert "emodb-1000hz" in emodna_prep("--folder", here / "emodb", "--name", "emodb-1000hz").error()

    def test_the_rule_of_a_corpus_for_its_channels_is_told(self, emodna_prep: Command, here: Path) -> None:
        path = here / "emovo" / "f1" / "rab-f1-b1.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(wav(noise(0.4), channels=2))
        options = ("--corpus", "emovo", "--root", here / "emovo")
        rule = load_corpus("emovo").info.channels
        assert rule not in emodna_prep(*options).err
        for channel in (0, 1):
            assert rule in emodna_prep(*options, "--channel", channel).err
