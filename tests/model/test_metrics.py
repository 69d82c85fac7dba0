"""Scores: golden values, edge cases, and the constant predictors of METHODS 1.3 from the corpora's class counts."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score

from emodna.model.evaluation.evaluate import evaluate
from emodna.model.metrics import SCORES, Scores, compute_scores, confusions, constant_scores, scores
from emodna.pipeline.store import FeatureStore
from tests.model.small import make_manifest_store, read_emotions

Labels = NDArray[np.int64]

#: Class counts of METHODS 1.2: (high, low) arousal and (positive, negative) valence.
COUNTS = {
    "casia": {"arousal": (800, 400), "valence": (600, 600)},
    "emodb": {"arousal": (313, 222), "valence": (150, 385)},
    "emovo": {"arousal": (420, 168), "valence": (252, 336)},
    "iemocap": {"arousal": (2739, 2792), "valence": (3344, 2187)},
    "ravdess": {"arousal": (960, 480), "valence": (672, 768)},
    "savee": {"arousal": (300, 180), "valence": (240, 240)},
}


def labels(*values: int) -> Labels:
    return np.array(values, np.int64)


def labels_of_corpus(name: str, task: str) -> Labels:
    high, low = COUNTS[name][task]
    return labels(*[1] * high, *[0] * low)


def average_over_pairs(task: str, constant: str, source: str | None = None) -> Scores:
    """Return the mean scores of a constant predictor over the targets of all 30 pairs, or of a source's 5."""
    found = [
        asdict(constant_scores(labels_of_corpus(target, task))[constant])
        for first in COUNTS
        for target in COUNTS
        if first != target and source in (None, first)
    ]
    assert len(found) == (30 if source is None else 5)
    return Scores(**{key: float(np.mean([each[key] for each in found])) for key in found[0]})


def test_golden_values() -> None:
    assert asdict(scores(labels(1, 1, 1, 0), labels(1, 1, 1, 1))) == pytest.approx(
        {"war": 75, "uar": 50, "f1": 85.7143, "macro_f1": 42.8571}, abs=5e-5
    )


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_scores_equal_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (labels(*column) for column in zip(*pairs, strict=True))
    occurring = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    assert asdict(scores(truth, predicted)) == pytest.approx(
        {
            "war": 100 * accuracy_score(truth, predicted),
            "f1": 100 * f1_score(truth, predicted, zero_division=0),
            "uar": 100 * recall_score(truth, predicted, **occurring),
            "macro_f1": 100 * f1_score(truth, predicted, labels=[0, 1], average="macro", zero_division=0),
        }
    )


class TestConfusions:
    def test_confusions_are_counted_by_group(self) -> None:
        truth, predicted, group = labels(0, 0, 1, 1, 1), labels(0, 1, 0, 1, 1), labels(2, 0, 0, 2, 2)
        expected = [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 2]]
        assert confusions(truth, predicted, group, 3).tolist() == expected
        assert confusions(truth, predicted).tolist() == [[1, 1, 1, 2]]

    def test_many_confusions_are_scored_at_once(self) -> None:
        counts = np.random.default_rng(0).integers(0, 5, (3, 7, 4)) + 1
        found = compute_scores(counts)
        assert found.shape == (3, 7, 4)
        for place in np.ndindex(3, 7):
            truth, predicted = np.repeat([0, 0, 1, 1], counts[place]), np.repeat([0, 1, 0, 1], counts[place])
            assert dict(zip(SCORES, found[place], strict=True)) == pytest.approx(asdict(scores(truth, predicted)))


class TestConstants:
    def test_constant_predictors_have_the_scores_of_their_predictions(self) -> None:
        truth = labels(1, 1, 1, 0)
        assert constant_scores(truth) == {
            "always_high": scores(truth, labels(1, 1, 1, 1)),
            "always_low": scores(truth, labels(0, 0, 0, 0)),
            "majority": scores(truth, labels(1, 1, 1, 1)),
        }

        low = constant_scores(labels(1, 0, 0))
        assert low["majority"] == low["always_low"]

    @pytest.mark.parametrize(
        ("task", "constant", "war", "f1"),
        [
            ("arousal", "always_high", 62.5, 76.7),
            ("arousal", "always_low", 37.5, 0.0),
            ("valence", "always_high", 46.3, 62.7),
            ("valence", "always_low", 53.7, 0.0),
        ],
    )
    def test_mean_over_the_30_pairs(self, task: str, constant: str, war: float, f1: float) -> None:
        found = average_over_pairs(task, constant)
        assert (round(found.war, 1), round(found.f1, 1)) == (war, f1)

    @pytest.mark.parametrize(("task", "war"), [("arousal", 62.7), ("valence", 57.1)])
    def test_majority_over_the_30_pairs(self, task: str, war: float) -> None:
        assert round(average_over_pairs(task, "majority").war, 1) == war

    @pytest.mark.parametrize(
        ("task", "wars", "f1s"),
        [
            ("arousal", [61.7, 63.4, 60.8, 65.2, 61.7, 62.6], [76.1, 77.3, 75.4, 78.8, 76.1, 76.7]),
            ("valence", [45.6, 50.0, 47.0, 43.5, 46.3, 45.6], [61.9, 66.5, 63.2, 60.2, 62.5, 61.9]),
        ],
    )
    def test_mean_for_each_source(self, task: str, wars: list[float], f1s: list[float]) -> None:
        found = [average_over_pairs(task, "always_high", source) for source in COUNTS]
        assert [each.war for each in found] == pytest.approx(wars, abs=0.0501)
        assert [each.f1 for each in found] == pytest.approx(f1s, abs=0.0501)


class TestEvaluate:
    def test_it_returns_scores_constants_and_intervals(self, target: FeatureStore) -> None:
        truth = target.labels("valence").astype(np.int64)
        predicted = np.arange(len(truth)) % 2
        found = evaluate(predicted, target, "valence")
        assert found.pop("constant") == {name: asdict(each) for name, each in constant_scores(truth).items()}
        intervals = found.pop("intervals")
        assert found == asdict(scores(truth, predicted))
        assert (intervals["utterances"]["n"], intervals["speakers"]["n"]) == (len(target), 2)
        for name, score in found.items():
            lower, upper = intervals["utterances"][name]
            assert 0 <= lower < score < upper <= 100

    def test_it_ignores_missing_labels(self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = {p: "" if i % 2 else emotion for i, (p, emotion) in enumerate(read_emotions(target).items())}
        store = make_manifest_store(roots["emodb"], emotions, tmp_path)
        truth = store.labels("arousal").astype(np.int64)
        # All labelled utterances are predicted correctly.
        found = evaluate(np.where(truth < 0, 1, truth), store, "arousal")
        assert found["war"] == found["uar"] == found["f1"] == found["macro_f1"] == 100
        assert found["constant"]["always_high"]["war"] == pytest.approx(100 * truth[truth >= 0].mean())
        assert found["intervals"]["utterances"]["n"] == np.count_nonzero(truth >= 0)
