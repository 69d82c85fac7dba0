"""Tests of emodna-prep: output, exit codes and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emodna.cli.prep import prep
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, shards
from tests.cli.running import Command, run_script
from tests.pipeline.making import make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb

KEYS = ["corpus", "store", "utterances", "reused", "extracted", "rejected"]
KEYS += ["audio_seconds", "silence_seconds", "wall_seconds"]
NAMES = make_emodb_names(6)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of six tiny utterances in EMODB's layout."""
    write_tiny_emodb(tmp_path / "root", NAMES)
    return tmp_path / "root"


@pytest.fixture
def damaged_root(root: Path) -> Path:
    """Return the same folder with five more, unusable files."""
    content = wav(noise(0.2))
    samples = noise(0.2)
    samples[7] = np.nan
    (root / "wav" / "16a01Wa.wav").write_bytes(content[:-100])
    (root / "wav" / "16a01La.wav").write_bytes(b"")
    (root / "wav" / "16a01Ea.wav").write_bytes(b"I am text\n")
    soundfile.write(root / "wav" / "16a01Aa.wav", samples, 16_000, subtype="FLOAT")
    (root / "wav" / "16a01Fa.wav").write_bytes(wav(noise(0.01)))
    return root


class TestResults:
    def test_a_store_is_prepared_and_summarised(self, emodna_prep: Command, root: Path, here: Path) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", root)
        assert ran.code == 0
        first, second = ran.out.splitlines()
        assert first.startswith("emodb: 6 utterances")
        assert "6 extracted, 0 reused, 0 rejected" in first
        assert second == str(here / "cache" / "emodb" / MfccSet().name)
        assert "warning: emodb: 6 utterances, 535 published" in ran.err.splitlines()  # a differing copy
        assert len(FeatureStore(second)) == 6
        (report,) = emodna_prep("--corpus", "emodb", "--root", root, "--json").json
        assert list(report) == KEYS
        assert report.pop("wall_seconds") > 0
        assert report.pop("audio_seconds") == pytest.approx(6 * 0.15)
        assert list(report.values()) == ["emodb", second, 6, 6, 0, 0, None]

    def test_silence_at_both_ends_is_cut_and_reported(
        self, emodna_prep: Command, emodna_cache: Command, tmp_path: Path
    ) -> None:
        (tmp_path / "speech").mkdir()
        samples = np.pad(noise(1.0), 16_000)
        (tmp_path / "speech" / "a.wav").write_bytes(wav(samples))
        options = ("--folder", tmp_path / "speech", "--trim")
        ran = emodna_prep(*options, 30)
        first, second = ran.out.splitlines()
        assert "63 % of it silence that was cut" in first  # two thirds, to a frame of 93 ms at each end
        assert Path(second).name == MfccSet(trim_db=30.0).name
        (report,) = emodna_prep(*options, "30.0", "--json").json
        assert (report["store"], report["extracted"]) == (second, 0)
        assert report["silence_seconds"] == pytest.approx(2, abs=0.2)
        durations = emodna_cache("stats", second, "--json").json["durations"]
        assert durations["silence_share"] == pytest.approx(2 / 3, abs=0.05)
        assert durations["padding_share"] == pytest.approx(1 - 1 / 4.4, abs=0.05)
        (whole,) = emodna_prep(*options, "none", "--json").json
        assert Path(whole["store"]).name == MfccSet().name
        assert whole["silence_seconds"] is None

    def test_several_corpora_are_one_document_in_the_given_order(
        self, emodna_prep: Command, emodb_root: Path, ravdess_root: Path, here: Path
    ) -> None:
        (here / "data").mkdir()
        (here / "data" / "emodb").symlink_to(emodb_root)
        (here / "data" / "ravdess").symlink_to(ravdess_root)
        ran = emodna_prep("--corpus", "ravdess", "--corpus", "emodb", "--corpus", "ravdess", "--json", "-q")
        assert [report["corpus"] for report in ran.json] == ["ravdess", "emodb"]
        assert ran.err == ""

    def test_all_prepares_the_corpora_found_and_names_the_others(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EMODNA_DATA", str(here / "speech"))
        (here / "speech").mkdir()
        root.rename(here / "speech" / "emodb")
        ran = emodna_prep("--corpus", "all", "--json")
        assert ran.code == 0
        assert [report["corpus"] for report in ran.json] == ["emodb"]
        (line,) = [line for line in ran.err.splitlines() if line.startswith("not found: ")]
        assert f"ravdess ({here / 'speech' / 'ravdess'})" in line


class TestRejections:
    def test_rejected_files_are_listed_with_reasons(self, emodna_prep: Command, damaged_root: Path) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", damaged_root, "--json")
        assert ran.code == 0
        assert (ran.json[0]["utterances"], ran.json[0]["rejected"]) == (6, 5)
        lines = [line for line in ran.err.splitlines() if line.startswith("rejected: ")]
        expected = {
            "wav/16a01Wa.wav": "truncated: the header declares 6400 bytes of audio, the file holds 6300",
            "wav/16a01La.wav": "empty file (0 bytes)",
            "wav/16a01Ea.wav": "not readable as audio",
            "wav/16a01Aa.wav": "samples that are not finite",
            "wav/16a01Fa.wav": "too short",
        }
        assert len(lines) == len(expected)
        for path, reason in expected.items():
            assert any(line.startswith(f"rejected: {path}: {reason}") for line in lines)

    def test_strict_exits_0_without_rejections_and_quiet_prints_no_warnings(
        self, emodna_prep: Command, root: Path
    ) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", root, "--strict", "-q")
        assert (ran.code, ran.err) == (0, "")

    def test_verbose_lists_all_rejected_files(self, emodna_prep: Command, root: Path) -> None:
        for name in make_emodb_names(15)[6:]:
            (root / "wav" / name).write_bytes(b"")
        short = emodna_prep("--corpus", "emodb", "--root", root).err.splitlines()
        assert sum(line.startswith("rejected: ") for line in short) == 5
        assert "... and 4 more (-v lists all)" in short
        full = emodna_prep("--corpus", "emodb", "--root", root, "-v").err.splitlines()
        assert sum(line.startswith("rejected: ") for line in full) == 9


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("emodb", "--root", "absent"), "absent"),
            (("emodb", "--root", "file.wav"), "file.wav"),
            (("emodb", "--root", "empty"), "wav/SSTTTEv.wav"),
            (("emodb",), "--root or $EMODNA_DATA"),
            (("berlin",), "berlin"),
            (("emodb", "--root", "empty", "--feature-set", "mel"), "--feature-set mel"),
            (("all",), "--corpus all"),
        ],
    )
    def test_unusable_arguments_are_named(
        self, emodna_prep: Command, here: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        (here / "empty").mkdir()
        (here / "file.wav").write_bytes(wav(noise()))
        ran = emodna_prep("--corpus", *arguments)
        assert ran.code == 1
        assert expected in ran.err.splitlines()[-1]

    def test_a_missing_channel_is_an_error(self, emodna_prep: Command, root: Path) -> None:
        assert "no channel 1" in emodna_prep("--corpus", "emodb", "--root", root, "--channel", 1).error()

    def test_a_file_instead_of_a_store_folder_is_an_error(self, emodna_prep: Command, root: Path, here: Path) -> None:
        (here / "cache").mkdir()
        (here / "cache" / "emodb").write_text("")
        assert str(here / "cache" / "emodb") in emodna_prep("--corpus", "emodb", "--root", root).error()

    def test_no_wait_fails_if_the_store_is_being_written(self, emodna_prep: Command, root: Path, here: Path) -> None:
        store = here / "cache" / "emodb" / MfccSet().name
        store.mkdir(parents=True)
        with shards.hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            line = emodna_prep("--corpus", "emodb", "--root", root, "--no-wait").error()
        assert str(store) in line


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), "choose --corpus"),
            (("--corpus", "emodb", "--corpus", "ravdess", "--root", "."), "--root needs a single --corpus"),
            (("--corpus", "all", "--root", "."), "--corpus all excludes --root"),
            (("--corpus", "all", "--corpus", "emodb"), "--corpus all excludes"),
            (("--corpus", "emodb", "--workers", "0"), "'--workers': 0 is not in the range x>=1"),
            (
                ("--corpus", "emodb", "--workers", "2", "--scheduler", "tcp://host:8786"),
                "--workers and --scheduler exclude each other",
            ),
            (("--corpus", "emodb", "--fixed-samples", "2047"), "'--fixed-samples': 2047 is not in the range x>=2048"),
            (("--corpus", "emodb", "--max-seconds", "nan"), "'--max-seconds': nan is not a length in s"),
            (("--corpus", "emodb", "--trim", "off"), "'--trim': 'off' is neither a level above 0 dB nor none"),
            (("--corpus", "emodb", "--trim", "0"), "'--trim': '0' is neither a level above 0 dB nor none"),
            (("--corpus", "emodb", "--config", "absent.toml"), "'--config': File 'absent.toml' does not exist"),
            (("--corpora", "emodb"), "No such option"),
        ],
    )
    def test_a_wrong_usage_names_the_option(
        self, emodna_prep: Command, arguments: tuple[str, ...], expected: str
    ) -> None:
        assert expected in emodna_prep(*arguments).usage()


