"""Tests of the results table: states, constant predictors, the paper's scores, and the upper bound."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import (
    CLASS_1_SHARE,
    CONSTANTS,
    SCHEMA,
    RunResult,
    Scores,
    collect_results,
    read_run_result,
    select_scores,
)
from emodna.model.metrics import SCORE_NAMES
from tests.model.bench.builders import fail_run, finish_runs, write_experiment


def select_rows(table: pa.Table, **values: object) -> list[dict[str, object]]:
    return [row for row in table.to_pylist() if values.items() <= row.items()]


def test_results_have_one_row_per_run_and_metric(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["dann", "addi:channels=8"], corpora=("emodb", "ravdess"), seeds=2)
    waiting, failed, *_ = experiment.runs
    finish_runs(experiment, lambda run: 60.0 + run.seed, [waiting, failed])
    fail_run(experiment, failed, "no memory")
    found = collect_results(experiment)
    assert found.schema == SCHEMA
    assert found.num_rows == len(experiment.runs) * len(SCORE_NAMES)
    (row,) = select_rows(found, src="emodb", tgt="ravdess", task="valence", method="dann", seed=1, metric="war")
    assert (row["value"], row["state"], row["label"], row["our_reading"]) == (61.0, "done", "dann", False)
    constants = [100 * 672 / 1440, 100 * 768 / 1440, 100 * 768 / 1440]  # of 768 negative and 672 positive utterances
    assert [row[name] for name in CONSTANTS[:3]] == pytest.approx(constants)
    assert (row["paper"], row["paper_std"]) == (52.5, 4.6)
    (row,) = select_rows(found, src="emodb", task="valence", spec="addi:channels=8", seed=1, metric="war")
    assert (row["method"], row["our_reading"], row["paper"]) == ("addi", True, None)
    first, second, third, *_ = select_rows(found, metric="uar")
    assert (first["state"], first["value"], first["error"]) == ("waiting", None, None)
    assert (second["state"], second["value"], second["error"]) == ("failed", None, "no memory")
    assert third["state"] == "done"
    share_rows = select_rows(
        collect_results(experiment, tasks=["arousal"], with_class_1_share=True), metric=CLASS_1_SHARE
    )
    assert len(share_rows) == len(experiment.runs) // 2
    assert {row["value"] for row in share_rows} == {None}  # without predictions


def test_upper_bound_has_scores_for_all_sources(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["dann", "upper-bound"], corpora=("casia", "emodb", "savee"), seeds=1)
    finish_runs(experiment, lambda run: None if run.tgt == "savee" else 50.0)
    found = Scores.from_table(select_scores(collect_results(experiment, tasks=["arousal"])), "uar")
    assert (found.methods, found.seeds) == ((MethodSpec("dann"), MethodSpec("upper-bound")), (0,))
    pairs = [("casia", "emodb"), ("emodb", "casia"), ("savee", "casia"), ("savee", "emodb")]
    assert [scenario[1:] for scenario in found.scenarios] == pairs
    assert found.values.tolist() == [[[52.0]] * 4] * 2
    unfinished = collect_results(write_experiment(tmp_path / "none", ["dann"]))
    assert Scores.from_table(select_scores(unfinished)).values.shape == (0, 0, 0)


def test_upper_bound_of_a_pair_is_not_repeated_for_others(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["upper-bound"], corpora=["emodb", "ravdess", "savee"], tasks=["arousal"])
    (first, *_) = (run for run in experiment.runs if run.tgt == "emodb")
    other = replace(first, src=next(name for name in ("ravdess", "savee") if name != first.src))
    experiment = replace(experiment, runs=(first, other))
    finish_runs(experiment, lambda _: 60.0, [other])
    scores = select_scores(collect_results(experiment))
    assert {row["src"] for row in scores.to_pylist()} == {first.src}


def test_run_without_a_score_counts_as_failed(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["dan"], corpora=("casia", "emodb"), seeds=1)
    finish_runs(experiment, lambda run: None if run.src == "casia" else 50.0)
    assert {read_run_result(experiment, run).state for run in experiment.runs} == {"done"}
    damaged = experiment.run_folder(experiment.runs[0]).result
    damaged.write_text(json.dumps({"uar": 50.0, "war": 50.0, "f1": 50.0}))
    found = read_run_result(experiment, experiment.runs[0])
    assert (found.state, found.error) == ("failed", f"{damaged}: damaged: macro_f1 is missing")


@pytest.mark.parametrize(("wall", "seconds"), [(None, None), ("5", None), (math.nan, None), (5, 5.0)])
def test_seconds_are_none_unless_finite(tmp_path: Path, wall: object, seconds: float | None) -> None:
    (run, *_) = write_experiment(tmp_path, ["dan"]).runs
    assert RunResult(run, "done", {"wall_seconds": wall}).seconds == seconds
