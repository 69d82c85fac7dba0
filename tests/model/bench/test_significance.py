"""Statistics between two methods: against hand-made values and naive loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from emodna.model.bench.comparing.significance import holm, mean_interval, signed_rank, why_no_interval
from emodna.model.evaluation.intervals import Resampling


class TestHolm:
    def test_multiplies_the_smallest_by_the_number_of_comparisons(self) -> None:
        # By hand: 4 * .005; 3 * .01; 2 * .03; then .04, which may not be below the one before it.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_is_1_at_most(self) -> None:
        assert holm([0.9, 0.6]) == [1.0, 1.0]

    def test_counts_a_comparison_without_a_p(self) -> None:
        assert holm([None, 0.01, None]) == [None, pytest.approx(0.03), None]

    def test_of_nothing_is_nothing(self) -> None:
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_keeps_the_order_and_lies_between_p_and_bonferroni(self, ps: list[float]) -> None:
        found = [p for p in holm(ps) if p is not None]
        assert [found[place] for place in np.argsort(ps)] == sorted(found)
        assert all(p <= corrected <= min(1, len(ps) * p) + 1e-12 for p, corrected in zip(ps, found, strict=True))


class TestMeanInterval:
    def test_is_the_same_for_the_same_seed(self) -> None:
        differences = np.random.default_rng(0).normal(size=20)
        first, again, other = (mean_interval(differences, Resampling(seed=seed)) for seed in (3, 3, 4))
        assert first == again != other

    def test_holds_the_middle_95_percent_of_all_means(self) -> None:
        # One of six differs: how often a resample has it is binomial (6, 1/6), of which 0 to 3 are the middle 95 %.
        assert mean_interval(np.array([6.0, 0, 0, 0, 0, 0]), Resampling()) == (0.0, 3.0)

    def test_agrees_with_a_normal_distribution_where_there_are_many_scenarios(self) -> None:
        differences = np.random.default_rng(0).normal(1.0, 2.0, 400)
        low, high = mean_interval(differences, Resampling()) or (math.nan, math.nan)
        error = differences.std(ddof=1) / math.sqrt(400)
        assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.02)
        assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.02)

    def test_of_equal_differences_is_a_point(self) -> None:
        assert mean_interval(np.full(6, 1.5), Resampling(200)) == (1.5, 1.5)

    @pytest.mark.parametrize("n", [1, 5])
    def test_of_fewer_than_six_scenarios_is_none_and_it_says_why(self, n: int) -> None:
        assert mean_interval(np.full(n, 3.0), Resampling()) is None
        assert f"{'one scenario' if n == 1 else 'only 5 scenarios'}: a bootstrap of fewer than 6" in str(
            why_no_interval(n)
        )


def naive_p(differences: list[float]) -> float:
    """Share of all assignments of signs whose positive ranks sum to something at least as far from the middle."""
    ranks = rankdata(np.abs(differences))
    middle = ranks.sum() / 2
    seen = abs(sum(rank for rank, each in zip(ranks, differences, strict=True) if each > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(abs(each - middle) >= seen - 1e-9 for each in sums) / len(sums)


class TestSignedRank:
    @pytest.mark.parametrize(
        "differences",
        [
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0],
            pytest.param([1.0, 1.0, -1.0, 2.0, 3.0, 3.0, -4.0], id="ties"),
            pytest.param([0.5] * 8, id="nothing but ties"),
        ],
    )
    def test_is_exact(self, differences: list[float]) -> None:
        found = signed_rank(np.array(differences))
        assert found.p == pytest.approx(naive_p(differences))
        assert found.exact
        assert found.why is None

    @pytest.mark.parametrize("n", range(1, 6))
    def test_of_too_few_scenarios_says_that_nothing_can_be_significant(self, n: int) -> None:
        found = signed_rank(np.arange(1.0, n + 1))
        assert found.p is None
        assert found.least_p == 2.0 ** (1 - n)
        assert f"the smallest attainable p is {found.least_p:g}" in str(found.why)

    def test_of_six_scenarios_can_be_significant(self) -> None:
        found = signed_rank(np.arange(1.0, 7.0))
        assert found.p == found.least_p == 2**-5

    def test_leaves_out_scenarios_that_do_not_differ(self) -> None:
        differences = [1.0, -2.0, 3.0, 4.0, 5.0, 6.0]
        found = signed_rank(np.array([0.0, *differences, 0.0]))
        assert (found.p, found.differing) == (pytest.approx(naive_p(differences)), 6)

    def test_of_equal_methods_is_none(self) -> None:
        found = signed_rank(np.zeros(9))
        assert (found.p, found.differing, found.why) == (None, 0, "no scenario differs")

    @pytest.mark.parametrize(
        "differences", [np.arange(1.0, 61.0) * np.tile([1, 1, -1], 20), np.tile([1.0, 1.0, 2.0, -1.0], 5)]
    )
    def test_of_many_scenarios_is_approximate_and_says_so(self, differences: np.ndarray) -> None:
        found = signed_rank(differences)
        assert not found.exact
        assert 0 < (found.p or 0) < 0.05
