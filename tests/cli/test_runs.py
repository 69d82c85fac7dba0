"""emodna-runs: lists, single runs and comparisons, as text and JSON."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from emodna.cli import common
from emodna.cli.runs import command as runs_command
from emodna.cli.runs.table import Column, print_table
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import make_emotion_task
from tests.model.small import (
    SETTINGS,
    CommandResult,
    InterruptAt,
    Interruption,
    SilentCallback,
    assert_one_line_error,
    run_command,
)

LS_KEYS = [
    "run",
    "state",
    "problem",
    "src",
    "tgt",
    "task",
    "method",
    "seed",
    "steps",
    "classes",
    "supervision",
    "label",
    "exposure",
    "step",
]
SCORE_KEYS = ["uar", "war", "f1", "macro_f1"]


def runs(*arguments: object) -> CommandResult:
    return run_command(runs_command.main, *arguments)


def read_json(*arguments: object) -> Any:
    answer = runs(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


@pytest.fixture(scope="module")
def trained_runs(ravdess_store: Path, emodb_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four runs: three of Source Only, and one of Emo-DNA interrupted at step 2 of 3."""
    folder = tmp_path_factory.mktemp("runs")
    stores = [FeatureStore(store) for store in (ravdess_store, emodb_store)]
    for name, fields in {
        "one": {"method": "source-only"},
        "deep/two": {"method": "source-only", "seed": 1},
        "other": {"method": "source-only", "task": "valence"},
    }.items():
        source, target = reversed(stores) if name == "other" else stores
        request = FitRequest([source], target, steps=3, out=folder / name, settings=SETTINGS, **fields)  # type: ignore[arg-type]
        fit(request, SilentCallback())
    settings = {**SETTINGS, "checkpoint_seconds": "0"}
    stopped = FitRequest(stores[:1], stores[1], steps=3, out=folder / "stopped", settings=settings)
    with pytest.raises(Interruption):
        fit(stopped, InterruptAt(3))
    return folder


