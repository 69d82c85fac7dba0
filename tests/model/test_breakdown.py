"""Scores and recalls of groups of utterances."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.model.evaluation.evaluate import LabelledPredictions, break_down_scores, break_down_values
from emodna.model.metrics import SCORES, scores
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, Task, make_emotion_task
from tests.model.small import make_manifest_store, read_emotions

Labels = NDArray[np.int64]


EMOTIONS = make_emotion_task(["emobox4"])
tasks = pytest.mark.parametrize("task", [AROUSAL, EMOTIONS], ids=lambda task: task.name)


def predict(store: FeatureStore, task: Task) -> tuple[Labels, Labels]:
    """Return truth and predictions, of which three in ten are wrong."""
    rng, truth = np.random.default_rng(0), store.labels(task).astype(np.int64)
    return truth, np.where(rng.random(len(truth)) < 0.3, len(task) - 1 - truth, truth)


@tasks
@pytest.mark.parametrize("column", ["speaker", "gender", "language"])
def test_scores_of_a_group_equal_the_scores_of_its_utterances(column: str, task: Task, target: FeatureStore) -> None:
    truth, predicted = predict(target, task)
    values = np.array(target.column(column))
    found = break_down_scores(LabelledPredictions.of(predicted, target, task).group_by(column), task)
    assert list(found) == sorted(set(values))  # there is no unknown value
    for name, row in found.items():
        group = (values == name) & (truth >= 0)
        assert row["count"] == group.sum()
        assert list(row["classes"]) == list(task.classes)
        assert list(row["classes"].values()) == np.bincount(truth[group], minlength=len(task)).tolist()
        expected = asdict(scores(truth[group], predicted[group], len(task)))
        assert {key: row[key] for key in SCORES} == pytest.approx(expected)


@tasks
def test_emotions_have_a_recall_and_the_shares_of_the_predicted_classes(task: Task, target: FeatureStore) -> None:
    truth, predicted = predict(target, task)
    values = np.array(target.column("emotion"))
    found = break_down_values(LabelledPredictions.of(predicted, target, task).group_by("emotion"), task)
    assert list(found) == sorted(set(values[truth >= 0]))
    for name, row in found.items():
        group = values == name
        assert (row["label"], row["count"]) == (truth[group][0], group.sum())
        shares = [100 * (predicted[group] == label).mean() for label in range(len(task))]
        assert list(row["shares"].values()) == pytest.approx(shares)
        assert row["recall"] == pytest.approx(100 * (predicted[group] == truth[group]).mean())


def test_unknown_speakers_form_a_group(target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
    emotions = {
        path: emotion if emotion in AROUSAL.members[1] else "" for path, emotion in read_emotions(target).items()
    }
    speakers = {path: "" if place % 3 else f"s{place % 2}" for place, path in enumerate(emotions)}
    store = make_manifest_store(roots["emodb"], emotions, tmp_path, speaker=speakers)
    scored = LabelledPredictions.of(np.ones(len(store), np.int64), store, AROUSAL)
    found = break_down_scores(scored.group_by("speaker"), AROUSAL)
    assert list(found) == ["s0", "s1", "unknown"]
    assert found["unknown"]["count"] == sum(store.column("speaker")[row] is None for row in scored.rows)
    # UAR needs both classes.
    assert [(row["uar"], row["war"]) for row in found.values()] == [(None, 100)] * 3


def test_an_emotion_of_both_classes_has_no_label_and_no_recall() -> None:
    (found,) = break_down_values({"mixed": np.array([[5, 5], [1, 9]])}, AROUSAL).values()
    assert found == {"count": 20, "label": None, "shares": {"low": 30.0, "high": 70.0}, "recall": None}
