"""End-to-end test: a task of the user's own, from tables without emotions to predictions, evaluation and ONNX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from emodna.cli import eval as evaluation
from emodna.cli import export, fit, predict, prep
from emodna.cli.cache import command as cache_command
from emodna.cli.runs import command as runs_command
from tests.cli.running import Command, make_runner
from tests.model.small import SETTINGS

TASK = """
name = "satisfaction"
column = "satisfied"

[classes]
unsatisfied = [false, 0]
undecided = ["maybe", 0.5]
satisfied = [true, 1]
"""
#: Values of the column of the source and of the target: of each class, of none, and a missing one.
TEXTS = ("False", "maybe", "TRUE", "0", " false ", "1.0", "refused", "")
NUMBERS = (1.0, 0.0, 0.5, 2.0, None)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Command]:
    modules = {
        "prep": prep,
        "fit": fit,
        "predict": predict,
        "eval": evaluation,
        "export": export,
        "cache": cache_command,
        "runs": runs_command,
    }
    return {name: make_runner(f"emodna-{name}", each.main, monkeypatch, capsys) for name, each in modules.items()}


def write_table(root: Path, table: Path, values: Sequence[str | float | None]) -> list[str | float | None]:
    """Write a table of the recordings below a root with the values in turn, and return its column."""
    paths = [str(path.relative_to(root)) for path in sorted(root.rglob("*.wav"))]
    column = [values[number % len(values)] for number in range(len(paths))]
    content = pa.table({"path": paths, "start": [0.02] * len(paths), "satisfied": column})
    (pacsv.write_csv if table.suffix == ".csv" else pq.write_table)(content, table)
    return column


@pytest.mark.parametrize("exports", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_tables_without_emotions_to_onnx(
    exports: bool,
    commands: dict[str, Command],
    ravdess_root: Path,
    emodb_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("satisfaction.toml").write_text(TASK)
    source = write_table(ravdess_root, Path("old.csv"), TEXTS)
    target = write_table(emodb_root, Path("new.parquet"), NUMBERS)
    shutil.make_archive("old", "zip", ravdess_root)
    for table, root in (("old.csv", "old.zip"), ("new.parquet", emodb_root)):
        ran = commands["prep"]("--manifest", table, "--root", root, "--workers", 1)
        assert (ran.code, "no column emotion" in ran.err) == (0, True)
    shown = commands["cache"]("show", "new", "--json").json
    assert shown["own_values"] == {"satisfied": {"0.0": 4, "0.5": 4, "1.0": 4, "2.0": 4, "unlabelled": 4}}

    settings = [option for key, value in SETTINGS.items() for option in ("--set", f"{key}={value}")]
    options = ["--src", "old", "--tgt", "new", "--task-file", "satisfaction.toml", "--steps", 2, *settings]
    fitted = commands["fit"](*options, "--method", "source-only", "--out", "run")
    assert fitted.code == 0
    for line in (
        "classes: unsatisfied, undecided, satisfied",
        "4 of 16 utterances of old not trained on: refused (2), unknown (2)",
        "8 of 20 utterances of new not scored: 2.0 (4), unknown (4)",
    ):
        assert line in fitted.out.splitlines()
    config, result = (json.loads((tmp_path / "run" / name).read_text()) for name in ("config.json", "result.json"))
    assert (len(source), config["left_out"]) == (16, {"old": 4})
    assert (result["task"], result["classes"]) == ("satisfaction", ["unsatisfied", "undecided", "satisfied"])
    assert (result["utterances"], result["scored"]) == (len(target), 12)
    assert result["task_definition"]["classes"]["undecided"] == ["maybe", "0.5"]

    predicted = commands["predict"](
        "run", "--manifest", "new.parquet", "--root", emodb_root, "--threads", 1, "--json"
    ).json
    assert len(predicted) == len(target)
    (evaluated,) = commands["eval"]("run", "--corpus", "new", "--resamples", 100, "--json").json
    assert np.array(evaluated["confusion"]).sum() == result["scored"]
    assert evaluated["uar"] == pytest.approx(result["uar"])
    if exports:
        assert commands["export"]("run", "--to", "onnx", "--out", "model.onnx").code == 0
        metadata = {each.key: each.value for each in onnx.load("model.onnx").metadata_props}
        assert json.loads(metadata["class_names"]) == result["classes"]

    # Other values of the column are another run; its folder is refused.
    write_table(ravdess_root, Path("old.csv"), TEXTS[1:])
    assert commands["prep"]("--manifest", "old.csv", "--root", "old.zip", "--workers", 1).code == 0
    assert "labels" in commands["fit"](*options, "--method", "source-only", "--out", "run", "--resume").error()

    # Other values of the target's column are not those of the run's scores.
    shutil.copytree("run", "twin")
    compare = ("compare", "run", "twin", "--json")
    assert commands["runs"](*compare).json["pairs"][0]["labelled"] == result["scored"]
    write_table(emodb_root, Path("new.parquet"), NUMBERS[::-1])
    assert commands["prep"]("--manifest", "new.parquet", "--root", emodb_root, "--workers", 1).code == 0
    assert commands["runs"](*compare).json["pairs"][0]["labelled"] is None
    assert [each["state"] for each in commands["runs"]("show", "run", "--json").json["data"]] == ["changed", "changed"]
