"""Scores: golden values, edge cases, and the constant predictors of METHODS 1.3 from the corpora's class counts."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from emodna.model.evaluation.evaluate import evaluate
from emodna.model.metrics import Scores, compute_recalls, compute_scores, confusions, constant_scores, scores
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, BUILT_IN_TASKS, VALENCE, Task, make_emotion_task
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


EMOTIONS = make_emotion_task(["emobox4"])


def make_pairs(classes: int) -> st.SearchStrategy[tuple[int, list[tuple[int, int]]]]:
    """Draw pairs of a label and a prediction."""
    label = st.integers(0, classes - 1)
    return st.tuples(st.just(classes), st.lists(st.tuples(label, label), min_size=1, max_size=30))


def labels(*values: int) -> Labels:
    return np.array(values, np.int64)


def labels_of_corpus(name: str, task: str) -> Labels:
    high, low = COUNTS[name][task]
    return labels(*[1] * high, *[0] * low)


def average_over_pairs(task: str, constant: str, source: str | None = None) -> Scores:
    """Return the mean scores of a constant predictor over the targets of all 30 pairs, or of a source's 5."""
    found = [
        asdict(constant_scores(labels_of_corpus(target, task), BUILT_IN_TASKS[task])[constant])
        for first in COUNTS
        for target in COUNTS
        if first != target and source in (None, first)
    ]
    assert len(found) == (30 if source is None else 5)
    return Scores(**{key: float(np.mean([each[key] for each in found])) for key in found[0]})


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([1, 1, 1, 0], [1, 1, 1, 1], {"war": 75, "uar": 50, "f1": 85.7143, "macro_f1": 42.8571}),
        # Of 4 classes, class 3 does not occur. Recalls 1/2, 2/3, 0; F1 scores 2/3, 4/6, 0, 0.
        ([0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 3, 1], {"war": 50, "uar": 38.8889, "f1": None, "macro_f1": 30.9524}),
    ],
)
def test_golden_values(truth: list[int], predicted: list[int], expected: dict[str, float]) -> None:
    classes = 2 if expected["f1"] else 4
    assert asdict(scores(labels(*truth), labels(*predicted), classes)) == pytest.approx(expected, abs=5e-5)


@settings(max_examples=30)
@given(st.sampled_from([2, 3, 4, 8]).flatmap(make_pairs))
def test_scores_equal_those_of_scikit_learn(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = drawn
    truth, predicted = (labels(*column) for column in zip(*pairs, strict=True))
    occurring = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    every = range(classes)
    found = asdict(scores(truth, predicted, classes))
    assert found == pytest.approx(
        {
            "war": 100 * accuracy_score(truth, predicted),
            "f1": 100 * f1_score(truth, predicted, zero_division=0) if classes == 2 else None,
            "uar": 100 * recall_score(truth, predicted, **occurring),
            "macro_f1": 100 * f1_score(truth, predicted, labels=every, average="macro", zero_division=0),
        }
    )
    if set(predicted) <= set(truth) and len(set(truth)) > 1:
        assert found["uar"] == pytest.approx(100 * balanced_accuracy_score(truth, predicted))
    counts = confusions(truth, predicted, classes)[0]
    assert counts.tolist() == confusion_matrix(truth, predicted, labels=every).tolist()


def test_scores_of_four_classes_equal_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 90), rng.integers(0, 4, 90)
    right, recalls, f1 = 0, [], []
    for each in range(4):
        hits = sum(t == p == each for t, p in zip(truth, predicted, strict=True))
        occurred, called = sum(t == each for t in truth), sum(p == each for p in predicted)
        right += hits
        recalls.append(100 * hits / occurred)
        f1.append(100 * 2 * hits / (occurred + called))
    assert asdict(scores(truth, predicted, 4)) == pytest.approx(
        {"war": 100 * right / 90, "f1": None, "uar": sum(recalls) / 4, "macro_f1": sum(f1) / 4}
    )
    counts = confusions(truth, predicted, 4)[0]
    assert list(compute_recalls(counts, EMOTIONS).values()) == pytest.approx(recalls)
    counts[2] = 0
    assert compute_recalls(counts, EMOTIONS)["neutral"] is None


class TestConfusions:
    def test_confusions_are_counted_by_group(self) -> None:
        truth, predicted, group = labels(0, 0, 1, 1, 1), labels(0, 1, 0, 1, 1), labels(2, 0, 0, 2, 2)
        expected = [[[0, 1], [1, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 2]]]
        assert confusions(truth, predicted, 2, group, 3).tolist() == expected
        assert confusions(truth, predicted, 2).tolist() == [[[1, 1], [1, 2]]]

    @pytest.mark.parametrize("classes", [2, 4])
    def test_many_confusions_are_scored_at_once(self, classes: int) -> None:
        counts = np.random.default_rng(0).integers(0, 5, (3, 7, classes, classes)) + 1
        found = compute_scores(counts)
        assert found.shape == (3, 7, 4)
        for place in np.ndindex(3, 7):
            expected = [np.nan if each is None else each for each in asdict(Scores.of(counts[place])).values()]
            assert found[place] == pytest.approx(expected, nan_ok=True)