@pytest.fixture(scope="module")
def emotion_runs(ravdess_store: Path, emodb_store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two runs of task emotion with other classes."""
    stores = [FeatureStore(store) for store in (ravdess_store, emodb_store)]
    found = []
    for classes in ("emobox4",), ("anger", "neutral", "sadness"):
        found.append(tmp_path_factory.mktemp("emotion") / str(len(found)))
        task = make_emotion_task(classes)
        request = FitRequest(stores[:1], stores[1], task, "source-only", 1, out=found[-1], settings=SETTINGS)
        fit(request, SilentCallback())
    return found


@pytest.fixture
def copy(trained_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_runs, tmp_path / "runs"))


class TestLs:
    def test_json_has_exactly_the_documented_keys(self, trained_runs: Path) -> None:
        rows = read_json("ls", trained_runs)
        assert len(rows) == 4
        for row in rows:
            assert list(row) == [*LS_KEYS, *SCORE_KEYS, "best_constant", "changed", "bytes"]
            assert list(row["best_constant"]) == SCORE_KEYS
        states = {Path(row["run"]).name: (row["state"], row["step"]) for row in rows}
        assert states == {"one": ("done", 3), "two": ("done", 3), "other": ("done", 3), "stopped": ("interrupted", 2)}

    def test_runs_are_sorted_by_name_or_by_a_score(self, trained_runs: Path) -> None:
        assert [Path(row["run"]).name for row in read_json("ls", trained_runs)] == ["other", "stopped", "one", "two"]
        found = [row["f1"] for row in read_json("ls", trained_runs, "--sort", "f1")]
        assert found == sorted(found, key=lambda each: -(each or 0))

    def test_text_has_one_line_per_run(self, trained_runs: Path) -> None:
        answer = runs("ls", trained_runs)
        (line,) = [line for line in answer.out.splitlines() if line.rstrip().endswith(str(trained_runs / "deep/two"))]
        for part in ("ravdess -> emodb", "arousal", "source-only", "done 3"):
            assert part in line
        assert "interrupted 2/3" in answer.out

    def test_narrow_terminal_wraps_labels_but_no_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terminal = io.StringIO()
        monkeypatch.setattr(common, "out", Console(file=terminal, force_terminal=True, width=60, soft_wrap=True))
        run, label = "runs/" + 60 * "x", "dann + scl (threshold=none, steps=30, batch_size=32)"
        print_table([Column("method", [Text(label)], folds=True), Column("run", [Text(run)], intact=True)])
        assert run in terminal.getvalue()
        assert label not in terminal.getvalue()
        assert "batch_size=32)" in terminal.getvalue()

    def test_filters_select_runs(self, trained_runs: Path) -> None:
        for options, names in (
            (["--task", "valence"], ["other"]),
            (["--method", "emo-dna"], ["stopped"]),
            (["--src", "emodb"], ["other"]),
            (["--tgt", "emodb", "--method", "source-only"], ["one", "two"]),
            (["--tgt", "calls"], []),
        ):
            assert [Path(row["run"]).name for row in read_json("ls", trained_runs, *options)] == names

    def test_default_folder_is_runs(self, trained_runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        assert runs("ls") == CommandResult(0, "no matching runs below runs\n", "")
        (tmp_path / "runs").symlink_to(trained_runs)
        assert len(read_json("ls")) == 4

    def test_damaged_runs_are_named_among_the_rest(self, copy: Path) -> None:
        (copy / "one" / "config.json").write_text("{[red]\x1b[2J")
        for answer in (runs("ls", copy), runs("show", copy / "one")):
            assert answer.code == 0
            assert f"{copy / 'one' / 'config.json'}: damaged" in answer.out
            assert "\x1b[2J" not in answer.out
        assert runs("ls", copy).out.count("done 3") == 2

    def test_a_damaged_definition_of_the_task_is_named(self, copy: Path) -> None:
        config = json.loads((copy / "one" / "config.json").read_text())
        config["decisive"]["task_definition"] = {"name": "mine", "column": "emotion", "classes": {"one": ["anger"]}}
        (copy / "one" / "config.json").write_text(json.dumps(config))
        for answer in (runs("ls", copy), runs("show", copy / "one"), runs("compare", copy / "one", copy / "stopped")):
            assert answer.code == 0, answer.err
            assert "damaged: not the task of a run" in answer.out

    def test_names_from_outside_are_escaped(self, copy: Path) -> None:
        config = json.loads((copy / "one" / "config.json").read_text())
        config["decisive"] |= {"src": "[red]x\x1b[2J", "method": "[/]\r\n"}
        (copy / "one" / "config.json").write_text(json.dumps(config))
        for answer in (runs("ls", copy), runs("show", copy / "one"), runs("compare", copy / "one", copy / "stopped")):
            assert answer.code == 0, answer.err
            assert "\x1b[2J" not in answer.out
            assert "[red]x\\x1b[2J" in answer.out


class TestShow:
    def test_json_has_exactly_the_documented_keys(self, trained_runs: Path) -> None:
        document = read_json("show", trained_runs / "one")
        keys = ["constant", "not_default", "config", "data", "curves", "files"]
        assert list(document) == [*LS_KEYS, *SCORE_KEYS, "best_constant", "changed", "bytes", *keys]
        assert document["not_default"]["train.frames"] == {"value": 32, "default": 188}
        assert document["config"] == json.loads((trained_runs / "one" / "config.json").read_text())
        assert [each["state"] for each in document["data"]] == ["same", "same"]
        assert document["curves"]["total"]["step"] == [1, 2, 3]
        assert {file["name"] for file in document["files"]} == {file.name for file in (trained_runs / "one").iterdir()}

    def test_text_begins_with_changed_settings(self, trained_runs: Path) -> None:
        answer = runs("show", trained_runs / "one")
        lines = answer.out.splitlines()
        places = [next(n for n, line in enumerate(lines) if part in line) for part in ("set: frames", "by default")]
        assert places == sorted(places)
        assert "32 (default 188)" in lines[places[0]]
        assert any("set: steps" in line and "3 (default 1000)" in line for line in lines)
        for part in ("unchanged since the run", "torch ", "always high", "steps 1 to 3", "model.safetensors"):
            assert part in answer.out

    def test_run_without_log_and_stores_is_shown(self, copy: Path) -> None:
        config = json.loads((copy / "one" / "config.json").read_text())
        config["stores"] = {"ravdess": str(copy / "gone"), "emodb": None}
        (copy / "one" / "config.json").write_text(json.dumps(config))
        (copy / "one" / "metrics.jsonl").write_text("\x00{")
        answer = runs("show", copy / "one")
        assert (answer.code, answer.err) == (0, "")
        for part in ("metrics.jsonl has no line", "not found", "not in the configuration", "always high"):
            assert part in answer.out

    def test_missing_run_is_one_line(self, tmp_path: Path) -> None:
        assert_one_line_error(runs("show", tmp_path), "not a run folder", f"emodna-runs ls {tmp_path.parent}")
        assert_one_line_error(runs("ls", tmp_path / "nowhere"), "nowhere: folder not found")


class TestEmotions:
    def test_classes_are_shown_and_f1_only_of_two_classes(self, emotion_runs: list[Path], trained_runs: Path) -> None:
        answer = runs("ls", *emotion_runs, "--task", "emotion")
        assert all(f"emotion ({count} classes)" in answer.out for count in (4, 3))
        assert " F1 " not in answer.out
        assert " F1 " in runs("ls", *emotion_runs, trained_runs).out
        rows = read_json("ls", *emotion_runs)
        assert [row["classes"] for row in rows][1] == ["anger", "neutral", "sadness"]
        assert [row["f1"] for row in rows] == [row["best_constant"]["f1"] for row in rows] == [None, None]
        shown = runs("show", emotion_runs[0]).out
        assert "anger, happiness, neutral, sadness" in shown
        assert "always happiness" in shown

    def test_runs_of_other_classes_are_no_pair(
        self, emotion_runs: list[Path], emodb_store: Path, tmp_path: Path
    ) -> None:
        twin = shutil.copytree(emotion_runs[0], tmp_path / "twin")
        document = read_json("compare", *emotion_runs, twin)
        assert [pair["problem"] for pair in document["pairs"]] == ["different classes", None, "different classes"]
        assert document["pairs"][1]["p"] == 1
        truth = FeatureStore(emodb_store).labels(make_emotion_task(["emobox4"]))
        assert document["pairs"][1]["labelled"] == (truth >= 0).sum() < len(truth)
        assert document["differs"]["task_definition.classes.happiness"] == [["happiness"], None, ["happiness"]]
        assert document["seeds"] == []


class TestCompare:
    def test_json_has_exactly_the_documented_keys(self, trained_runs: Path) -> None:
        names = ["one", "deep/two", "stopped"]
        document = read_json("compare", *(trained_runs / name for name in names))
        assert list(document) == ["runs", "differs", "seeds", "pairs"]
        assert [row["run"] for row in document["runs"]] == [str(trained_runs / name) for name in names]
        assert document["differs"]["seed"] == [0, 1, 0]
        (seeds,) = document["seeds"]
        assert seeds["runs"] == [str(trained_runs / name) for name in names[:2]]
        assert list(seeds["mean"]) == list(seeds["std"]) == SCORE_KEYS
        assert [list(pair) for pair in document["pairs"]] == 3 * [
            ["a", "b", "utterances", "agreement", "labelled", "only_a", "only_b", "p", "problem"]
        ]
        assert 0 <= document["pairs"][0]["p"] <= 1
        assert document["pairs"][0]["problem"] is None
        assert document["pairs"][1]["utterances"] is None
        assert "stopped: not finished" in document["pairs"][1]["problem"]

    def test_text_shows_scores_differences_seeds_and_pairs(self, trained_runs: Path) -> None:
        answer = runs("compare", trained_runs / "one", trained_runs / "deep" / "two", trained_runs / "other")
        assert answer.code == 0
        for part in (f"A  {trained_runs / 'one'}", "best constants", "differs", "over seeds", "\u00b1", "McNemar p"):
            assert part in answer.out
        assert "A C  different tasks" in answer.out

    def test_equal_runs_have_the_same_configuration(self, trained_runs: Path, copy: Path) -> None:
        assert "the same configuration" in runs("compare", trained_runs / "one", copy / "one").out

    def test_one_run_is_a_usage_error(self, trained_runs: Path) -> None:
        answer = runs("compare", trained_runs / "one")
        assert (answer.code, "at least two runs" in answer.err) == (2, True)
        assert runs("compare", trained_runs / "one", trained_runs / "one").code == 2
