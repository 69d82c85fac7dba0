"""Label-free criteria, against hand-computed values and naive loops, and for degenerate predictions."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from emodna.model.evaluation import criteria
from emodna.model.evaluation.criteria import (
    CRITERIA,
    Evidence,
    mean_entropy,
    mutual_information,
    soft_neighbourhood_density,
)

Probabilities = NDArray[np.float64]


def make_binary(*of_class_1: float) -> Probabilities:
    return np.array([[1 - p, p] for p in of_class_1])


def naive_entropy(distribution: list[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)


def naive_density(probabilities: Probabilities, temperature: float) -> float:
    rows = [[float(value) for value in row] for row in probabilities]
    lengths = [math.sqrt(sum(value**2 for value in row)) for row in rows]
    entropies = []
    for i, a in enumerate(rows):
        similarities = [
            sum(x * y for x, y in zip(a, b, strict=True)) / lengths[i] / lengths[j]
            for j, b in enumerate(rows)
            if j != i
        ]
        weights = [math.exp(each / temperature) for each in similarities]
        entropies.append(naive_entropy([weight / sum(weights) for weight in weights]))
    return sum(entropies) / len(entropies)


def make_probabilities(n: int, classes: int, seed: int) -> Probabilities:
    logits = 3 * np.random.default_rng(seed).normal(size=(n, classes))
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


probability_arrays = st.builds(make_probabilities, st.integers(2, 12), st.integers(2, 4), st.integers(0, 10**6))


@pytest.mark.parametrize(
    ("probabilities", "entropy", "information"),
    [
        (make_binary(0.5, 0.5), math.log(2), 0.0),
        (make_binary(0.0, 1.0), 0.0, math.log(2)),
        (make_binary(1.0, 1.0), 0.0, 0.0),  # a constant prediction has no information
        (make_binary(0.25), 0.562335, 0.0),  # -(1/4 ln 1/4 + 3/4 ln 3/4)
        (make_binary(0.25, 0.75), 0.562335, math.log(2) - 0.562335),
        (make_binary(0.0, 0.0, 0.0, 1.0), 0.0, 0.562335),
        (np.full((3, 4), 0.25), math.log(4), 0.0),
    ],
)
def test_entropy_and_mutual_information_by_hand(
    probabilities: Probabilities, entropy: float, information: float
) -> None:
    assert mean_entropy(probabilities) == pytest.approx(entropy, abs=1e-6)
    assert mutual_information(probabilities) == pytest.approx(information, abs=1e-6)


@given(probability_arrays)
def test_entropy_and_mutual_information_equal_naive_loops(probabilities: Probabilities) -> None:
    entropies = [naive_entropy(row) for row in probabilities.tolist()]
    assert mean_entropy(probabilities) == pytest.approx(sum(entropies) / len(entropies))
    mean = probabilities.mean(axis=0)
    divergences = [sum(p * math.log(p / m) for p, m in zip(row, mean, strict=True) if p) for row in probabilities]
    assert mutual_information(probabilities) == pytest.approx(float(np.mean(divergences)), abs=1e-9)


class TestSoftNeighbourhoodDensity:
    @pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
    def test_equal_predictions_have_the_highest_density(self, probability: float) -> None:
        assert soft_neighbourhood_density(make_binary(*[probability] * 9)) == pytest.approx(math.log(8))

    def test_two_tight_classes_by_hand(self) -> None:
        # Each of four: one neighbour at cosine 1, two at 0; temperature 1: weights e, 1, 1.
        found = soft_neighbourhood_density(make_binary(0.0, 0.0, 1.0, 1.0), temperature=1.0)
        assert found == pytest.approx(naive_entropy([weight / (math.e + 2) for weight in (math.e, 1, 1)]))
        # At 0.05 the weight of the other class, e^-20, is negligible.
        assert soft_neighbourhood_density(make_binary(0.0, 0.0, 1.0, 1.0)) == pytest.approx(0.0, abs=1e-6)

    @settings(deadline=None)
    @given(probability_arrays, st.sampled_from([0.05, 0.5, 1.0]))
    def test_density_equals_a_naive_loop(self, probabilities: Probabilities, temperature: float) -> None:
        found = soft_neighbourhood_density(probabilities, temperature=temperature)
        assert found == pytest.approx(naive_density(probabilities, temperature), abs=1e-9)

    def test_chunk_size_does_not_change_the_density(self, monkeypatch: pytest.MonkeyPatch) -> None:
        probabilities = make_probabilities(100, 2, 0)
        whole = soft_neighbourhood_density(probabilities)
        for rows in (1, 7, 99, 100):
            monkeypatch.setattr(criteria, "_ROWS", rows)
            assert soft_neighbourhood_density(probabilities) == pytest.approx(whole, rel=1e-12)

    def test_density_of_a_single_utterance_is_zero(self) -> None:
        assert soft_neighbourhood_density(make_binary(0.3)) == 0.0
        assert soft_neighbourhood_density(make_binary(0.3, 0.6)) == 0.0  # the only neighbour is certain

    def test_many_utterances_are_sampled_by_the_seed(self) -> None:
        probabilities = make_probabilities(400, 2, 0)
        first, again, other = (
            soft_neighbourhood_density(probabilities, seed=seed, max_utterances=100) for seed in (3, 3, 4)
        )
        assert first == again != other
        # The sample has a quarter of the neighbours, with the same distribution.
        assert first == pytest.approx(soft_neighbourhood_density(probabilities) - math.log(4), abs=0.2)


class TestCriteria:
    @staticmethod
    def values(probabilities: Probabilities, pseudo_labels: Sequence[int] = ()) -> dict[str, float | None]:
        evidence = Evidence(probabilities, np.array(pseudo_labels or [0] * len(probabilities)), [], seed=0)
        return {name: criterion.value(evidence) for name, criterion in CRITERIA.items()}

    def test_source_accuracy_is_the_mean_uar_of_the_sources(self) -> None:
        first = np.array([1, 1, 1, 0]), np.array([1, 1, 1, 1])  # UAR 50, accuracy 75
        second = np.array([1, 0]), np.array([1, 0])
        evidence = Evidence(make_binary(0.5), np.array([1]), [first, second], seed=0)
        assert CRITERIA["source-accuracy"].value(evidence) == 75.0
        assert self.values(make_binary(0.5))["source-accuracy"] is None  # unknown without held-out utterances

    def test_agreement_compares_with_the_pseudo_labels(self) -> None:
        assert self.values(make_binary(0.9, 0.5, 0.4999, 0.2), [1, 1, 1, 0])["pseudo-label-agreement"] == 75.0

    def test_entropy_and_snd_prefer_a_collapsed_model(self) -> None:
        collapsed, separated = self.values(make_binary(*[1.0] * 8)), self.values(make_binary(*[0.02] * 4, *[0.95] * 4))
        for name, prefers in (("entropy", True), ("snd", True), ("information-maximisation", False)):
            sign = 1 if CRITERIA[name].higher_is_better else -1
            assert (sign * collapsed[name] > sign * separated[name]) == prefers

    @settings(deadline=None)
    @given(arrays(np.float64, st.integers(1, 9), elements=st.sampled_from([0.0, 1e-300, 1e-17, 0.5, 1 - 1e-16, 1.0])))
    def test_extreme_probabilities_have_finite_values(self, of_class_1: NDArray[np.float64]) -> None:
        found = self.values(make_binary(*of_class_1.tolist()))
        assert all(value is None or math.isfinite(value) for value in found.values())