class TestSettings:
    """Options in the environment and in TOML files; test_fit.py tests their precedence."""

    def test_options_are_read_from_a_file_and_the_environment(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "prep.toml").write_text('corpus = "emodb"\nworkers = 1\nmax-seconds = 10\nquiet = true\ntrim = 30\n')
        monkeypatch.setenv("EMODNA_PREP_ROOT", str(root))
        monkeypatch.setenv("EMODNA_PREP_JSON", "1")
        ran = emodna_prep("--config", "prep.toml")
        assert ran.json[0]["utterances"] == 6
        assert ran.err == ""

    def test_the_command_line_decides_between_workers_and_scheduler(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invalid = "nonsense://here"
        (here / "workers.toml").write_text("workers = 1\n")
        (here / "scheduler.toml").write_text(f'scheduler = "{invalid}"\n')
        options: tuple[object, ...] = ("--corpus", "emodb", "--root", root)
        assert invalid in emodna_prep(*options, "--config", "workers.toml", "--scheduler", invalid).err
        assert emodna_prep(*options, "--config", "scheduler.toml", "--workers", 1).code == 0
        monkeypatch.setenv("EMODNA_PREP_WORKERS", "1")
        assert emodna_prep(*options, "--config", "scheduler.toml").code == 0
        assert invalid in emodna_prep(*options, "--scheduler", invalid).err

    @pytest.mark.parametrize("text", ["corpus = ", b"\xff\xfe", "a = 1\na = 2\n"], ids=["value", "utf", "2"])
    def test_invalid_toml_is_an_error(self, emodna_prep: Command, here: Path, text: str | bytes) -> None:
        (here / "bad.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert emodna_prep("--config", "bad.toml").error().startswith("error: --config bad.toml: ")

    def test_an_unknown_key_is_an_error_that_names_the_valid_ones(self, emodna_prep: Command, here: Path) -> None:
        (here / "prep.toml").write_text("feature_set = 'mfcc40'\n")
        line = emodna_prep("--config", "prep.toml").error()
        assert "unknown key feature_set" in line
        assert "feature-set" in line

    @pytest.mark.parametrize("setting", ["root = ['a', 'b']", "workers = 'many'", "max-seconds = true", "corpus = [1]"])
    def test_a_value_of_a_wrong_type_is_refused(
        self, emodna_prep: Command, root: Path, here: Path, setting: str
    ) -> None:
        key = setting.split(" =")[0]
        defaults = "" if key == "corpus" else 'corpus = ["emodb"]\n'
        defaults += "" if key == "root" else f'root = "{root}"\n'
        (here / "prep.toml").write_text(defaults + setting + "\n")
        ran = emodna_prep("--config", "prep.toml")
        message = ran.error() if ran.code == 1 else ran.usage()
        assert key in message


def test_an_interrupt_exits_130_and_prints_how_to_continue(
    emodna_prep: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emodna.pipeline.prepare.prepare", interrupt)
    ran = emodna_prep("--corpus", "emodb", "--root", root)
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted; run the same command again to continue\n")


class TestProcesses:
    def test_json_is_alone_on_standard_output(self, root: Path, tmp_path: Path) -> None:
        prepare_corpus(root, tmp_path / "cache")  # a second run is faster
        ran = run_script(
            "emodna-prep", "--corpus", "emodb", "--root", root, "--cache", tmp_path / "cache", "--json", "-v"
        )
        assert ran.code == 0
        assert list(ran.json[0]) == KEYS
        assert "warning: emodb: 6 utterances, 535 published" in ran.err
        assert "\x1b" not in ran.err + ran.out  # no colours into a file

    def test_a_closed_pipe_is_no_error(self, root: Path, tmp_path: Path) -> None:
        """Like `emodna-prep ... | head -0`."""
        prepare_corpus(root, tmp_path / "cache")
        reading, writing = os.pipe()
        os.close(reading)
        command = [Path(sys.executable).with_name("emodna-prep"), "--corpus", "emodb", "--root", root, "-q"]
        done = subprocess.run(
            [*map(str, command), "--cache", str(tmp_path / "cache")],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_full_disk_is_an_error(self, tmp_path: Path) -> None:
        command = [str(Path(sys.executable).with_name("emodna-cache")), "ls", "--cache", str(tmp_path)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300)
        assert done.returncode == 1
        assert done.stderr.startswith("error: No space left on device")


def test_help_names_all_options_and_defaults(emodna_prep: Command) -> None:
    ran = emodna_prep("--help")
    assert (ran.code, ran.err) == (0, "")
    text = " ".join(ran.out.split())
    for parameter in prep.params:
        assert all(name in text for name in parameter.opts), parameter.name
    for default in ("cache", "mfcc40", "0;", "3600.0;", "$EMODNA_DATA/<corpus>, else data/<corpus>"):
        assert f"default: {default}" in text
    assert "env var: EMODNA_CACHE" in text
