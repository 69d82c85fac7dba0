"""Bootstrap intervals: a naive loop, coverage, and invariances."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, recall_score

from emodna.model.evaluation import intervals
from emodna.model.evaluation.intervals import Resampling, resample_speakers, resample_utterances
from emodna.model.metrics import SCORES, confusions

Counts = NDArray[np.int64]
FEW = Resampling(resamples=200, seed=3)

speakers_counts = st.lists(
    st.tuples(*[st.integers(0, 6)] * 4).filter(lambda counts: sum(counts) > 0), min_size=2, max_size=8
).map(lambda counts: np.array(counts).reshape(-1, 2, 2))


def unroll(counts: Counts) -> tuple[Counts, Counts]:
    """Return truth and predictions with these confusions (classes, classes)."""
    truth, predicted = (np.repeat(each.ravel(), counts.ravel()) for each in np.indices(counts.shape))
    return truth, predicted


def make_corpus(seed: int, classes: int = 2, speakers: int = 6, each: int = 20) -> tuple[Counts, Counts, Counts]:
    """Return speaker, truth and prediction of random utterances, with error rates that differ between speakers."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), each)
    truth = rng.integers(0, classes, len(speaker))
    wrong = rng.random(len(speaker)) < np.linspace(0.1, 0.5, speakers)[speaker]
    return speaker, truth, np.where(wrong, classes - 1 - truth, truth)


@pytest.mark.parametrize("classes", [2, 4])
def test_intervals_equal_a_naive_loop(classes: int) -> None:
    speaker, truth, predicted = make_corpus(0, classes)
    counts = confusions(truth, predicted, classes, speaker, 6)
    kinds = np.unique(counts, axis=0)
    assert len(kinds) == 6  # each kind is one speaker
    rng, found = np.random.default_rng(FEW.seed), []
    for drawn in rng.multinomial(6, [1 / 6] * 6, size=FEW.resamples):
        rows = [kinds[kind] for kind, times in enumerate(drawn) for _ in range(times)]
        parts = [unroll(row) for row in rows]
        true, called = (np.concatenate(column) for column in zip(*parts, strict=True))
        found.append([accuracy_score(true, called), recall_score(true, called, average="macro")])
    expected = 100 * np.percentile(found, (2.5, 97.5), axis=0).T
    intervals = resample_speakers(counts, FEW)
    assert intervals["war"] == pytest.approx(expected[0])
    assert intervals["uar"] == pytest.approx(expected[1])
    assert (intervals["n"], intervals["why"], intervals["f1"] is None) == (6, None, classes > 2)


class TestCoverage:
    """Share of intervals that contain the true score: about 95 %."""

    def test_independent_utterances_are_covered(self) -> None:
        rng, resampling = np.random.default_rng(0), Resampling(resamples=300)
        covered = 0
        for counts in rng.multinomial(200, [0.3, 0.1, 0.15, 0.45], size=200):
            lower, upper = resample_utterances(counts.reshape(2, 2), resampling)["uar"]
            covered += lower <= 75 <= upper  # both recalls are 3/4
        assert 0.91 <= covered / 200 <= 0.98

    def test_differing_speakers_are_covered_only_by_resampling_speakers(self) -> None:
        rng, resampling = np.random.default_rng(1), Resampling(resamples=300)
        covered = {"speakers": 0, "utterances": 0}
        for _ in range(100):
            right = rng.binomial(20, rng.beta(2, 1, size=(40, 2)))  # (40 speakers, 2 classes) of 20 utterances
            counts = np.stack([right[:, 0], 20 - right[:, 0], 20 - right[:, 1], right[:, 1]], axis=1)
            counts = counts.reshape(-1, 2, 2)
            for unit, found in (
                ("speakers", resample_speakers(counts, resampling)),
                ("utterances", resample_utterances(counts.sum(axis=0), resampling)),
            ):
                covered[unit] += found["uar"][0] <= 200 / 3 <= found["uar"][1]
        assert 0.88 <= covered["speakers"] / 100 <= 0.99
        assert covered["utterances"] / 100 < 0.7


class TestInvariances:
    @given(speakers_counts, st.randoms(use_true_random=False))
    def test_order_of_speakers_does_not_change_the_intervals(self, counts: Counts, random: Random) -> None:
        shuffled = counts[random.sample(range(len(counts)), len(counts))]
        assert resample_speakers(shuffled, FEW) == resample_speakers(counts, FEW)

    @given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
    def test_speakers_with_one_utterance_equal_utterances(self, pairs: list[tuple[int, int]]) -> None:
        truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
        each = confusions(truth, predicted, 2, np.arange(len(truth)), len(truth))
        over = resample_speakers(each, FEW), resample_utterances(confusions(truth, predicted, 2)[0], FEW)
        for found in over:
            found["why"] = str(found["why"]).replace("speaker", "utterance")
        assert over[0] == over[1]

    @given(st.integers(0, 1), st.integers(1, 60), st.integers(1, 60))
    @example(1, 3, 57)  # one resample in twenty lacks class 0
    @example(0, 57, 3)
    def test_constant_predictor_has_a_uar_of_50_without_width(self, predicted: int, low: int, high: int) -> None:
        truth = np.repeat([0, 1], [low, high])
        found = resample_utterances(confusions(truth, np.full_like(truth, predicted), 2)[0], FEW)
        assert found["uar"] == [50, 50] or (found["uar"] is None and min(low, high) < 4)
        assert found["war"] is not None

    def test_seed_and_not_chunk_size_determines_the_intervals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        speaker, truth, predicted = make_corpus(4)
        counts = confusions(truth, predicted, 2, speaker, 6)
        expected = resample_speakers(counts, FEW)
        assert resample_speakers(counts, Resampling(200, seed=4)) != expected
        monkeypatch.setattr(intervals, "_CHUNK", 50)
        assert resample_speakers(counts, FEW) == expected


class TestTooFew:
    @pytest.mark.parametrize("found", [resample_speakers(np.array([[[3, 1], [2, 9]]]), FEW),
                                       resample_utterances(np.array([[0, 0], [1, 0]]), FEW)])  # fmt: skip
    def test_one_unit_has_no_interval(self, found: dict[str, Any]) -> None:
        assert found["n"] == 1
        assert [found[name] for name in SCORES] == [None] * 4
        assert "only one " in found["why"]

    def test_rare_class_leaves_uar_without_interval(self) -> None:
        # Each speaker has one class, so half of the resamples lack a class.
        found = resample_speakers(np.array([[[10, 0], [0, 0]], [[0, 0], [5, 5]]]), FEW)
        assert found["uar"] is None
        assert "lack a class" in found["why"]
        assert found["war"] == [50, 100]

    def test_absent_class_leaves_uar_without_interval(self) -> None:
        found = resample_utterances(np.array([[0, 0], [20, 60]]), FEW)
        assert found["uar"] is None
        assert "only one class" in found["why"]
        assert found["war"][0] < 75 < found["war"][1]

    def test_absent_class_of_three_leaves_the_interval_over_the_others(self) -> None:
        found = resample_utterances(np.array([[40, 0, 0], [0, 0, 0], [0, 20, 20]]), FEW)
        assert found["why"] is None
        assert found["uar"][0] < 75 < found["uar"][1]
