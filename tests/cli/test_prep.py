"""emodna-prep: what it prints and how it ends, above all when something is wrong."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tests
from emodna.cli.prep import prep
from emodna.pipeline.errors import StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout, shards
from tests.cli.running import Command, Ran, script
from tests.pipeline.making import content, emodb_names, noise, prepared, tiny_emodb, wav

KEYS = ["corpus", "store", "utterances", "reused", "extracted", "rejected", "audio_seconds", "wall_seconds"]
NAMES = emodb_names(6)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six tiny utterances in EMODB's layout."""
    tiny_emodb(tmp_path / "root", NAMES)
    return tmp_path / "root"


@pytest.fixture
def damaged(root: Path) -> Path:
    """The same with five files that are none."""
    whole = wav(noise(0.2))
    samples = noise(0.2)
    samples[7] = np.nan
    (root / "wav" / "16a01Wa.wav").write_bytes(whole[:-100])
    (root / "wav" / "16a01La.wav").write_bytes(b"")
    (root / "wav" / "16a01Ea.wav").write_bytes(b"I am text\n")
    soundfile.write(root / "wav" / "16a01Aa.wav", samples, 16_000, subtype="FLOAT")
    (root / "wav" / "16a01Fa.wav").write_bytes(wav(noise(0.01)))
    return root


