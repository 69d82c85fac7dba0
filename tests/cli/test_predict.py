"""emodna-predict as its users meet it."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from emodna.cli import predict as predict_command
from emodna.model.fit import FitRequest
from emodna.model.fit import fit as run_fit
from emodna.pipeline.store import FeatureStore
from tests.model.small import SETTINGS, Answer, Silent, assert_one_line_error, command

KEYS = ["file", "start", "end", "task", "probability", "label", "error"]


def predict(*arguments: object) -> Answer:
    return command(predict_command.main, *arguments, "--threads", 1)


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run for each task."""
    folder = tmp_path_factory.mktemp("runs")
    source, target = (FeatureStore(next((cache / name).iterdir())) for name in ("ravdess", "emodb"))
    for task in ("arousal", "valence"):
        request = FitRequest(source, target, task=task, steps=2, threads=1, settings=SETTINGS, out=folder / task)
        run_fit(request, Silent())
    return {task: folder / task for task in ("arousal", "valence")}


@pytest.fixture(scope="module")
def run(runs: dict[str, Path]) -> Path:
    return runs["arousal"]


@pytest.fixture(scope="module")
def files(emodb_root: Path) -> list[Path]:
    return sorted((emodb_root / "wav").glob("*.wav"))[:3]


class TestJson:
    @pytest.mark.parametrize(("task", "names"), [("arousal", ("low", "high")), ("valence", ("negative", "positive"))])
    def test_has_exactly_the_documented_keys_for_each_file_in_order(
        self, task: str, names: tuple[str, str], runs: dict[str, Path], files: list[Path]
    ) -> None:
        answer = predict(runs[task], *files, "--json")
        assert answer.code == 0
        assert answer.err == ""
        found = json.loads(answer.out)
        assert [each["file"] for each in found] == [str(file) for file in files]
        for each in found:
            assert list(each) == KEYS
            assert each["task"] == task
            assert each["error"] is None
            assert each["label"] == names[each["probability"] >= 0.5]
            assert 0 <= each["start"] < each["end"]

    def test_of_a_broken_file_among_good_ones(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        broken = tmp_path / "broken.wav"
        broken.write_bytes(b"not audio")
        answer = predict(run, files[0], broken, tmp_path / "absent.wav", files[1], "--json")
        assert answer.code == 1
        found = json.loads(answer.out)
        assert [each["error"] is None for each in found] == [True, False, False, True]
        assert found[1] == {**dict.fromkeys(KEYS), "file": str(broken), "task": "arousal", "error": found[1]["error"]}
        assert "No such file" in found[2]["error"]
        assert found[3]["probability"] is not None


class TestText:
    def test_is_a_line_per_file(self, run: Path, files: list[Path]) -> None:
        answer = predict(run, *files)
        assert answer.code == 0
        lines = answer.out.splitlines()
        assert len(lines) == len(files)
        for line, file in zip(lines, files, strict=True):
            assert line.startswith(f"{file}: ")
            assert "arousal" in line
            assert "p(high) = 0." in line

    def test_has_broken_files_on_stderr(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        broken = tmp_path / "broken.wav"
        broken.write_bytes(b"")
        answer = predict(run, broken, files[0])
        assert answer.code == 1
        assert answer.out.splitlines()[0].startswith(f"{files[0]}: ")
        assert answer.err == f"error: {broken}: empty file (0 bytes)\n"

    def test_shows_names_from_outside_as_they_are_and_harmless(
        self, run: Path, files: list[Path], tmp_path: Path
    ) -> None:
        odd = tmp_path / "[bold]a\x1b[31m\nb.wav"
        shutil.copy(files[0], odd)
        answer = predict(run, odd)
        assert answer.code == 0
        assert len(answer.out.splitlines()) == 1
        assert "[bold]a\\x1b[31m\\nb.wav: " in answer.out


class TestMistakes:
    def test_a_folder_that_is_no_run(self, files: list[Path], tmp_path: Path) -> None:
        assert_one_line_error(predict(tmp_path, files[0]), str(tmp_path / "model.safetensors"), "no such file")
        assert_one_line_error(predict(tmp_path / "absent", files[0]), str(tmp_path / "absent"))

    def test_a_file_in_the_place_of_the_run(self, run: Path, files: list[Path]) -> None:
        assert_one_line_error(predict(run / "config.json", files[0]), str(run / "config.json"))

    @pytest.mark.parametrize("content", [b"", b"weights", b"\x00" * 999])
    def test_a_damaged_model(self, content: bytes, files: list[Path], tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        assert_one_line_error(predict(tmp_path, files[0]), str(tmp_path / "model.safetensors"), "damaged")

    def test_a_device_that_is_not_there(self, run: Path, files: list[Path]) -> None:
        assert_one_line_error(predict(run, files[0], "--device", "cuda:99"), "--device cuda:99", "cpu")

    def test_no_audio_and_unknown_options_exit_2(self, run: Path, files: list[Path]) -> None:
        for arguments in ((run,), (run, files[0], "--loud")):
            answer = predict(*arguments)
            assert answer.code == 2
            assert "Usage:" in answer.err
            assert answer.out == ""

    def test_a_file_of_every_kind_that_cannot_be_used(self, run: Path, tmp_path: Path) -> None:
        for name, content in (("text.txt", b"words"), ("samples.raw", bytes(9000)), ("cut.wav", b"RIFF")):
            (tmp_path / name).write_bytes(content)
            answer = predict(run, tmp_path / name)
            assert answer.code == 1
            assert answer.err.startswith(f"error: {tmp_path / name}: ")
            assert answer.err.count("\n") == 1


def test_stereo_at_another_rate_gets_an_answer(run: Path, files: list[Path], tmp_path: Path) -> None:
    samples, rate = soundfile.read(files[0])
    soundfile.write(tmp_path / "stereo.flac", samples.repeat(3)[:, None].repeat(2, axis=1), 3 * rate)
    answer = predict(run, tmp_path / "stereo.flac", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)[0]["error"] is None
