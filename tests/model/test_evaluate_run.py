"""Evaluation of a finished run on corpora of its training and on others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model.errors import EvaluationError
from emodna.model.evaluation.evaluate import evaluate_run, separate_roles
from emodna.model.evaluation.intervals import Resampling
from emodna.model.inference import predictions
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store
from emodna.model.metrics import SCORES
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from tests.model.small import expect_run_error, fit_small, make_manifest_store, prepare_store, read_emotions

FEW = Resampling(resamples=100)


def load_run(run: Path) -> FinishedRun:
    return FinishedRun.load(run, torch.device("cpu"))


@pytest.fixture(scope="module")
def other(target: FeatureStore, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return a corpus of half of the target's recordings, each with its own speaker."""
    emotions = dict(list(read_emotions(target).items())[::2])
    speakers = {path: path for path in emotions}
    return make_manifest_store(roots["emodb"], emotions, tmp_path_factory.mktemp("own"), speaker=speakers)


@pytest.fixture(scope="module")
def calls_run(
    source: FeatureStore, other: FeatureStore, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a run that was adapted to the recordings of `other` as a folder without labels."""
    folder = tmp_path_factory.mktemp("calls")
    calls = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(other), ""), folder, name="calls")
    fit_small(source, calls, folder / "run", steps=1, method="source-only")
    return folder / "run"


def count_seen(run: Path, store: FeatureStore) -> tuple[int, int]:
    seen = load_run(run).find_seen(store)
    return int(seen["source"].sum()), int(seen["target"].sum())


def forget_audio(run: Path, copy: Path) -> Path:
    """Copy a run without the list of its recordings, as an earlier version leaves it."""
    shutil.copytree(run, copy)
    (copy / "audio.parquet").unlink()
    return copy


class TestSeenAudio:
    def test_recordings_of_the_target_are_seen_under_another_name_and_with_labels(
        self, calls_run: Path, other: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        found, _ = evaluate_run(load_run(calls_run), other, FEW)
        assert (found["corpus"], found["seen"]) == ("own", "target")
        assert (found["audio"]["seen"]["target"], found["audio"]["unseen"]["utterances"]) == (len(other), 0)
        found, of_both = evaluate_run(load_run(calls_run), target, FEW)
        probabilities = of_both[:, 1]
        seen, others = found["audio"]["seen"], found["audio"]["unseen"]
        assert (found["seen"], seen["source"], seen["target"]) == ("partly", 0, len(other))
        assert (seen["utterances"], others["utterances"]) == (len(other), len(target) - len(other))
        right = (probabilities >= 0.5) == target.labels("arousal")
        is_seen = np.isin(target.column("path"), other.column("path"))
        assert seen["war"] == pytest.approx(100 * right[is_seen].mean())
        assert others["war"] == pytest.approx(100 * right[~is_seen].mean())
        rest = {path: emotion for path, emotion in read_emotions(target).items() if path not in other.column("path")}
        found, _ = evaluate_run(load_run(calls_run), make_manifest_store(roots["emodb"], rest, tmp_path), FEW)
        assert (found["seen"], found["audio"]["seen"]["utterances"]) == (None, 0)
        assert found["audio"]["unseen"]["uar"] == found["uar"]

    def test_only_labelled_recordings_of_each_source_count_as_source(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = dict(list(read_emotions(target).items())[:20])
        cleared = {path: "" if place < 5 else emotion for place, (path, emotion) in enumerate(emotions.items())}
        partly = make_manifest_store(roots["emodb"], cleared, tmp_path)
        fit_small([source, partly], target, tmp_path / "run", steps=1, method="source-only")
        for run in (tmp_path / "run", forget_audio(tmp_path / "run", tmp_path / "earlier")):
            assert count_seen(run, source) == (len(source), 0)
            assert count_seen(run, partly) == (15, 20)
            assert count_seen(run, target) == (15, len(target))
            found, _ = evaluate_run(load_run(run), target, FEW)
            seen = found["audio"]["seen"]
            assert (found["seen"], seen["source"], seen["target"]) == ("partly", 15, len(target) - 15)
            assert evaluate_run(load_run(run), partly, FEW)[0]["seen"] == "source"  # by its labelled ones

    def test_audio_of_both_roles_counts_where_its_labels_were_used(self) -> None:
        both = {"source": np.array([True, True, False]), "target": np.array([False, True, True])}
        for supervision, source, target in (("source", 2, 1), ("oracle-labels", 2, 1), ("oracle-folds", 1, 2)):
            found = separate_roles(both, supervision)
            assert {role: each.sum() for role, each in found.items()} == {"source": source, "target": target}

    def test_runs_of_earlier_versions_use_their_stores_then_names_and_content(
        self, trained_run: Path, source: FeatureStore, target: FeatureStore, other: FeatureStore, tmp_path: Path
    ) -> None:
        run = forget_audio(trained_run, tmp_path / "run")
        assert count_seen(run, other) == (0, len(other))
        config = (run / "config.json").read_text().replace(str(target.path), str(tmp_path / "gone"))
        for text in (config, config.replace('"emodb"', '"renamed"')):
            (run / "config.json").write_text(text)
            assert [count_seen(run, store) for store in (source, target, other)] == [
                (len(source), 0),
                (0, len(target)),
                (0, 0),
            ]

    def test_damaged_list_of_recordings_is_an_error(
        self, trained_run: Path, target: FeatureStore, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(trained_run, tmp_path / "run"))
        (run / "audio.parquet").write_bytes(b"PAR1")
        with expect_run_error(run / "audio.parquet"):
            load_run(run).find_seen(target)


class TestEvaluation:
    def test_evaluation_on_the_target_repeats_the_result_of_the_run(
        self, trained_run: Path, target: FeatureStore
    ) -> None:
        result = json.loads((trained_run / "result.json").read_text())
        found, of_both = evaluate_run(load_run(trained_run), target)
        probabilities = of_both[:, 1]
        shared = [*SCORES, "constant", "intervals", "src", "tgt", "task", "method", "seed", "steps", "run"]
        assert {key: found[key] for key in shared} == {key: result[key] for key in shared}
        table = pq.read_table(trained_run / "predictions.parquet")
        assert probabilities.tolist() == table["probability"].to_pylist()
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_evaluation_on_another_corpus_is_complete(self, trained_run: Path, other: FeatureStore) -> None:
        found, of_both = evaluate_run(load_run(trained_run), other, FEW)
        probabilities = of_both[:, 1]
        truth, called = other.labels("arousal"), probabilities >= 0.5
        assert (found["corpus"], found["seen"], found["utterances"]) == ("own", "target", len(other))
        assert found["war"] == pytest.approx(100 * (called == truth).mean())
        (low, wrong_high), (missed, high) = found["confusion"]
        assert (low + wrong_high, missed + high) == ((truth == 0).sum(), (truth == 1).sum())
        assert (low, high) == ((~called & (truth == 0)).sum(), (called & (truth == 1)).sum())
        assert found["calibration"]["brier"] == pytest.approx(np.square(probabilities - truth).mean())
        assert list(found["breakdown"]) == ["emotion", "speaker", "gender", "language"]
        assert len(found["breakdown"]["speaker"]) == len(other)
        for unit in ("utterances", "speakers"):
            assert found["intervals"][unit]["n"] == len(other)
        assert found["wall_seconds"] > 0

    def test_corpus_without_labels_is_only_predicted(
        self, trained_run: Path, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        store = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(target), ""), tmp_path)
        found, of_both = evaluate_run(load_run(trained_run), store, FEW)
        probabilities = of_both[:, 1]
        _, expected = evaluate_run(load_run(trained_run), target, FEW)
        of_path = dict(zip(target.column("path"), expected[:, 1], strict=True))
        assert probabilities == pytest.approx([of_path[path] for path in store.column("path")], abs=1e-6)
        assert [found[key] for key in (*SCORES, "confusion", "calibration", "labelled")] == [None] * 6 + [0]
        assert found["breakdown"] == {"emotion": {}, "speaker": {}, "gender": {}, "language": {}}

    def test_unknown_speakers_have_no_interval(
        self, trained_run: Path, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = read_emotions(target)
        speakers = {path: "" if place < 3 else "x" for place, path in enumerate(emotions)}
        store = make_manifest_store(roots["emodb"], emotions, tmp_path, speaker=speakers)
        found, _ = evaluate_run(load_run(trained_run), store, FEW)
        nothing = {"n": 1, **dict.fromkeys(SCORES), "why": "3 utterances have no speaker"}
        assert found["intervals"]["speakers"] == nothing

    def test_labels_of_one_class_give_no_uar(
        self, trained_run: Path, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        of_path = zip(read_emotions(target).items(), target.labels("arousal"), strict=True)
        high = {path: emotion for (path, emotion), label in of_path if label == 1}
        found, _ = evaluate_run(load_run(trained_run), make_manifest_store(roots["emodb"], high, tmp_path), FEW)
        rows = (found, *found["constant"].values(), found["intervals"]["utterances"])
        assert [(row["uar"], row["war"] is None) for row in rows] == [(None, False)] * 6
        assert "only one class" in found["intervals"]["utterances"]["why"]

    def test_store_is_predicted_in_parts(
        self, trained_run: Path, target: FeatureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, advances = load_run(trained_run).model, []
        expected = model.probabilities((target[row], float(target.peak_db[row])) for row in range(len(target)))
        monkeypatch.setattr(predictions, "_CHUNK_VALUES", 3000)
        assert predict_store(model, target, advances.append).tolist() == expected.tolist()
        assert len(advances) > 5
        assert sum(advances) == len(target)


class TestNormalisation:
    def test_run_normalisation_is_kept(self, trained_run: Path, other: FeatureStore) -> None:
        run = load_run(trained_run)
        for each in ("source", "none", "per-utterance"):
            assert replace(run, description={**run.description, "normalisation": each}).adapt_model(other) is run.model

    def test_per_corpus_normalisation_uses_the_statistics_of_each_corpus(
        self, source: FeatureStore, target: FeatureStore, other: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path, steps=1, method="source-only", settings={"normalisation": "per-corpus"})
        run = load_run(tmp_path)
        assert run.description["normalisation"] == "per-corpus"
        frames = np.concatenate(list(other))
        own, of_target = (run.adapt_model(store).framer.statistics for store in (other, target))
        assert own.mean == pytest.approx(frames.mean(axis=0), abs=1e-3)
        assert own.std == pytest.approx(frames.std(axis=0), rel=1e-3)
        for name in ("mean", "std"):
            assert np.array_equal(getattr(of_target, name), getattr(run.model.framer.statistics, name))


def test_other_features_raise_an_error(trained_run: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    store = prepare_store("emodb", roots["emodb"], tmp_path, make_feature_set("mfcc39"))
    with pytest.raises(EvaluationError, match=r"mfcc39-22050hz-\w+, the model .* mfcc40-22050hz-\w+") as raised:
        evaluate_run(load_run(trained_run), store)
    assert raised.value.where == store.path
