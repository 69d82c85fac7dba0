"""emodna-predict: text, JSON, tables, windows and errors."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr

from emodna.cli import predict as predict_command
from emodna.cli.predictions import print_lines
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.rows import RowFormat
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.tasks import AROUSAL, make_emotion_task
from tests.model.small import CommandResult, assert_one_line_error, run_command
from tests.pipeline.archives.packing import pack

KEYS = ["file", "start", "end", "task", "probability", "label", "error", "outside"]


def predict(*arguments: object) -> CommandResult:
    """Run the command without the throughput line."""
    return run_command(predict_command.main, *arguments, "--threads", 1, "--quiet")


@pytest.fixture(scope="module")
def files(emodb_root: Path) -> list[Path]:
    return sorted((emodb_root / "wav").glob("*.wav"))[:3]


def test_json_has_exactly_the_documented_keys_for_each_file_in_order(
    run: Path, files: list[Path], tmp_path: Path
) -> None:
    broken, absent = tmp_path / "broken.wav", tmp_path / "absent.wav"
    broken.write_bytes(b"not audio")
    answer = predict(run, files[0], broken, absent, files[1], "--json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert [each["file"] for each in found] == [str(file) for file in (files[0], broken, absent, files[1])]
    assert all(list(each) == KEYS for each in found)
    assert found[1] == {**dict.fromkeys(KEYS), "file": str(broken), "task": "arousal", "error": found[1]["error"]}
    assert "No such file" in found[2]["error"]
    for each in (found[0], found[3]):
        assert (each["task"], each["error"]) == ("arousal", None)
        assert each["label"] == ("low", "high")[each["probability"] >= 0.5]
        assert 0 <= each["start"] < each["end"]


def test_text_is_an_escaped_line_per_file(run: Path, files: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "[bold]a\x1b[31m\nb.wav"
    shutil.copy(files[0], odd)
    answer = predict(run, files[0], odd)
    assert answer.code == 0
    first, second = answer.out.splitlines()
    assert re.fullmatch(re.escape(f"{files[0]}: ") + r"(low|high) arousal  \(p\(high\) = 0\.\d{3}\)", first)
    assert f"{tmp_path}/[bold]a\\x1b[31m\\nb.wav: " in second


def test_formats_that_only_ffmpeg_reads_are_counted_in_folders_and_errors_as_files(
    run: Path, files: list[Path], tmp_path: Path
) -> None:
    shutil.copy(files[0], tmp_path / "a.wav")
    for name in ("b.m4a", "c.m4a", "d.webm"):
        (tmp_path / name).write_bytes(b"\0\0\0\x1cftypM4A " + bytes(99))
    answer = run_command(predict_command.main, run, tmp_path)
    assert (answer.code, len(answer.out.splitlines())) == (0, 1)
    assert f"warning: {tmp_path}: 3 files left out: 2 .m4a, 1 .webm; decode them with --ffmpeg" in answer.err
    (tmp_path / "t.csv").write_text("path\nb.m4a\n")
    for arguments in ([tmp_path / "b.m4a"], ["--manifest", tmp_path / "t.csv"]):
        answer = predict(run, *arguments)
        assert (answer.code, len(answer.err.splitlines())) == (1, 1)
        assert "b.m4a: in the format MPEG-4" in answer.err
        assert "with --ffmpeg" in answer.err
    (tmp_path / "a.wav").unlink()
    assert "3 files left out: 2 .m4a, 1 .webm; decode them with --ffmpeg" in predict(run, tmp_path).err


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("windows", [(), ("--windows", 0.5)])
def test_ffmpeg_gives_the_predictions_of_the_same_audio_as_wav(
    run: Path, files: list[Path], tmp_path: Path, windows: tuple[object, ...]
) -> None:
    shutil.copy(files[0], tmp_path / "a.wav")
    words = ["ffmpeg", "-v", "error", "-i", "a.wav", "-c:a", "alac", "b.m4a"]
    subprocess.run(words, cwd=tmp_path, check=True)
    found = json.loads(predict(run, tmp_path, "--ffmpeg", "--json", *windows).out)
    wav, m4a = ([each | {"file": ""} for each in found if each["file"].endswith(end)] for end in ("wav", "m4a"))
    assert len(wav) >= 1
    assert wav == m4a


def test_a_channel_or_all_of_them_add_a_column(run: Path, files: list[Path], tmp_path: Path) -> None:
    samples, rate = soundfile.read(files[0])
    soundfile.write(tmp_path / "call.wav", np.stack([samples, samples[::-1]], axis=1), rate)
    inputs = (tmp_path / "call.wav", files[1])
    found = json.loads(predict(run, *inputs, "--channel", "all", "--json").out)
    assert [list(each) for each in found] == [[*KEYS, "channel"]] * 3
    assert [(Path(each["file"]).name, each["channel"]) for each in found] == [
        ("call.wav", 0),
        ("call.wav", 1),
        (files[1].name, 0),
    ]
    assert predict(run, *inputs, "--channel", "all").out.count("  channel=1\n") == 1
    answer = predict(run, *inputs, "--channel", 1, "--out", tmp_path / "rows.parquet")
    assert answer.code == 1
    assert "no channel 1" in answer.err
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.schema.field("channel").type == pa.int64()
    assert rows["channel"].to_pylist() == [1, 1]
    assert rows["probability"].to_pylist() == [pytest.approx(found[1]["probability"], abs=1e-6), None]
    assert predict(run, files[0], "--channel", "both").code == 2
    for options in ((), ("--channel", 0), ("--windows", 0.5), ("--out", f"{tmp_path}/bulk", "--workers", 1)):
        threads = () if "--out" in options else ("--threads", 1)
        lines = run_command(predict_command.main, run, *inputs, *options, *threads).err.splitlines()
        (note,) = [line for line in lines if "several channels" in line] or [None]
        assert (note is None) == ("--channel" in options)
        assert note is None or (note.startswith("1 file with") and note.endswith(f": {tmp_path}/call.wav"))


class TestManifest:
    @pytest.fixture
    def table(self, files: list[Path], tmp_path: Path) -> Path:
        """Return a table of four rows; the second and the third cannot be predicted."""
        for file, name in zip(files, ("b.wav", "a [bold]é.wav"), strict=False):
            shutil.copy(file, tmp_path / name)
        rows = ["label,path,emotion,agent", "old,b.wav,anger,[red]x", 'new,absent.wav,,"1,2"', ",,,\x1b[31mred"]
        (tmp_path / "t.csv").write_text("\n".join([*rows, "0, a [bold]é.wav ,hangry,"]) + "\n")
        return tmp_path / "t.csv"

    def test_predictions_keep_the_order_and_the_columns_of_the_rows(
        self, run: Path, table: Path, tmp_path: Path
    ) -> None:
        answer = predict(run, "--manifest", table, "--json")
        assert answer.code == 1
        members = {name: (tmp_path / name).read_bytes() for name in ("b.wav", "a [bold]é.wav")}
        (alone,) = json.loads(predict(run, tmp_path / "b.wav", "--json").out)
        archived = predict(run, "--manifest", table, "--root", pack(tmp_path / "x.zip", members), "--json")
        assert json.loads(archived.out)[3] == json.loads(answer.out)[3]
        found = json.loads(answer.out)
        assert [each["file"] for each in found] == ["b.wav", "absent.wav", "row 3", "a [bold]é.wav"]
        for each in found:
            assert list(each) == [*KEYS, "own_label", "emotion", "agent"]
        assert [each["own_label"] for each in found] == ["old", "new", "", "0"]
        assert [each["agent"] for each in found] == ["[red]x", "1,2", "\x1b[31mred", ""]
        assert [each["error"] is None for each in found] == [True, False, False, True]
        assert found[1]["error"] == f"not found in the root {tmp_path}"
        assert found[2]["error"] == "no path"
        assert {key: found[0][key] for key in KEYS[1:]} == {key: alone[key] for key in KEYS[1:]}
        # An unknown emotion does not matter: labels are not used.
        assert (found[3]["emotion"], found[3]["label"] in ("low", "high")) == ("hangry", True)

    def test_text_is_an_escaped_line_per_row(self, run: Path, table: Path) -> None:
        answer = predict(run, "--manifest", table)
        assert answer.code == 1
        first, second = answer.out.splitlines()
        assert first.startswith("b.wav: ")
        assert first.endswith("  own_label=old  emotion=anger  agent=[red]x")
        assert second.startswith("a [bold]é.wav: ")
        assert second.endswith("  own_label=0  emotion=hangry")
        assert [line.split(":")[1] for line in answer.err.splitlines()] == [" row 2", " row 3"]

    def test_segments_have_times_and_count_as_rows(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        spans = [(0, 0.1), (0.02, 0.12), (0, 0.25)]
        rows = [f"{file},{start},{end}" for file in files[:2] for start, end in spans]
        (tmp_path / "t.csv").write_text("\n".join(["path,start,end", *rows]) + "\n")
        answer = run_command(predict_command.main, run, "--manifest", tmp_path / "t.csv", "--root", files[0].parent)
        expected = [f", {start:.2f} to {end:.2f} s)" for start, end in spans]
        assert [found in line for found, line in zip(expected * 2, answer.out.splitlines(), strict=True)] == [True] * 6
        *warnings, rate = answer.err.splitlines()
        assert rate.startswith("6 rows, ")
        (line,) = (line for line in warnings if "duration" in line)
        assert "warning: 4 of 6 rows outside" in line
        assert line.endswith(f": {files[0]}, {files[1]}")

    def test_unusable_paths_are_errors_of_their_rows(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        odd = ["../out.wav", "/out.wav", "../x\0/y.wav", "x" * 300]
        rows = {"path": [*odd, None, files[0].name, None], "note": [*"abcdef", None]}  # the last row is empty
        pq.write_table(pa.table(rows), tmp_path / "t.parquet")
        answer = predict(run, "--manifest", tmp_path / "t.parquet", "--root", files[0].parent, "--json")
        assert answer.code == 1
        found = json.loads(answer.out)
        assert [(each["file"], each["error"] is None) for each in found] == [
            *((name, False) for name in (*odd, "row 5")),
            (files[0].name, True),
        ]

    def test_unusable_manifests_are_errors(self, run: Path, table: Path, files: list[Path], tmp_path: Path) -> None:
        assert_one_line_error(predict(run, "--manifest", tmp_path / "absent.csv"), "absent.csv: not found")
        assert_one_line_error(predict(run, "--manifest", table, "--root", tmp_path / "gone"), "gone: not found")
        (tmp_path / "x.csv").write_text("name\na.wav\n")
        assert_one_line_error(predict(run, "--manifest", tmp_path / "x.csv"), "no column 'path' (its columns: name")
        (tmp_path / "x.csv").write_text("path;Start;End\na.wav;0;1\n")
        assert_one_line_error(predict(run, "--manifest", tmp_path / "x.csv"), "write 'start', 'end' or rename them")

        for arguments in ((files[0], "--manifest", table), (), (files[0], "--root", ".")):
            answer = predict(run, *arguments)
            assert (answer.code, answer.out) == (2, "")
            assert "--manifest" in answer.err


def test_errors_are_one_line(run: Path, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"weights")
    for place in (tmp_path, tmp_path / "absent", run / "config.json", tmp_path / "damaged"):
        assert_one_line_error(predict(place, files[0]), str(place))
    assert_one_line_error(predict(run, files[0], "--also", tmp_path / "no"), str(tmp_path / "no"))
    assert_one_line_error(predict(run, files[0], "--device", "cuda:99"), "--device cuda:99", "cpu")
    assert_one_line_error(predict(files[0], run), f"{files[0]}: a file, not a run folder")
    assert predict(run, files[0], "--loud").code == 2
    assert predict(run, files[0], "--also", run.parent / "." / run.name).code == 2


def test_without_predictions_no_rate_is_printed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("path\na.wav\n")
    answer = run_command(predict_command.main, run, tmp_path / "calls.csv")
    assert answer.code == 1
    assert re.search(r"not readable as audio: .*[^.]; for a table, use --manifest\n1 file in \d", answer.err)


class TestWindows:
    @pytest.fixture
    def long(self, files: list[Path], tmp_path: Path) -> Path:
        samples, rate = soundfile.read(files[0])
        soundfile.write(tmp_path / "long.wav", np.tile(samples, 9)[:rate], rate)
        return tmp_path / "long.wav"

    def test_each_window_has_a_prediction(self, run: Path, long: Path) -> None:
        answer = predict(run, long, "--windows", 0.4)
        assert answer.code == 0
        spans = [line.rpartition(", ")[2] for line in answer.out.splitlines()]
        assert spans == ["0.00 to 0.40 s)", "0.20 to 0.60 s)", "0.40 to 0.80 s)", "0.60 to 1.00 s)"]
        found = json.loads(predict(run, long, "--windows", 0.5, "--hop", 0.3, "--json").out)
        assert all(list(each) == KEYS for each in found)
        assert [(each["start"], each["end"]) for each in found] == [(0, 0.5), (0.3, 0.8), (0.5, 1)]

    def test_windows_that_are_too_long_or_too_short_are_named(self, run: Path, files: list[Path]) -> None:
        answer = run_command(predict_command.main, run, files[0], "--windows", 4, "--threads", 1)
        assert "windows of 4 s are longer than the arousal model's window of 0.74 s" in answer.err
        assert_one_line_error(predict(run, files[0], "--windows", 0.2), "--windows 0.2: must be at least 0.25 s")
        assert_one_line_error(predict(run, files[0], "--windows", 1, "--hop", 0.001), "--hop 0.001", "0.01 s")
        for options in (("--hop", 1), ("--windows", "nan"), ("--windows", -1), ("--windows", 1, "--csv", "--json")):
            assert predict(run, files[0], *options).code == 2


def test_also_adds_predictions_of_another_run(finished_runs: dict[str, Path], files: list[Path]) -> None:
    manifest_arguments = (finished_runs["arousal"], "--also", finished_runs["valence"], *files[:2])
    found = json.loads(predict(*manifest_arguments, "--json").out)
    assert all(list(each) == [*KEYS, "run"] for each in found)
    expected = [(str(file), task, str(finished_runs[task])) for file in files[:2] for task in ("arousal", "valence")]
    assert [(each["file"], each["task"], each["run"]) for each in found] == expected
    for each in found:
        alone = json.loads(predict(each["run"], *files[:2], "--json").out)
        assert each["probability"] in [answer["probability"] for answer in alone]
    lines = predict(*manifest_arguments).out.splitlines()
    assert ["p(positive)" in line for line in lines] == [False, True, False, True]
    assert "run=" not in lines[0]


def test_models_of_any_tasks_share_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    binary = (make_emotion_task(["anger", "sadness"]), make_emotion_task(["anger", "neutral"]))
    tasks, runs = (AROUSAL, make_emotion_task(["emobox4"]), *binary), [Path(name) for name in "abcd"]
    given = [(0.4, 0.6), (0.1, 0.2, 0.3, 0.4), (0.9, 0.1), (0.2, 0.8)]
    rows = RowFormat(tasks, runs)
    found = [rows.make_row(Prediction("x.wav", 0, 1, each, model=number)) for number, each in enumerate(given)]
    emotions = [f"probability_{name}" for name in ("anger", "happiness", "neutral", "sadness")]
    assert list(rows.types) == [*KEYS[:5], *emotions, *KEYS[5:], "run"]
    assert [each["label"] for each in found] == ["high", "sadness", "anger", "neutral"]
    assert [each["probability"] for each in found] == [0.6, None, 0.1, 0.8]
    assert [[each[name] for name in emotions] for each in found] == [[None] * 4, list(given[1]), [None] * 4, [None] * 4]
    add = print_lines(rows, spans=False, runs=True)
    for row in found:
        add(row, {}, None)
    # Runs of a task of one name may have other classes.
    assert [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "(p(high) = 0.600)  run=a",
        "(emotion: p(anger) = 0.100, p(happiness) = 0.200, p(neutral) = 0.300, p(sadness) = 0.400)  run=b",
        "(emotion: p(sadness) = 0.100)  run=c",
        "(emotion: p(neutral) = 0.800)  run=d",
    ]


def test_standard_input_is_audio(run: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = files[0].read_bytes()
    streamed = bytearray(content)  # written by a program that cannot seek back to set the lengths
    streamed[4:8] = streamed[40:44] = b"\xff" * 4
    (expected,) = json.loads(predict(run, files[0], "--json").out)
    for each in (content, streamed):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(each)))
        assert json.loads(predict(run, "-", "--json").out) == [{**expected, "file": "-"}]


class TestTables:
    @pytest.fixture
    def manifest_arguments(self, run: Path, files: list[Path], tmp_path: Path) -> list[object]:
        columns = {
            "path": [files[0].name, "=x.wav", files[1].name],
            "note": ["=1+1", "-3.5", "a\x1b[2J\n"],
            "when": pa.array([0, 1, None], pa.timestamp("ns")),
            "label": [[1], [], None],
        }
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        return [run, "--manifest", tmp_path / "t.parquet", "--root", files[0].parent]

    def test_files_have_the_content_of_json(self, manifest_arguments: list[object], tmp_path: Path) -> None:
        printed = predict(*manifest_arguments, "--json")
        for suffix in (".json", ".parquet", ".csv"):
            answer = predict(*manifest_arguments, "--out", tmp_path / f"out{suffix}")
            assert (answer.code, answer.out) == (1, "")
            assert answer.err.startswith("error: row 2: =x.wav: ")
        assert (tmp_path / "out.json").read_text() == printed.out
        found = json.loads(printed.out)
        table = pq.read_table(tmp_path / "out.parquet")
        assert table.column_names == [*KEYS, "note", "when", "own_label"]
        for key in (*KEYS, "note", "own_label"):
            assert table[key].to_pylist() == [each[key] for each in found]
        assert table.schema.field("when").type == pa.timestamp("ns")
        with (tmp_path / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["file"] for row in rows] == [found[0]["file"], "'=x.wav", found[2]["file"]]
        assert [row["note"] for row in rows] == ["'=1+1", "-3.5", "a\\x1b[2J\\n"]
        assert [row["probability"] for row in rows] == [str(found[0]["probability"]), "", str(found[2]["probability"])]
        assert predict(*manifest_arguments, "--csv").out == (tmp_path / "out.csv").read_text()
        assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.csv", "out.json", "out.parquet"]

    def test_files_are_unchanged_after_a_failure(
        self, run: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for suffix in (".csv", ".parquet", ".json"):
            (tmp_path / f"out{suffix}").write_text("old")

        monkeypatch.setattr(TrainedModel, "classify", mock.Mock(side_effect=KeyboardInterrupt))
        for out in list(tmp_path.iterdir()):
            assert predict(run, *files, "--out", out).code == 130
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"] * 3

    def test_files_that_cannot_be_written_are_errors(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.csv")
        for name, problem in (
            ("a.txt", "valid: .csv, .parquet, .json"),
            ("no/a.csv", f"folder {tmp_path / 'no'} not found"),
            ("pipe.csv", "not a file"),
        ):
            assert_one_line_error(predict(run, files[0], "--out", tmp_path / name), name, problem)


class TestInputWarnings:
    @pytest.fixture
    def folder(self, files: list[Path], tmp_path: Path) -> Path:
        """Return a folder of speech: two files of the training, two with hardly any treble, one of 16 s."""
        speech, rate = soundfile.read(files[0])
        for number, file in enumerate(files[:2]):
            shutil.copy(file, tmp_path / f"fine-{number}.wav")
        narrow = soxr.resample(speech, rate, 8000)
        for name, samples in (("[red]1", narrow), ("2", narrow / 2)):
            soundfile.write(tmp_path / f"phone-{name}.wav", samples, 8000)
        soundfile.write(tmp_path / "talk.wav", np.resize(speech, 16 * rate), rate)
        return tmp_path

    def test_files_outside_the_training_audio_are_counted_and_named(self, run: Path, folder: Path) -> None:
        answer = run_command(predict_command.main, run, folder, "--threads", 1)
        # Features may be outside, too.
        bandwidth, duration, *_, cropped, rate = answer.err.splitlines()
        assert re.fullmatch(
            r"warning: 2 of 5 files outside the training audio: bandwidth \d+ Hz "
            rf"\(training: .* or 11025 Hz\): {folder}/phone-2\.wav, {folder}/phone-\[red\]1\.wav",
            bandwidth,
        )
        assert re.match(
            r"warning: 1 of 5 files outside .*: duration 16\.0 s \(training: .* s\): .*/talk\.wav$", duration
        )
        assert re.match(r"1 file longer than the model's window of 0\.74 s.* --windows: .*/talk\.wav$", cropped)
        assert rate.startswith("5 files")
        outside = [line.partition("outside=")[2].split(",") for line in answer.out.splitlines()]
        assert [each[0] for each in outside] == ["", "", "bandwidth", "bandwidth", "duration"]

    def test_windows_of_a_file_count_once(self, run: Path, folder: Path, tmp_path: Path) -> None:
        options = ("--windows", 0.6, "--threads", 1, "--out", tmp_path / "p.parquet")
        answer = run_command(predict_command.main, run, folder / "phone-2.wav", folder / "talk.wav", *options)
        assert "warning: 1 of 2 files outside the training audio: bandwidth" in answer.err
        assert "--windows" not in answer.err
        table = pq.read_table(tmp_path / "p.parquet", columns=["file", "outside"]).to_pylist()
        assert {"bandwidth" in row["outside"] for row in table if row["file"].endswith("2.wav")} == {True}
        assert {"bandwidth" in row["outside"] for row in table if row["file"].endswith("talk.wav")} == {False}

    @pytest.mark.parametrize("options", [(), ("--windows", 0.6)])
    def test_integers_stored_as_floating_point_are_named(
        self, run: Path, files: list[Path], tmp_path: Path, options: tuple[object, ...]
    ) -> None:
        speech, rate = soundfile.read(files[0])
        for name in ("a.wav", "[b].wav"):
            soundfile.write(tmp_path / name, 20_000 * speech / np.abs(speech).max(), rate, subtype="FLOAT")
        soundfile.write(tmp_path / "c.wav", 1.2 * speech / np.abs(speech).max(), rate, subtype="FLOAT")
        answer = run_command(predict_command.main, run, tmp_path, "--threads", 1, *options)
        (line,) = (line for line in answer.err.splitlines() if "full scale" in line)
        assert line.startswith("warning: 2 recordings ")
        assert f"{tmp_path}/[b].wav, peak 20000 " in line

    def test_models_without_a_recorded_domain_are_noted_once(self, run: Path, folder: Path, tmp_path: Path) -> None:
        model = tmp_path / "old.safetensors"
        replace(TrainedModel.load(run), domain=None).save(model)
        answer = run_command(predict_command.main, model, folder / "phone-2.wav", "--json", "--threads", 1)
        assert len([line for line in answer.err.splitlines() if "earlier version" in line]) == 1
        assert json.loads(answer.out)[0]["outside"] is None


class TestWholeCommand:
    def test_throughput_is_printed_at_the_end(self, run: Path, files: list[Path]) -> None:
        answer = run_command(predict_command.main, run, *files, "--json", "--threads", 1)
        assert len(json.loads(answer.out)) == 3
        seconds = sum(soundfile.info(file).duration for file in files)
        assert re.fullmatch(rf"3 files, {seconds:.1f} s of audio in \d+\.\d\d s: \d+ x real time\n", answer.err)

    @pytest.mark.slow
    def test_prediction_imports_no_heavy_libraries(self, run: Path, files: list[Path]) -> None:
        code = (
            "import sys; from emodna.cli.predict import predict;"
            "predict.main(sys.argv[1:], standalone_mode=False);"
            "print(sorted(set('pyarrow h5py scipy sklearn librosa dask matplotlib pandas'.split()) & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, run, files[0], "-q"], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"
