"""Results of runs that used the target's labels are marked "oracle" or "semi-supervised" everywhere."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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
def trained_runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CommandResult]]:
    """Return the folder and outputs of four runs: two oracles, Source Only, and Source Only with a target label."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "bound": ("--method", "upper-bound"),
        "labels": ("--set", "threshold=oracle-labels"),
        "floor": ("--method", "source-only"),
        "few": ("--method", "source-only", "--target-labels", 1),
    }
    return folder, {name: fit(cache, *each, "--out", folder / name) for name, each in options.items()}


@pytest.fixture
def folder(trained_runs: tuple[Path, dict[str, CommandResult]]) -> Path:
    return trained_runs[0]


def read_json(main: Any, *arguments: object) -> Any:
    answer = run_command(main, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


class TestFit:
    @pytest.mark.parametrize(
        ("name", "method", "supervision"),
        [("bound", "upper-bound (oracle)", "oracle-folds"), ("labels", "emo-dna (oracle)", "oracle-labels")],
    )
    def test_oracles_are_marked(
        self, name: str, method: str, supervision: str, trained_runs: tuple[Path, dict[str, CommandResult]]
    ) -> None:
        answer = trained_runs[1][name]
        assert answer.code == 0
        (row,) = [line for line in answer.out.splitlines() if line.startswith(method.split()[0])]
        assert row.startswith(method)
        assert "oracle: trained with" in answer.out
        assert "oracle: " in answer.err.splitlines()[0]
        assert "\u2026" not in answer.out  # no number is cut off by a long name
        assert json.loads((trained_runs[0] / name / "result.json").read_text())["supervision"] == supervision

    def test_methods_are_not_marked(self, trained_runs: tuple[Path, dict[str, CommandResult]]) -> None:
        answer = trained_runs[1]["floor"]
        assert "oracle" not in answer.out + answer.err
        assert json.loads((trained_runs[0] / "floor" / "result.json").read_text())["supervision"] == "source"

    def test_selection_for_the_upper_bound_is_refused(self, cache: Path, tmp_path: Path) -> None:
        answer = fit(cache, "--method", "upper-bound", "--select", "snd", "--out", tmp_path / "run")
        assert_one_line_error(answer, "--select snd", "upper-bound")

    def test_fixed_threshold_is_accepted(self, cache: Path, tmp_path: Path) -> None:
        # A new network is uncertain: no pseudo-label is used, and the losses are finite.
        answer = fit(cache, "--set", "threshold=fixed:0.9", "--out", tmp_path / "run", "--json")
        assert json.loads(answer.out)["supervision"] == "source"
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["confident"] for line in lines] == [0, 0]
        assert all(value is not None for line in lines for value in line.values())


class TestRuns:
    def test_oracles_are_marked_in_lists(self, folder: Path) -> None:
        found = {Path(row["run"]).name: row["supervision"] for row in read_json(runs_command.main, "ls", folder)}
        assert found == {
            "bound": "oracle-folds",
            "labels": "oracle-labels",
            "floor": "source",
            "few": "semi-supervised",
        }
        text = run_command(runs_command.main, "ls", folder, "--sort", "uar").out
        for method in ("upper-bound (oracle)", "emo-dna (oracle)", "source-only ", "source-only (semi-supervised, 1"):
            assert method in text
        assert "source-only (oracle)" not in text

    def test_oracles_are_marked_by_show_and_compare(self, folder: Path) -> None:
        text = run_command(runs_command.main, "show", folder / "bound").out
        assert "upper-bound (oracle)" in text
        assert "oracle-folds" in text
        runs = [folder / name for name in ("bound", "floor")]
        assert "upper-bound (oracle)" in run_command(runs_command.main, "compare", *runs).out
        document = read_json(runs_command.main, "compare", *runs)
        assert [row["supervision"] for row in document["runs"]] == ["oracle-folds", "source"]
        assert document["differs"]["supervision"] == ["oracle-folds", "source"]


def test_oracles_are_marked_in_evaluations(folder: Path, cache: Path) -> None:
    corpora = ("--corpus", "emodb", "--corpus", "ravdess", "--cache", cache, "--resamples", 100)
    answer = run_command(eval_command.main, folder / "bound", *corpora)
    assert answer.code == 0, answer.err
    assert answer.out.count("upper-bound (oracle)") == 4
    assert "oracle: the run was trained on it with its labels" in answer.err
    assert "without its labels" not in answer.err
    found = read_json(eval_command.main, folder / "labels", *corpora)
    assert [each["supervision"] for each in found] == ["oracle-labels"] * 2


def test_semi_supervised_runs_are_marked(
    trained_runs: tuple[Path, dict[str, CommandResult]], cache: Path, emodb_root: Path, tmp_path: Path
) -> None:
    folder, answers = trained_runs
    few, answer = folder / "few", answers["few"]
    assert "source-only (semi-supervised" in answer.out
    assert "semi-supervised: trained with some target labels" in answer.out
    assert "semi-supervised: the labels of 2 utterances" in answer.err
    labelled = json.loads((few / "corpora.json").read_text())["corpora"][-1]
    scored = f"{labelled['utterances'] - labelled['unlabelled'] - 2} labelled of"
    assert scored in answer.out
    corpora = ("--corpus", "emodb", "--cache", cache, "--resamples", 100)
    answer = run_command(eval_command.main, few, *corpora, "--out", tmp_path)
    assert scored in answer.out
    assert "with some labels, which the scores leave out" in answer.err
    marks = pq.read_table(tmp_path / "predictions-emodb.parquet")["training_label"]
    assert sum(marks.to_pylist()) == 2
    recording = next(emodb_root.glob("wav/*.wav"))
    answer = run_command(predict_command.main, few, recording, "--threads", 1)
    assert "source-only (semi-supervised, 1 label per class): trained with some labels of its target" in answer.err


def test_oracles_are_marked_in_predictions(folder: Path, emodb_root: Path) -> None:
    recording = next(emodb_root.glob("wav/*.wav"))
    for name, method in (("bound", "upper-bound (oracle)"), ("labels", "emo-dna (oracle)")):
        answer = run_command(predict_command.main, folder / name, recording, "--threads", 1)
        assert answer.code == 0, answer.err
        assert method in answer.err
    assert "oracle" not in run_command(predict_command.main, folder / "floor", recording, "--threads", 1).err


def test_oracles_are_marked_in_tensorboard(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    (events,) = (folder / "bound").glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"oracle-folds" in content[content.index(b"_hparams_") :]
