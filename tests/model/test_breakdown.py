"""Scores and recalls of groups of utterances."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.model.evaluation.evaluate import break_down_emotions, break_down_scores, group_confusions
from emodna.model.metrics import SCORES, scores
from emodna.pipeline.store import FeatureStore
from tests.model.small import make_manifest_store, read_emotions

Labels = NDArray[np.int64]


@pytest.fixture(scope="module")
def truth(target: FeatureStore) -> Labels:
    return target.labels("arousal").astype(np.int64)


@pytest.fixture(scope="module")
def predictions(truth: Labels) -> Labels:
    return np.where(np.random.default_rng(0).random(len(truth)) < 0.3, 1 - truth, truth)


@pytest.mark.parametrize("column", ["speaker", "gender", "language"])
def test_scores_of_a_group_equal_the_scores_of_its_utterances(
    column: str, target: FeatureStore, truth: Labels, predictions: Labels
) -> None:
    values = np.array(target.column(column))
    found = break_down_scores(group_confusions(column, target, np.arange(len(target)), truth, predictions))
    assert list(found) == sorted(set(values))  # there is no unknown value
    for name, row in found.items():
        group = values == name
        assert (row["count"], row["high"]) == (group.sum(), truth[group].sum())
        assert {key: row[key] for key in SCORES} == pytest.approx(asdict(scores(truth[group], predictions[group])))


def test_emotions_have_a_recall_and_a_share_predicted_high(
    target: FeatureStore, truth: Labels, predictions: Labels
) -> None:
    values = np.array(target.column("emotion"))
    found = break_down_emotions(group_confusions("emotion", target, np.arange(len(target)), truth, predictions))
    assert list(found) == sorted(set(values))
    for name, row in found.items():
        group = values == name
        assert (row["label"], row["count"]) == (truth[group][0], group.sum())
        assert row["called_high"] == pytest.approx(100 * predictions[group].mean())
        assert row["recall"] == pytest.approx(100 * (predictions[group] == truth[group]).mean())


def test_unknown_speakers_form_a_group(target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
    emotions = read_emotions(target)
    speakers = {path: "" if place % 3 else f"s{place % 2}" for place, path in enumerate(emotions)}
    store = make_manifest_store(roots["emodb"], emotions, tmp_path, speaker=speakers)
    rows = np.flatnonzero(store.labels("arousal") == 1)
    truth = np.ones(len(rows), np.int64)
    found = break_down_scores(group_confusions("speaker", store, rows, truth, truth))
    assert list(found) == ["s0", "s1", "unknown"]
    assert found["unknown"]["count"] == sum(store.column("speaker")[row] is None for row in rows)
    # UAR needs both classes.
    assert [(row["uar"], row["war"]) for row in found.values()] == [(None, 100)] * 3


def test_an_emotion_of_both_classes_has_no_label_and_no_recall() -> None:
    (found,) = break_down_emotions({"mixed": np.array([5, 5, 1, 9])}).values()
    assert found == {"count": 20, "label": None, "called_high": 70.0, "recall": None}
