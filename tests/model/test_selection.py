"""Selection of a model snapshot without target labels, and the oracle analysis."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model import checkpoint
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows
from emodna.model.data.validation import split
from emodna.model.errors import ConfigError
from emodna.model.evaluation import selection
from emodna.model.evaluation.criteria import CRITERIA, LAST
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.evaluation.selection import find_best_step, select
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import SCORES, scores
from emodna.model.request import FitRequest, resolve_request
from emodna.model.training.snapshots import Snapshots
from emodna.pipeline.tasks import AROUSAL
from tests.model.small import (
    SETTINGS,
    InterruptAt,
    Interruption,
    Stores,
    assert_same_tensors,
    fit_small,
    make_manifest_store,
    read_emotions,
)

STEPS = 9
#: Settings of a training that is fast enough for different snapshots.
FAST = {"learning_rate": "0.01", "snapshot_every": "2"}
VALIDATED = {**FAST, "validation": "0.25"}


def fit(pair: Stores, run: Path, **request: Any) -> dict[str, Any]:
    return fit_small(*pair, run, **{"method": "source-only", "steps": STEPS, "settings": FAST, **request})


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def read_outputs(run: Path) -> tuple[bytes, bytes, dict[str, bytes], list[float]]:
    probabilities = pq.read_table(run / "predictions.parquet")["probability"].to_pylist()
    snapshots = {path.name: path.read_bytes() for path in (run / "snapshots").iterdir()}
    files = ((run / name).read_bytes() for name in ("model.safetensors", "selection.json"))
    return (*files, snapshots, probabilities)


@pytest.fixture(scope="module")
def selected_run(pair: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("validated") / "run"
    fit(pair, run, select="snd", settings=VALIDATED)
    return run


@pytest.fixture(scope="module")
def analysed_run(pair: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("analysed") / "run"
    fit(pair, run, select="snd", settings=VALIDATED, oracle_analysis=True)
    return run


class TestLast:
    def test_last_is_the_default_and_equals_a_run_without_snapshots(
        self, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(selection, "predict_store")  # the criteria are not computed
        run, plain = tmp_path / "run", tmp_path / "plain"
        fit(pair, plain, settings={"learning_rate": "0.01"})
        result = fit(pair, run, oracle_analysis=True)
        assert (result["select"], result["selected_step"]) == (LAST, STEPS)
        assert (run / "snapshots").exists()
        assert not (run / "selection.json").exists()
        assert {path.name for path in plain.iterdir()}.isdisjoint({"snapshots", "oracle.json"})
        for name in ("model.safetensors", "metrics.jsonl"):
            assert (run / name).read_bytes() == (plain / name).read_bytes()

    def test_last_snapshot_equals_the_checkpoint(self, selected_run: Path) -> None:
        last, _ = checkpoint.load_tensors(selected_run / "snapshots" / f"step-{STEPS:06d}.safetensors")
        resumed, _ = checkpoint.load_tensors(selected_run / "resume.safetensors")
        assert_same_tensors(last, checkpoint.strip_prefix("method", resumed))


class TestSelection:
    def test_selected_snapshot_becomes_the_model(self, selected_run: Path, pair: Stores) -> None:
        report, result = read(selected_run / "selection.json"), read(selected_run / "result.json")
        assert result["select"] == report["select"] == "snd"
        step = result["selected_step"]
        assert step == report["selected_step"]
        assert list(report["criteria"]) == list(CRITERIA)
        state, _ = checkpoint.load_tensors(selected_run / "snapshots" / f"step-{step:06d}.safetensors")
        saved, _ = checkpoint.load_tensors(selected_run / "model.safetensors")
        assert_same_tensors(checkpoint.strip_prefix("method", saved), state)
        # Predictions and scores are of the selected model.
        written = pq.read_table(selected_run / "predictions.parquet")
        model = TrainedModel.load(selected_run / "model.safetensors", torch.device("cpu"))
        assert predict_store(model, pair[1])[:, 1].tolist() == written["probability"].to_pylist()
        evaluated = evaluate(np.array(written["label"].to_pylist()), pair[1], AROUSAL)
        assert {key: result[key] for key in evaluated} == evaluated

    def test_each_criterion_selects_its_best_snapshot(self, selected_run: Path, pair: Stores) -> None:
        model = TrainedModel.load(selected_run / "model.safetensors", torch.device("cpu"))
        snapshots, steps = Snapshots(selected_run / "snapshots", 2, STEPS), set()
        sources = [(split(pair[0], AROUSAL, 0.25, 0), CorpusWindows(pair[0], model.framer, []))]
        for name, criterion in CRITERIA.items():
            chosen = select(name, model, snapshots, pair[1], sources, 0)
            step, table = chosen["selected_step"], chosen["snapshots"]
            assert table == read(selected_run / "selection.json")["snapshots"]
            assert [row["step"] for row in table] == [2, 4, 6, 8, 9]
            best = (max if criterion.higher_is_better else min)(row[name] for row in table)
            assert step == [row["step"] for row in table if row[name] == best][-1]
            state, _ = checkpoint.load_tensors(snapshots.path(step))
            assert_same_tensors(model.method.state_dict(), state)
            steps.add(step)
        assert len(steps) > 1  # otherwise the test is weak

    def test_agreement_is_with_the_mean_prediction_of_all_snapshots(
        self, pair: Stores, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        # On the source's own recordings, and after some steps, the predictions differ.
        same = make_manifest_store(roots["ravdess"], read_emotions(pair[0]), tmp_path / "same")
        settings = {**FAST, "snapshot_every": "8"}
        fit((pair[0], same), run, select="pseudo-label-agreement", steps=24, settings=settings)
        model = TrainedModel.load(run / "model.safetensors", torch.device("cpu"))
        snapshots = Snapshots(run / "snapshots", 8, 24)
        found = {}
        for step in snapshots.steps:
            snapshots.restore(model.method, step)
            found[step] = predict_store(model, same)[:, 1]
        mean = np.array(list(found.values())).mean(axis=0)
        rows = read(run / "selection.json")["snapshots"]
        expected = [100 * np.mean((found[row["step"]] >= 0.5) == (mean >= 0.5)) for row in rows]
        assert [row["pseudo-label-agreement"] for row in rows] == pytest.approx(expected)
        assert [row["class_1_share"] for row in rows] == [np.mean(each >= 0.5) for each in found.values()]
        assert len(set(expected)) > 1  # otherwise the test is weak

    def test_last_of_equal_snapshots_is_selected(self) -> None:
        table = [{"step": step, "x": value} for step, value in ((1, 3.0), (2, 5.0), (3, 5.0), (4, 3.0))]
        assert find_best_step(table, "x", higher_is_better=True) == 3
        assert find_best_step(table, "x", higher_is_better=False) == 4

    def test_selection_defaults_to_twenty_snapshots_and_a_tenth_held_out(self, pair: Stores) -> None:
        fields = {"method": "source-only", "select": "source-accuracy", "steps": 40, "settings": SETTINGS}
        config = resolve_request(FitRequest([pair[0]], pair[1], **fields)).config
        train = config["decisive"]["train"]
        assert (train["snapshot_every"], train["validation"]) == (2, 0.1)
        assert config["held_out"]["ravdess"]["utterances"] == pytest.approx(3.2, abs=1)


@pytest.mark.parametrize("name", ["pseudo-label-agreement", pytest.param("source-accuracy", marks=pytest.mark.slow)])
def test_target_labels_do_not_change_the_selection(
    name: str, pair: Stores, roots: dict[str, Path], tmp_path: Path
) -> None:
    source, target = pair
    emotions, labels, found = read_emotions(target), {}, {}
    values = list(emotions.values())
    permuted = random.Random(0).sample(values, len(values))
    for how, each in (("right", values), ("permuted", permuted), ("absent", [""] * len(values))):
        store = make_manifest_store(roots["emodb"], dict(zip(emotions, each, strict=True)), tmp_path / how)
        run = tmp_path / how / "run"
        fit((source, store), run, select=name, settings=VALIDATED, steps=4, oracle_analysis=how == "right")
        found[how], labels[how] = read_outputs(run), store.labels("arousal").tolist()
    assert found["right"] == found["permuted"] == found["absent"]
    assert labels["right"] != labels["permuted"] != labels["absent"]


class TestOracle:
    def test_oracle_scores_every_snapshot(self, analysed_run: Path) -> None:
        content = read(analysed_run / "oracle.json")
        assert list(content) == ["oracle"]
        oracle = content["oracle"]
        assert "never" in oracle["note"]
        table = oracle["snapshots"]
        assert [row["step"] for row in table] == [2, 4, 6, 8, 9]
        result = read(analysed_run / "result.json")
        chosen = next(row for row in table if row["step"] == result["selected_step"])
        assert {key: chosen[key] for key in SCORES} == {key: result[key] for key in SCORES}
        assert oracle["last"] == table[-1]
        assert oracle["best"]["uar"] == max(row["uar"] for row in table)
        assert oracle["best"]["step"] == oracle["best_step"]
        assert oracle["constant"] == result["constant"]

    def test_oracle_changes_no_other_file(self, analysed_run: Path, selected_run: Path) -> None:
        assert read_outputs(analysed_run) == read_outputs(selected_run)
        results = [read(run / "result.json") for run in (analysed_run, selected_run)]
        for result in results:
            for key in ("wall_seconds", "steps_per_second", "blocked_seconds", "run"):
                del result[key]
        assert results[0] == results[1]
        files = [{each.name for each in run.glob("[!e]*")} for run in (analysed_run, selected_run)]  # no events
        assert files[0] - files[1] == {"oracle.json"}

    def test_resuming_a_finished_run_can_add_the_oracle(
        self, analysed_run: Path, selected_run: Path, pair: Stores, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(selected_run, tmp_path / "run"))
        fit(pair, run, select="snd", settings=VALIDATED, resume=True, oracle_analysis=True)
        assert read(run / "oracle.json") == read(analysed_run / "oracle.json")

    def test_oracle_of_a_target_without_labels_is_empty(
        self, pair: Stores, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        store = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(pair[1]), ""), tmp_path)
        fit((pair[0], store), tmp_path / "run", steps=2, oracle_analysis=True)
        oracle = read(tmp_path / "run" / "oracle.json")["oracle"]
        assert (oracle["labelled"], oracle["best_step"], oracle["best"]) == (0, None, None)


class TestResume:
    def test_resume_keeps_the_snapshots(self, selected_run: Path, pair: Stores, tmp_path: Path) -> None:
        request: dict[str, Any] = {
            "select": "snd",
            "settings": {**VALIDATED, "checkpoint_seconds": "0"},
            "resume": True,
        }
        for stop in (1, 5, 9):
            with pytest.raises(Interruption):
                fit(pair, tmp_path / "run", callback=InterruptAt(stop), **request)
        fit(pair, tmp_path / "run", **request)
        assert read_outputs(tmp_path / "run") == read_outputs(selected_run)

    def test_resume_after_training_repeats_the_selection(
        self, selected_run: Path, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("emodna.model.fit.select", mock.Mock(side_effect=Interruption))
            with pytest.raises(Interruption):
                fit(pair, tmp_path / "run", select="snd", settings=VALIDATED)
        fit(pair, tmp_path / "run", select="snd", settings=VALIDATED, resume=True)
        assert read_outputs(tmp_path / "run") == read_outputs(selected_run)


class TestValidation:
    def test_held_out_utterances_are_used_neither_in_batches_nor_in_statistics(
        self, selected_run: Path, pair: Stores
    ) -> None:
        source = pair[0]
        rows = split(source, AROUSAL, 0.25, 0).held_out
        statistics = Statistics.of_corpora([(source, np.setdiff1d(np.arange(len(source)), rows))])
        model = TrainedModel.load(selected_run / "model.safetensors", torch.device("cpu"))
        assert np.array_equal(model.framer.statistics.mean, statistics.mean)
        assert np.array_equal(model.framer.statistics.std, statistics.std)
        assert read(selected_run / "config.json")["held_out"] == {
            "ravdess": {"utterances": len(rows), "by": "utterance"}
        }

    def test_source_accuracy_uses_the_normalisation_of_training(
        self, pair: Stores, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The second source has no speakers.
        third = make_manifest_store(
            roots["emodb"], dict(list(read_emotions(pair[1]).items())[:12]), tmp_path, name="third"
        )
        stores, run = [pair[0], third], tmp_path / "run"
        settings = {**FAST, "snapshot_every": "20", "validation": "0.5", "normalisation": "per-corpus"}
        request: dict[str, Any] = {"method": "source-only", "steps": 20, "select": "source-accuracy"}
        spy = mock.Mock(wraps=select)
        monkeypatch.setattr("emodna.model.fit.select", spy)
        fit_small(stores, pair[1], run, settings=settings, **request)
        model = TrainedModel.load(run / "model.safetensors", torch.device("cpu"))
        found = []
        for store, (_, windows) in zip(stores, spy.call_args.args[4], strict=True):
            framer = windows.framer
            part = split(store, AROUSAL, 0.5, 0)
            own = Statistics.of_corpora([(store, np.flatnonzero(part.labels >= 0))])
            np.testing.assert_array_equal(framer.statistics.mean, own.mean)
            assert not np.allclose(model.framer.statistics.mean, own.mean)  # those of the target
            given = [(store[row], float(store.peak_db[row])) for row in part.held_out.tolist()]
            predicted = replace(model, framer=framer).probabilities(given)[:, 1] >= 0.5
            found.append(scores(part.truth, predicted.astype(np.int64), 2).uar)
        (row,) = read(run / "selection.json")["snapshots"]
        assert row["source-accuracy"] == pytest.approx(np.mean(found))


@pytest.mark.parametrize(
    ("request_fields", "field", "value"),
    [
        ({"select": "magic"}, "select", "magic"),
        ({"select": "snd", "settings": {"snapshot_every": "0"}}, "snapshot_every", 0),
        ({"oracle_analysis": True, "settings": {"snapshot_every": "0"}}, "snapshot_every", 0),
        ({"select": "source-accuracy", "settings": {"validation": "0"}}, "validation", 0),
        ({"settings": {"validation": "1"}}, "validation", "1"),
        ({"settings": {"snapshot_every": "-1"}}, "snapshot_every", "-1"),
    ],
)
def test_errors_are_raised_before_anything_is_written(
    request_fields: dict[str, Any], field: str, value: object, pair: Stores, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(pair, tmp_path / "run", **request_fields)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert not (tmp_path / "run").exists()
