"""End-to-end test: a task of the user's own, from tables without emotions to predictions, evaluation and ONNX."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from emodna.cli import eval as evaluation
from emodna.cli import export, fit, predict, prep
from emodna.cli.cache import command as cache_command
from tests.cli.running import Command, make_runner
from tests.model.small import SETTINGS

TASK = """
name = "satisfaction"
column = "satisfied"

[classes]
unsatisfied = false
undecided = ["maybe", 0.5]
satisfied = true
"""
#: Values of the column: of each class in a spelling of tables, of none, and a missing one.
VALUES = ("False", "maybe", "TRUE", "false ", "0.50", "true", "refused", "")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Command]:
    modules = {
        "prep": prep,
        "fit": fit,
        "predict": predict,
        "eval": evaluation,
        "export": export,
        "cache": cache_command,
    }
    return {name: make_runner(f"emodna-{name}", each.main, monkeypatch, capsys) for name, each in modules.items()}


def write_table(root: Path, table: Path, shift: int) -> list[str]:
    """Write a table of the recordings below a root, and return the values of its column."""
    paths = sorted(root.rglob("*.wav"))
    values = [VALUES[(number + shift) % len(VALUES)] for number in range(len(paths))]
    with table.open("w", newline="") as file:
        rows = zip([path.relative_to(root) for path in paths], values, strict=True)
        csv.writer(file).writerows([["path", "start", "satisfied"], *((path, 0.02, value) for path, value in rows)])
    return values


def test_from_tables_without_emotions_to_onnx(
    commands: dict[str, Command], ravdess_root: Path, emodb_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("satisfaction.toml").write_text(TASK)
    source = write_table(ravdess_root, Path("old.csv"), 0)
    target = write_table(emodb_root, Path("new.csv"), 3)
    shutil.make_archive("old", "zip", ravdess_root)
    for name, root in (("old", "old.zip"), ("new", emodb_root)):
        ran = commands["prep"]("--manifest", f"{name}.csv", "--root", root, "--workers", 1)
        assert (ran.code, "no column emotion" in ran.err) == (0, True)
    shown = commands["cache"]("show", "new", "--json").json
    assert shown["own_values"] == {"satisfied": dict(sorted(Counter(target).items()))}

    settings = [option for key, value in SETTINGS.items() for option in ("--set", f"{key}={value}")]
    options = ["--src", "old", "--tgt", "new", "--task-file", "satisfaction.toml", "--steps", 2, *settings]
    fitted = commands["fit"](*options, "--method", "dan", "--out", "run")
    assert fitted.code == 0
    none = {name: sum(value in ("refused", "") for value in each) for name, each in (("old", source), ("new", target))}
    for line in (
        "classes: unsatisfied, undecided, satisfied",
        f"{none['old']} of {len(source)} utterances of old not trained on: 2 refused, 2 unknown",
        f"{none['new']} of {len(target)} utterances of new not scored: ",
    ):
        assert line in fitted.out
    config, result = (json.loads((tmp_path / "run" / name).read_text()) for name in ("config.json", "result.json"))
    assert config["left_out"] == {"old": none["old"]}
    assert (result["task"], result["classes"]) == ("satisfaction", ["unsatisfied", "undecided", "satisfied"])
    assert (result["utterances"], result["scored"]) == (len(target), len(target) - none["new"])
    assert result["task_definition"]["classes"]["undecided"] == ["maybe", "0.5"]

    predicted = commands["predict"]("run", "--manifest", "new.csv", "--root", emodb_root, "--threads", 1, "--json").json
    assert len(predicted) == len(target)
    (evaluated,) = commands["eval"]("run", "--corpus", "new", "--json").json
    assert np.array(evaluated["confusion"]).sum() == result["scored"]
    assert evaluated["uar"] == pytest.approx(result["uar"])
    assert commands["export"]("run", "--out", "model.onnx").code == 0
    metadata = {each.key: each.value for each in onnx.load("model.onnx").metadata_props}
    assert json.loads(metadata["class_names"]) == result["classes"]

    # Other values of the column are another run; its folder is refused.
    write_table(ravdess_root, Path("old.csv"), 1)
    assert commands["prep"]("--manifest", "old.csv", "--root", "old.zip", "--workers", 1).code == 0
    assert "labels" in commands["fit"](*options, "--method", "dan", "--out", "run", "--resume").error()