def manifest(folder: Path, rows: list[Mapping[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "mine.csv"


def fixed(frames: int) -> str:
    """Name of the feature set whose waveforms have so many samples."""
    return MfccSet(fixed_samples=frames).name


class TestResults:
    def test_a_store_is_prepared_and_summed_up(self, emodna_prep: Command, root: Path, here: Path) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", root)
        assert ran.code == 0
        first, second = ran.out.splitlines()
        assert first.startswith("emodb: 6 utterances")
        assert "6 extracted, 0 reused, 0 rejected" in first
        assert second == str(here / "cache" / "emodb" / MfccSet().name)
        assert "warning: emodb: 6 utterances, 535 published" in ran.err.splitlines()  # a differing copy
        assert len(FeatureStore(second)) == 6
        (report,) = emodna_prep("--corpus", "emodb", "--root", root, "--json").json
        assert (report["utterances"], report["reused"], report["extracted"]) == (6, 6, 0)

    def test_json_is_an_array_with_exactly_the_promised_keys(
        self, emodna_prep: Command, root: Path, here: Path
    ) -> None:
        (report,) = emodna_prep("--corpus", "emodb", "--root", root, "--json").json
        assert list(report) == KEYS
        assert report["wall_seconds"] > 0
        assert report["audio_seconds"] == pytest.approx(6 * 0.15)
        del report["wall_seconds"], report["audio_seconds"]
        assert report == {
            "corpus": "emodb",
            "store": str(here / "cache" / "emodb" / MfccSet().name),
            "utterances": 6,
            "reused": 0,
            "extracted": 6,
            "rejected": 0,
        }

    def test_several_corpora_come_in_one_document_in_the_order_given(
        self, emodna_prep: Command, emodb_root: Path, ravdess_root: Path, here: Path
    ) -> None:
        (here / "data").mkdir()
        (here / "data" / "emodb").symlink_to(emodb_root)
        (here / "data" / "ravdess").symlink_to(ravdess_root)
        ran = emodna_prep("--corpus", "ravdess", "--corpus", "emodb", "--corpus", "ravdess", "--json", "-q")
        assert [report["corpus"] for report in ran.json] == ["ravdess", "emodb"]
        assert ran.err == ""

    def test_all_takes_the_corpora_that_are_there_and_names_the_others(
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

    def test_ones_own_recordings_are_prepared_under_the_tables_name(self, emodna_prep: Command, tmp_path: Path) -> None:
        table = manifest(tmp_path / "own", [{"path": "a.wav", "emotion": "calm"}, {"path": "b.wav", "emotion": "?"}])
        (tmp_path / "own" / "a.wav").write_bytes(wav(noise()))
        ran = emodna_prep("--manifest", table, "--json")
        (report,) = ran.json
        assert (report["corpus"], report["utterances"]) == ("mine", 1)
        assert "mine: 1 files left out: unknown emotion '?'" in ran.err.splitlines()
        (report,) = emodna_prep("--manifest", table, "--name", "other", "--json").json
        assert report["corpus"] == "other"

    def test_a_root_that_holds_another_corpus_too_gives_only_the_one(
        self, emodna_prep: Command, root: Path, ravdess_root: Path
    ) -> None:
        shutil.copytree(ravdess_root, root / "ravdess")
        ran = emodna_prep("--corpus", "emodb", "--root", root, "--json")
        assert ran.json[0]["utterances"] == 6
        assert "emodb: 16 files left out: file name outside the corpus's grammar" in ran.err.splitlines()


class TestRejections:
    def test_they_are_named_with_their_reasons_and_the_rest_goes_on(self, emodna_prep: Command, damaged: Path) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", damaged, "--json")
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

    def test_strict_exits_1_after_all_is_done(self, emodna_prep: Command, damaged: Path) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", damaged, "--strict", "--json")
        assert ran.code == 1
        assert ran.json[0]["utterances"] == 6
        assert FeatureStore(ran.json[0]["store"]).verify() == []

    def test_strict_exits_0_when_nothing_is_rejected_and_quiet_prints_no_warnings(
        self, emodna_prep: Command, root: Path
    ) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", root, "--strict", "-q")
        assert (ran.code, ran.err) == (0, "")

    def test_many_are_counted_and_verbose_names_them_all(self, emodna_prep: Command, root: Path) -> None:
        for name in emodb_names(15)[6:]:
            (root / "wav" / name).write_bytes(b"")
        short = emodna_prep("--corpus", "emodb", "--root", root).err.splitlines()
        assert sum(line.startswith("rejected: ") for line in short) == 5
        assert "... and 4 more (-v names them all)" in short
        full = emodna_prep("--corpus", "emodb", "--root", root, "-v").err.splitlines()
        assert sum(line.startswith("rejected: ") for line in full) == 9


class TestErrors:
    """One line that names the file or the option and says what is valid."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("emodb", "--root", "absent"), "root absent: no such folder"),
            (("emodb", "--root", "file.wav"), "neither a folder nor a ZIP or tar file"),
            (("emodb", "--root", "empty"), "no .wav file; expected wav/SSTTTEv.wav"),
            (("emodb",), "--root or $EMODNA_DATA"),
            (("berlin",), "corpus berlin: unknown; valid: "),
            (("emodb", "--root", "empty", "--feature-set", "mel"), "--feature-set mel: unknown; valid: mfcc40"),
            (("all",), "--corpus all: no corpus has its default root below data"),
        ],
    )
    def test_what_is_not_there_is_named(
        self, emodna_prep: Command, here: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        (here / "empty").mkdir()
        (here / "file.wav").write_bytes(wav(noise()))
        ran = emodna_prep("--corpus", *arguments)
        assert ran.code == 1
        assert expected in ran.err.splitlines()[-1]

    def test_the_wrong_corpus_in_the_root(self, emodna_prep: Command, ravdess_root: Path) -> None:
        line = emodna_prep("--corpus", "emodb", "--root", ravdess_root).error()
        assert "none of the 16 audio files is emodb's (the first: Actor_01/03-01-" in line
        assert "expected wav/SSTTTEv.wav" in line

    def test_a_channel_that_no_file_has(self, emodna_prep: Command, root: Path) -> None:
        assert "no channel 1" in emodna_prep("--corpus", "emodb", "--root", root, "--channel", 1).error()

    def test_a_file_in_the_place_of_a_stores_folder(self, emodna_prep: Command, root: Path, here: Path) -> None:
        (here / "cache").mkdir()
        (here / "cache" / "emodb").write_text("")
        assert str(here / "cache" / "emodb") in emodna_prep("--corpus", "emodb", "--root", root).error()

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_cache_that_may_not_be_written(self, emodna_prep: Command, root: Path, here: Path) -> None:
        (here / "cache").mkdir(mode=0o500)
        assert str(here / "cache") in emodna_prep("--corpus", "emodb", "--root", root).error()

    def test_a_store_that_is_being_written(self, emodna_prep: Command, root: Path, here: Path) -> None:
        store = here / "cache" / "emodb" / MfccSet().name
        store.mkdir(parents=True)
        with shards.writer_lock(store, wait=False, on_wait=pytest.fail):
            line = emodna_prep("--corpus", "emodb", "--root", root, "--no-wait").error()
        assert f"{store}: another emodna-prep is writing this store" in line

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("absent.csv",), "--manifest absent.csv: no such file"),
            (("table.csv",), "table.csv: row 1: ../a.wav lies outside the root"),
            (("table.csv", "--name", "emodb"), "--name emodb: "),
            (("table.csv", "--name", "../up"), "--name ../up: "),
        ],
    )
    def test_a_manifest_or_name_that_cannot_be_used(
        self, emodna_prep: Command, here: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        (here / "table.csv").write_text("path\n../a.wav\n")
        assert expected in emodna_prep("--manifest", *arguments).error()

    @pytest.mark.slow  # per push, the fault harnesses fill the disk at each call in turn
    def test_a_full_disk(self, root: Path, tmp_path: Path) -> None:
        """Here by a limit to the size of files, which fails in the same place."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        options = ("--corpus", "emodb", "--root", root, "--cache", tmp_path / "cache", "-q")
        line = script("emodna-prep", *options, preexec_fn=limit).error()
        assert str(tmp_path / "cache") in line
        assert not list(tmp_path.rglob("*.tmp"))
        assert not list(tmp_path.rglob("store.json"))


class TestUsage:
    """Click's own block, exit 2, with the option's name."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), "--corpus is missing; valid: "),
            (("--corpus", "emodb", "--corpus", "ravdess", "--root", "."), "--root goes with one --corpus only"),
            (("--corpus", "all", "--root", "."), "no --root and no --subset"),
            (("--corpus", "all", "--corpus", "emodb"), "--corpus all goes with no other --corpus"),
            (("--corpus", "emodb", "--workers", "0"), "'--workers': 0 is not in the range x>=1"),
            (
                ("--corpus", "emodb", "--workers", "2", "--scheduler", "tcp://host:8786"),
                "--workers and --scheduler exclude each other",
            ),
            (("--corpus", "emodb", "--fixed-samples", "2047"), "'--fixed-samples': 2047 is not in the range x>=2048"),
            (("--corpus", "emodb", "--max-seconds", "nan"), "'--max-seconds': nan is not a length in s"),
            (("--corpus", "emodb", "--config", "absent.toml"), "'--config': File 'absent.toml' does not exist"),
            (("--corpora", "emodb"), "No such option"),
        ],
    )
    def test_a_wrong_usage_names_the_option(
        self, emodna_prep: Command, arguments: tuple[str, ...], expected: str
    ) -> None:
        assert expected in emodna_prep(*arguments).usage()

    def test_a_cache_that_is_a_file(self, emodna_prep: Command, root: Path, here: Path) -> None:
        (here / "file").write_text("")
        message = emodna_prep("--corpus", "emodb", "--root", root, "--cache", "file").usage()
        assert "'--cache'" in message
        assert "is a file" in message


class TestSettings:
    """Precedence: option, environment, TOML file, default."""

    def store(self, ran: Ran) -> str:
        return Path(ran.json[0]["store"]).name

    def test_each_wins_over_the_next(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options: tuple[object, ...] = ("--corpus", "emodb", "--root", root, "--json")
        assert self.store(emodna_prep(*options)) == MfccSet().name
        (here / "prep.toml").write_text("fixed-samples = 2560\n")
        options += ("--config", "prep.toml")
        assert self.store(emodna_prep(*options)) == fixed(2560)
        monkeypatch.setenv("EMODNA_PREP_FIXED_SAMPLES", "3072")
        assert self.store(emodna_prep(*options)) == fixed(3072)
        assert self.store(emodna_prep(*options, "--fixed-samples", 3584)) == fixed(3584)

    def test_the_cache_has_a_variable_of_its_own_for_all_commands(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "prep.toml").write_text('cache = "by-file"\n')
        options: tuple[object, ...] = ("--corpus", "emodb", "--root", root, "--config", "prep.toml")
        for name, extra in (("by-file", ()), ("by-variable", ()), ("by-option", ("--cache", "by-option"))):
            if name == "by-variable":
                monkeypatch.setenv("EMODNA_CACHE", name)
            assert emodna_prep(*options, *extra).code == 0
            assert (here / name / "emodb").is_dir()

    def test_the_data_folder_can_be_set(
        self, emodna_prep: Command, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root.rename(tmp_path / "emodb")
        monkeypatch.setenv("EMODNA_DATA", str(tmp_path))
        assert emodna_prep("--corpus", "emodb", "--json").json[0]["utterances"] == 6

    def test_every_option_has_a_variable_by_its_own_name(
        self, emodna_prep: Command, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EMODNA_PREP_CORPUS", "emodb")
        monkeypatch.setenv("EMODNA_PREP_ROOT", str(root))
        monkeypatch.setenv("EMODNA_PREP_JSON", "1")
        assert emodna_prep().json[0]["corpus"] == "emodb"

    def test_a_file_can_say_everything(self, emodna_prep: Command, root: Path, here: Path) -> None:
        (here / "prep.toml").write_text(
            f'corpus = "emodb"\nroot = "{root}"\nworkers = 1\nmax-seconds = 10\njson = true\nquiet = true\n'
        )
        ran = emodna_prep("--config", "prep.toml")
        assert ran.json[0]["utterances"] == 6
        assert ran.err == ""

    def test_of_workers_and_scheduler_the_one_that_is_said_nearer_wins(
        self, emodna_prep: Command, root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nobody = "nonsense://here"
        (here / "workers.toml").write_text("workers = 1\n")
        (here / "scheduler.toml").write_text(f'scheduler = "{nobody}"\n')
        options: tuple[object, ...] = ("--corpus", "emodb", "--root", root)
        assert nobody in emodna_prep(*options, "--config", "workers.toml", "--scheduler", nobody).err
        assert emodna_prep(*options, "--config", "scheduler.toml", "--workers", 1).code == 0
        monkeypatch.setenv("EMODNA_PREP_WORKERS", "1")
        assert emodna_prep(*options, "--config", "scheduler.toml").code == 0
        assert nobody in emodna_prep(*options, "--scheduler", nobody).err

    @pytest.mark.parametrize("text", ["corpus = ", b"\xff\xfe", "a = 1\na = 2\n"], ids=["value", "utf", "2"])
    def test_a_file_that_is_no_toml_is_named(self, emodna_prep: Command, here: Path, text: str | bytes) -> None:
        (here / "bad.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert emodna_prep("--config", "bad.toml").error().startswith("error: --config bad.toml: ")

    def test_an_unknown_key_is_named_with_the_valid_ones(self, emodna_prep: Command, here: Path) -> None:
        (here / "prep.toml").write_text("feature_set = 'mfcc40'\n")
        line = emodna_prep("--config", "prep.toml").error()
        assert "--config prep.toml: unknown key feature_set; valid: " in line
        assert "feature-set" in line

    @pytest.mark.parametrize(
        "setting",
        [
            "cache = 5",
            "root = ['a', 'b']",
            "workers = 'many'",
            "channel = 1.5",
            "max-seconds = true",
            "strict = [1]",
            "corpus = [1]",
            "feature-set = {a = 1}",
        ],
    )
    def test_a_value_of_another_type_is_refused_by_its_key(
        self, emodna_prep: Command, root: Path, here: Path, setting: str
    ) -> None:
        key = setting.split(" =")[0]
        defaults = "" if key == "corpus" else 'corpus = ["emodb"]\n'
        defaults += "" if key == "root" else f'root = "{root}"\n'
        (here / "prep.toml").write_text(defaults + setting + "\n")
        ran = emodna_prep("--config", "prep.toml")
        message = ran.error() if ran.code == 1 else ran.usage()
        assert f"--{key}" in message


class TestNames:
    """File names are printed as they are, whatever they hold, and can do no harm to a terminal."""

    NAMES = (
        "[red]bold[bold].wav",
        "quote'\" back\\slash.wav",
        "日本 ünï ﷺ.wav",
        ":warning: :smile:.wav",
        "x" * 196 + ".wav",
        "trailing\\.wav",
        "50 % {name} $HOME `id`.wav",
    )

    def test_harmless_names_are_printed_letter_by_letter(self, emodna_prep: Command, tmp_path: Path) -> None:
        table = manifest(tmp_path / "own", [{"path": name} for name in (*self.NAMES, "good.wav")])
        for name in self.NAMES:
            (tmp_path / "own" / name).write_bytes(b"")
        (tmp_path / "own" / "good.wav").write_bytes(wav(noise()))
        ran = emodna_prep("--manifest", table, "-v")
        assert ran.code == 0
        lines = ran.err.splitlines()
        for name in self.NAMES:
            assert f"rejected: {name}: empty file (0 bytes)" in lines
        assert len(lines) == len(self.NAMES)

    @pytest.mark.parametrize(
        "name", ["two\nlines.wav", "tab\tbell\a.wav", "\x1b[31mred\x1b[0m.wav", "rtl\u202eevil.wav"]
    )
    def test_control_characters_are_printed_as_escapes(self, emodna_prep: Command, tmp_path: Path, name: str) -> None:
        table = manifest(tmp_path / "own", [{"path": name}, {"path": "good.wav"}])
        (tmp_path / "own" / name).write_bytes(b"")
        (tmp_path / "own" / "good.wav").write_bytes(wav(noise()))
        ran = emodna_prep("--manifest", table)
        (line,) = ran.err.splitlines()
        assert line.isprintable()
        assert line == f"rejected: {name.encode('unicode_escape').decode()}: empty file (0 bytes)"

    def test_an_error_that_names_such_a_file_is_one_line(self, emodna_prep: Command, tmp_path: Path) -> None:
        folder = tmp_path / "[red]a\nb\x1b[31m"
        line = emodna_prep("--corpus", "emodb", "--root", folder).error()
        assert line.isprintable()
        assert "[red]a\\nb\\x1b[31m: no such folder" in line

    def test_a_terminal_without_unicode_gets_escapes(self, root: Path, tmp_path: Path) -> None:
        cache = tmp_path / "日本"
        prepared(root, cache)  # the summary of a second run is the same, and comes sooner
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        ran = script("emodna-prep", "--corpus", "emodb", "--root", root, "--cache", cache, env=environment)
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err
        assert "emodb: 6 utterances" in ran.out


class TestProcesses:
    """As a user runs it: a process with its exit code and its two streams."""

    def test_json_is_alone_on_standard_output(self, damaged: Path, tmp_path: Path) -> None:
        options = ("--corpus", "emodb", "--root", damaged, "--cache", tmp_path / "cache", "--json", "-v", "--strict")
        ran = script("emodna-prep", *options)
        assert ran.code == 1
        assert list(ran.json[0]) == KEYS
        assert "rejected: " in ran.err
        assert "\x1b" not in ran.err + ran.out  # no colours into a file

    def test_a_reader_that_has_seen_enough_is_no_error(self, root: Path, tmp_path: Path) -> None:
        """As with `emodna-prep ... | head -0`."""
        prepared(root, tmp_path / "cache")
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
    def test_standard_output_on_a_full_disk_is_one_line(self, tmp_path: Path) -> None:
        command = [str(Path(sys.executable).with_name("emodna-cache")), "ls", "--cache", str(tmp_path)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300)
        assert done.returncode == 1
        assert done.stderr == "error: No space left on device: free some space or choose another place\n"

    def test_ctrl_c_exits_130_and_the_same_command_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `interrupted`
        tiny_emodb(tmp_path / "root", emodb_names(12))
        options = ("--corpus", "emodb", "--root", tmp_path / "root", "--cache", tmp_path / "cache", "--workers", 1)
        command = [sys.executable, "-m", "tests.pipeline.interrupted", "after:write_journal:2", "SIGINT"]
        done = subprocess.run(
            [*command, *map(str, options), "--json"],
            cwd=Path(str(tests.__file__)).parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 130
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1] == "interrupted; the same command goes on from here"
        with pytest.raises(StoreError, match="no feature store"):
            FeatureStore(tmp_path / "cache" / "emodb" / MfccSet().name)
        report = prepared(tmp_path / "root", tmp_path / "cache", wait=False)
        assert report.reused >= 2
        assert report.utterances == 12
        assert content(report.store) == content(prepared(tmp_path / "root", tmp_path / "fresh").store)


class TestHelp:
    def test_it_names_every_option_and_every_default(self, emodna_prep: Command) -> None:
        ran = emodna_prep("--help")
        assert (ran.code, ran.err) == (0, "")
        text = " ".join(ran.out.split())
        for parameter in prep.params:
            assert all(name in text for name in parameter.opts), parameter.name
        for default in (
            "default: cache",
            "default: mfcc40",
            "default: 0;",
            "default: 3600.0;",
            "env var: EMODNA_CACHE",
        ):
            assert default in text
        for default in (
            "$EMODNA_DATA/<corpus>, else data/<corpus>",
            "the processor's cores",
            "that of the table or folder",
        ):
            assert f"[default: {default}]" in text

    def test_it_comes_without_the_heavy_libraries(self) -> None:
        code = """
import sys
from emodna.cli.prep import main
sys.argv = ["emodna-prep", "--help"]
try:
    main()
except SystemExit:
    heavy = {"torch", "librosa", "dask", "distributed", "scipy", "h5py", "pyarrow", "matplotlib"}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
        assert done.stderr.strip() == "[]"

    def test_the_version_is_told(self, emodna_prep: Command) -> None:
        ran = emodna_prep("--version")
        assert ran.code == 0
        assert "emodna-prep, version " in ran.out
