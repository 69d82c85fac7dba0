"""Runs that learnt from the target's labels: wherever a result of theirs is shown, the word oracle stands beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from emodna.cli import eval as eval_command
from emodna.cli import fit as fit_command
from emodna.cli import predict as predict_command
from emodna.cli.runs import command as runs_command
from tests.model.small import CommandResult, assert_one_line_error, run_command

SMALL = ("batch_size=8", "frames=32", "channels=8", "log_every=1")


def fit(cache: Path, *arguments: object) -> CommandResult:
    settings = [part for value in SMALL for part in ("--set", value)]
    corpora = ("--src", "ravdess", "--tgt", "emodb", "--cache", cache)
    return run_command(fit_command.main, *corpora, "--threads", 1, "--steps", 2, *settings, *arguments)


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CommandResult]]:
    """Runs of the upper bound, of Emo-DNA with the target's labels, and of Source Only; what each printed."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {
        "bound": ("--method", "upper-bound"),
        "labels": ("--set", "threshold=oracle-labels"),
        "floor": ("--method", "source-only"),
    }
    return folder, {name: fit(cache, *each, "--out", folder / name) for name, each in asked.items()}


@pytest.fixture
def folder(made: tuple[Path, dict[str, CommandResult]]) -> Path:
    return made[0]


def answered(main: Any, *arguments: object) -> Any:
    answer = run_command(main, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


class TestFit:
    @pytest.mark.parametrize(
        ("name", "method", "supervision"),
        [
            ("bound", "upper-bound (oracle)", "oracle-folds"),
            ("labels", "emo-dna (oracle)", "oracle-labels"),
        ],
    )
    def test_marks_an_oracle(
        self, name: str, method: str, supervision: str, made: tuple[Path, dict[str, CommandResult]]
    ) -> None:
        answer = made[1][name]
        assert answer.code == 0
        (row,) = [line for line in answer.out.splitlines() if line.startswith(method.split()[0])]
        assert row.startswith(method)
        assert "oracle: trained with" in answer.out
        assert "oracle: " in answer.err.splitlines()[0]
        assert "\u2026" not in answer.out  # a long name cuts no figure off
        assert json.loads((made[0] / name / "result.json").read_text())["supervision"] == supervision

    def test_marks_no_method(self, made: tuple[Path, dict[str, CommandResult]]) -> None:
        answer = made[1]["floor"]
        assert "oracle" not in answer.out + answer.err
        assert json.loads((made[0] / "floor" / "result.json").read_text())["supervision"] == "source"

    def test_refuses_to_choose_for_the_upper_bound(self, cache: Path, tmp_path: Path) -> None:
        answer = fit(cache, "--method", "upper-bound", "--select", "snd", "--out", tmp_path / "run")
        assert_one_line_error(answer, "--select snd", "upper-bound")

    def test_takes_a_fixed_threshold(self, cache: Path, tmp_path: Path) -> None:
        # A new network is sure of nothing: no pseudo-label counts, and the run is finite all the same.
        answer = fit(cache, "--set", "threshold=fixed:0.9", "--out", tmp_path / "run", "--json")
        assert json.loads(answer.out)["supervision"] == "source"
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["confident"] for line in lines] == [0, 0]
        assert all(value is not None for line in lines for value in line.values())


class TestRuns:
    def test_list_them_as_oracles(self, folder: Path) -> None:
        found = {Path(row["run"]).name: row["supervision"] for row in answered(runs_command.main, "ls", folder)}
        assert found == {"bound": "oracle-folds", "labels": "oracle-labels", "floor": "source"}
        text = run_command(runs_command.main, "ls", folder, "--sort", "uar").out
        for method in ("upper-bound (oracle)", "emo-dna (oracle)", "source-only "):
            assert method in text
        assert "source-only (oracle)" not in text

    def test_show_and_compare_them_as_oracles(self, folder: Path) -> None:
        text = run_command(runs_command.main, "show", folder / "bound").out
        assert "upper-bound (oracle)" in text
        assert "oracle-folds" in text
        runs = [folder / name for name in ("bound", "floor")]
        assert "upper-bound (oracle)" in run_command(runs_command.main, "compare", *runs).out
        document = answered(runs_command.main, "compare", *runs)
        assert [row["supervision"] for row in document["runs"]] == ["oracle-folds", "source"]
        assert document["differs"]["supervision"] == ["oracle-folds", "source"]


def test_an_evaluation_marks_them_and_says_what_they_have_seen(folder: Path, cache: Path) -> None:
    corpora = ("--corpus", "emodb", "--corpus", "ravdess", "--cache", cache, "--resamples", 100)
    answer = run_command(eval_command.main, folder / "bound", *corpora)
    assert answer.code == 0, answer.err
    assert answer.out.count("upper-bound (oracle)") == 4
    assert "oracle: the run was trained on it with its labels" in answer.err
    assert "without its labels" not in answer.err
    found = answered(eval_command.main, folder / "labels", *corpora)
    assert [each["supervision"] for each in found] == ["oracle-labels"] * 2


def test_predictions_of_them_are_told_to_be_an_oracle_s(folder: Path, emodb_root: Path) -> None:
    recording = next(emodb_root.glob("wav/*.wav"))
    for name, method in (("bound", "upper-bound (oracle)"), ("labels", "emo-dna (oracle)")):
        answer = run_command(predict_command.main, folder / name, recording, "--threads", 1)
        assert answer.code == 0, answer.err
        assert method in answer.err
    assert "oracle" not in run_command(predict_command.main, folder / "floor", recording, "--threads", 1).err


def test_tensorboard_s_settings_say_so(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    (events,) = (folder / "bound").glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"oracle-folds" in content[content.index(b"_hparams_") :]