class TestConstants:
    @pytest.mark.parametrize(
        ("task", "truth", "majority"), [(AROUSAL, [1, 1, 1, 0], "high"), (AROUSAL, [1, 0, 0], "low"),
                                        (EMOTIONS, [0, 0, 1, 2, 2], "neutral")]
    )  # fmt: skip
    def test_constant_predictors_have_the_scores_of_their_predictions(
        self, task: Task, truth: list[int], majority: str
    ) -> None:
        true = labels(*truth)
        found = constant_scores(true, task)
        expected = {
            f"always_{name}": scores(true, np.full_like(true, label), len(task))
            for label, name in enumerate(task.classes)
        }
        assert list(found) == [*expected, "majority", "prior_proportional"]
        assert {name: found[name] for name in expected} == expected
        assert found["majority"] == expected[f"always_{majority}"]

    def test_guesses_by_the_priors_have_the_mean_scores_of_many_guesses(self) -> None:
        true, rng = labels(*[0] * 40, *[1] * 30, *[2] * 20, *[3] * 10), np.random.default_rng(0)
        found = constant_scores(true, EMOTIONS)["prior_proportional"]
        assert (found.war, found.uar) == pytest.approx((16 + 9 + 4 + 1, 25))  # percent: sum of squared priors; 100 / K
        guesses = [scores(true, rng.permutation(true), 4) for _ in range(400)]
        for key in ("war", "uar", "macro_f1"):
            assert np.mean([getattr(each, key) for each in guesses]) == pytest.approx(getattr(found, key), abs=1)

    @pytest.mark.parametrize(
        ("task", "constant", "war", "f1"),
        [
            ("arousal", "always_high", 62.5, 76.7),
            ("arousal", "always_low", 37.5, 0.0),
            ("valence", "always_positive", 46.3, 62.7),
            ("valence", "always_negative", 53.7, 0.0),
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
        always = f"always_{BUILT_IN_TASKS[task].classes[1]}"
        found = [average_over_pairs(task, always, source) for source in COUNTS]
        assert [each.war for each in found] == pytest.approx(wars, abs=0.0501)
        assert [each.f1 for each in found] == pytest.approx(f1s, abs=0.0501)


class TestEvaluate:
    @pytest.mark.parametrize("task", [VALENCE, EMOTIONS], ids=lambda task: task.name)
    def test_it_returns_scores_constants_and_intervals(self, task: Task, target: FeatureStore) -> None:
        labelled = target.labels(task) >= 0
        truth = target.labels(task).astype(np.int64)
        predicted = np.arange(len(truth)) % len(task)
        found = evaluate(predicted, target, task)
        truth, predicted = truth[labelled], predicted[labelled]
        counts = confusions(truth, predicted, len(task))[0]
        assert found.pop("constant") == {name: asdict(each) for name, each in constant_scores(truth, task).items()}
        assert found.pop("confusion") == counts.tolist()
        assert found.pop("recalls") == compute_recalls(counts, task)
        assert found.pop("classes") == list(task.classes)
        emotions = np.array(target.column("emotion"))
        others = sorted(set(emotions[~labelled]))
        assert (task is VALENCE) == (not others)
        assert found.pop("left_out") == {name: (emotions == name).sum() for name in others}
        intervals = found.pop("intervals")
        assert found == asdict(scores(truth, predicted, len(task)))
        assert (intervals["utterances"]["n"], intervals["speakers"]["n"]) == (len(truth), 2)
        for name, score in found.items():
            if score is None:
                assert intervals["utterances"][name] is None
            else:
                lower, upper = intervals["utterances"][name]
                assert 0 <= lower < score < upper <= 100

    def test_it_ignores_missing_labels(self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = {p: "" if i % 2 else emotion for i, (p, emotion) in enumerate(read_emotions(target).items())}
        store = make_manifest_store(roots["emodb"], emotions, tmp_path)
        truth = store.labels("arousal").astype(np.int64)
        # All labelled utterances are predicted correctly.
        found = evaluate(np.where(truth < 0, 1, truth), store, AROUSAL)
        assert found["war"] == found["uar"] == found["f1"] == found["macro_f1"] == 100
        assert found["constant"]["always_high"]["war"] == pytest.approx(100 * truth[truth >= 0].mean())
        assert found["intervals"]["utterances"]["n"] == np.count_nonzero(truth >= 0)
        assert found["left_out"] == {"unknown": np.count_nonzero(truth < 0)}
