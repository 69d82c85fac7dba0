"""Ranks, Friedman and Nemenyi: Demsar's numbers, and hand-made ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emodna.model.bench.comparing.ranks import alike, friedman, nemenyi, ranking, ranks_of


def test_ranks_share_their_mean_where_scores_are_equal() -> None:
    scores = np.array([[70.0, 80.0, 70.0, 60.0], [50.0, 50.0, 50.0, 50.0]])
    assert ranks_of(scores).tolist() == [[2.5, 1.0, 2.5, 4.0], [2.5, 2.5, 2.5, 2.5]]


@given(arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)))
def test_ranks_of_a_scenario_sum_to_the_same_whatever_the_scores(scores: np.ndarray) -> None:
    k = scores.shape[1]
    assert ranks_of(scores).sum(axis=1) == pytest.approx([k * (k + 1) / 2] * len(scores))


# Table 5a of Demsar 2006: critical values of the two-tailed Nemenyi test at 0.05.
@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_nemenyi_has_the_published_critical_values(methods: int, q: float) -> None:
    one_over = (methods * (methods + 1) / 6) ** 0.5  # of one scenario
    assert nemenyi(methods, 1) / one_over == pytest.approx(q, abs=1.1e-3)


def test_nemenyi_of_four_methods_in_thirty_scenarios() -> None:
    assert nemenyi(4, 30) == pytest.approx(0.856, abs=5e-4)


def test_friedman_is_the_textbook_s() -> None:
    # 12 n / (k (k + 1)) (sum of squared mean ranks - k (k + 1)^2 / 4), without ties.
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0], [3.0, 2.0, 1.0]])
    mean = np.array([1.25, 2.0, 2.75])
    statistic = 12 * 4 / (3 * 4) * ((mean**2).sum() - 3 * 16 / 4)
    found = friedman(scores)
    assert found is not None
    assert found[0] == pytest.approx(statistic)
    assert found[1] == pytest.approx(np.exp(-statistic / 2))  # chi-squared of two degrees of freedom


@pytest.mark.parametrize("scores", [np.ones((5, 2)), np.arange(3.0)[None], np.full((4, 3), 50.0)])
def test_friedman_has_no_meaning_of_two_methods_one_scenario_or_equal_scores(scores: np.ndarray) -> None:
    assert friedman(scores) is None
    assert ranking(scores).p is None


class TestGroups:
    def test_overlap_and_none_lies_in_another(self) -> None:
        # Best first: 1.0, 1.5, 2.2, 4.0
        assert alike(np.array([2.2, 1.0, 4.0, 1.5]), 1.0) == ((1, 3), (3, 0))

    def test_mean_ranks_exactly_so_far_apart_differ(self) -> None:
        assert alike(np.array([1.0, 2.0]), 1.0) == ()
        assert alike(np.array([1.0, 2.0]), 1.0001) == ((0, 1),)

    @given(st.lists(st.integers(2, 16), min_size=2, max_size=7), st.integers(1, 12))
    def test_hold_exactly_the_pairs_that_do_not_differ(self, halves: list[int], difference: int) -> None:
        mean = np.array(halves) / 2
        groups = alike(mean, difference / 2)
        together = {pair for group in groups for pair in itertools.combinations(sorted(group), 2)}
        pairs = itertools.combinations(range(len(mean)), 2)
        assert together == {(a, b) for a, b in pairs if abs(mean[a] - mean[b]) < difference / 2}
        assert not any(set(a) <= set(b) for a, b in itertools.permutations(groups, 2))


def test_ranking_puts_it_together() -> None:
    scores = np.array([[60.0, 70.0, 50.0]] * 30)
    found = ranking(scores)
    assert found.mean_ranks == (2.0, 1.0, 3.0)
    assert found.groups == ()
    assert found.critical_difference == pytest.approx(2.344 * (3 * 4 / (6 * 30)) ** 0.5, abs=1e-3)
