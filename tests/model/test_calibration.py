"""Calibration, against hand-computed values, naive loops and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss

from emodna.model.evaluation.calibration import BINS, bin_probabilities, compute_calibration


def of_both(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities (n, 2) of both classes."""
    return np.stack([1 - probability, probability], axis=1)


probability_lists = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def test_calibration_equals_hand_computed_values() -> None:
    # Confidences .9 .9 .8 .6; predictions right, wrong, right, right: bins (13/15, 14/15], (11/15, 12/15],
    # (8/15, 9/15] have 2, 1, 1 utterances with gaps |.5 - .9|, |1 - .8|, |1 - .6|.
    found = compute_calibration(np.array([1, 0, 0, 1]), of_both(np.array([0.9, 0.9, 0.2, 0.6])))
    assert found["ece"] == pytest.approx((2 * 0.4 + 0.2 + 0.4) / 4)
    assert found["mce"] == pytest.approx(0.4)
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.04 + 0.16) / 4)
    assert found["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.8) + math.log(0.6)) / 4)
    filled = [row for row in found["probability"] if row["count"]]
    assert [(row["count"], row["share"]) for row in filled] == [(1, 0), (1, 1), (2, 0.5)]
    assert [row["mean"] for row in filled] == pytest.approx([0.2, 0.6, 0.9])


@given(probability_lists)
def test_calibration_equals_naive_loops_and_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    truth, probability = (np.array(column) for column in zip(*pairs, strict=True))
    gaps, sizes = [], []
    for number in range(BINS):
        lower, upper = np.linspace(0, 1, BINS + 1)[number : number + 2]
        inside = [
            (max(p, 1 - p), (p >= 0.5) == y)
            for y, p in pairs
            if lower < max(p, 1 - p) <= upper or (number == 0 and max(p, 1 - p) == 0)
        ]
        if inside:
            confidences, right = zip(*inside, strict=True)
            gaps.append(abs(sum(right) / len(right) - sum(confidences) / len(confidences)))
            sizes.append(len(inside))
    found = compute_calibration(truth, of_both(probability))
    assert sum(sizes) == len(pairs)
    assert found["ece"] == pytest.approx(sum(g * n for g, n in zip(gaps, sizes, strict=True)) / len(pairs))
    assert found["mce"] == pytest.approx(max(gaps))
    assert found["brier"] == pytest.approx(brier_score_loss(truth, probability, labels=[0, 1]))
    assert found["nll"] == pytest.approx(log_loss(truth, probability, labels=[0, 1]), abs=1e-12)


@given(probability_lists)
def test_every_utterance_is_in_one_bin(pairs: list[tuple[int, float]]) -> None:
    truth, probability = (np.array(column) for column in zip(*pairs, strict=True))
    found = compute_calibration(truth, of_both(probability))
    assert 0 <= found["ece"] <= found["mce"] <= 1
    for kind in ("confidence", "probability"):
        rows = found[kind]
        assert len(rows) == found["bins"] == BINS
        assert sum(row["count"] for row in rows) == len(pairs)
        assert [row["to"] for row in rows[:-1]] == [row["from"] for row in rows[1:]]
        for row in rows:
            assert (row["mean"] is None) == (row["share"] is None) == (row["count"] == 0)
            if row["count"]:
                assert row["from"] - 1e-12 <= row["mean"] <= row["to"] + 1e-12


def test_an_edge_belongs_to_the_bin_below() -> None:
    edges = np.linspace(0, 1, BINS + 1)
    rows = bin_probabilities(edges, np.ones(len(edges), bool))
    assert [row["count"] for row in rows] == [2] + [1] * (BINS - 1)


def test_certain_predictions_have_extreme_errors() -> None:
    found = compute_calibration(np.array([0, 1]), of_both(np.array([0.0, 1.0])))
    assert (found["ece"], found["mce"], found["brier"]) == (0, 0, 0)
    assert found["nll"] == pytest.approx(0, abs=1e-15)
    wrong = compute_calibration(np.array([1, 0]), of_both(np.array([0.0, 1.0])))
    assert (wrong["ece"], wrong["mce"], wrong["brier"]) == (1, 1, 1)
    assert 30 < wrong["nll"] < 40


def test_calibrated_probabilities_have_almost_no_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    truth = (rng.random(200_000) < probability).astype(np.int64)
    assert compute_calibration(truth, of_both(probability))["mce"] < 0.02
    assert compute_calibration(truth, of_both(probability**3))["ece"] > 0.1


def test_calibration_of_four_classes_equals_naive_loops_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, truth = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    found = compute_calibration(truth, probabilities)
    assert found["probability"] is None
    assert found["brier"] == pytest.approx(brier_score_loss(truth, probabilities, labels=range(4)))
    assert found["nll"] == pytest.approx(log_loss(truth, probabilities, labels=range(4)))
    ece = 0.0
    for lower, upper in itertools.pairwise(np.linspace(0, 1, BINS + 1)):
        inside = [(max(p), int(np.argmax(p)) == y) for p, y in zip(probabilities, truth, strict=True)]
        inside = [(confidence, right) for confidence, right in inside if lower < confidence <= upper]
        ece += abs(sum(confidence - right for confidence, right in inside)) / 300
    assert found["ece"] == pytest.approx(ece)
