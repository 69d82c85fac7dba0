"""Tests of the comparison of methods against values by hand, naive loops and published values."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from emodna.model.bench.compare import (
    bootstrap_mean_interval,
    compare,
    group_indistinct,
    holm,
    list_default_methods,
    match_scores,
    nemenyi,
    rank,
    signed_rank,
)
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import Scenario, Scores, collect_results, select_scores
from emodna.model.errors import BenchError
from emodna.model.evaluation.intervals import Resampling
from tests.model.bench.builders import fake_experiment, repeat_uars

A, B, C = MethodSpec("emo-dna"), MethodSpec("dan"), MethodSpec("dann")
ONE: Scenario = ("arousal", "ravdess", "emodb")
TWO: Scenario = ("arousal", "emodb", "ravdess")


def make_scores(found: Mapping[MethodSpec, Mapping[Scenario, Mapping[int, float]]]) -> Scores:
    scenarios = sorted({scenario for own in found.values() for scenario in own})
    values = [
        [[own.get(scenario, {}).get(seed, math.nan) for seed in (0, 1)] for scenario in scenarios]
        for own in found.values()
    ]
    return Scores(tuple(found), tuple(scenarios), (0, 1), np.array(values))


class TestMatch:
    def test_matched_scores_have_common_scenarios_and_seeds(self) -> None:
        scores = make_scores({A: {ONE: {0: 60, 1: 70}, TWO: {0: 50}}, B: {ONE: {0: 55}, TWO: {1: 90}}})
        found = match_scores(scores, [A, B])
        assert (found.scenarios, found.seeds) == ((ONE,), {ONE: (0,)})
        assert found.scores.tolist() == [[60.0, 55.0]]
        assert found.left_out == (
            "emodb -> ravdess, arousal, seed 0, 1: missing for emo-dna, dan",
            "ravdess -> emodb, arousal, seed 1: missing for dan",
        )

    def test_error_counts_scenarios_if_none_is_common(self) -> None:
        with pytest.raises(BenchError, match="emo-dna: 1, dan: 1, dann: 0"):
            match_scores(make_scores({A: {ONE: {0: 60}}, B: {TWO: {0: 55}}}), [A, B, C])


def test_default_methods_exclude_oracles(tmp_path: Path) -> None:
    uars = repeat_uars({"dan": 60.0, "upper-bound": 80.0, "dann": 50.0}, [("emodb", "ravdess")])
    experiment = fake_experiment(tmp_path, uars)
    assert list_default_methods(experiment, Scores.from_table(select_scores(collect_results(experiment)))) == [B, C]


def test_differences_are_relative_to_the_reference() -> None:
    keys: list[Scenario] = [("arousal", f"s{number:02}", "t") for number in range(6)]
    scores = make_scores(
        {
            A: {key: {0: 50.0} for key in keys},
            B: {key: {0: 51.0 + number} for number, key in enumerate(keys)},
            C: {key: {0: 50.0 - (number == 2)} for number, key in enumerate(keys)},
        }
    )
    found = compare(match_scores(scores, [A, B, C]), A)
    best, worst = found.methods
    assert (best.method, best.difference, best.better, best.worse) == (B, 3.5, 6, 0)
    assert best.test.p == 2**-5
    assert best.p_holm == 2**-4  # of two comparisons
    low, high = best.interval or (0.0, 0.0)
    assert 1 < low < 3.5 < high < 6
    assert (worst.method, worst.better, worst.worse, worst.test.p, worst.p_holm) == (C, 0, 1, None, None)
    # In five scenarios, A and C share ranks 2 and 3. In one, A is second.
    assert found.ranking.mean_ranks == pytest.approx(((5 * 2.5 + 2) / 6, 1.0, (5 * 2.5 + 3) / 6))


class TestHolm:
    def test_smallest_p_is_multiplied_by_the_number_of_comparisons(self) -> None:
        # By hand: 4 * .005, 3 * .01, 2 * .03, and .04, raised to the value before it.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_comparison_without_a_p_counts(self) -> None:
        assert holm([None, 0.01, None]) == [None, pytest.approx(0.03), None]

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_correction_keeps_order_and_is_at_most_bonferroni(self, ps: list[float]) -> None:
        found = [p for p in holm(ps) if p is not None]
        assert [found[index] for index in np.argsort(ps)] == sorted(found)
        assert all(p <= corrected <= min(1, len(ps) * p) + 1e-12 for p, corrected in zip(ps, found, strict=True))


class TestMeanInterval:
    def test_interval_depends_on_the_seed_only(self) -> None:
        differences = np.random.default_rng(0).normal(size=20)
        first, again, other = (bootstrap_mean_interval(differences, Resampling(seed=seed)) for seed in (3, 3, 4))
        assert first == again != other

    def test_interval_is_the_middle_95_percent_of_means(self) -> None:
        # One of six differs. Its count in a resample is binomial (6, 1/6), with 0 to 3 as the middle 95 %.
        assert bootstrap_mean_interval(np.array([6.0, 0, 0, 0, 0, 0]), Resampling()) == (0.0, 3.0)

    def test_interval_of_many_scenarios_is_close_to_normal(self) -> None:
        differences = np.random.default_rng(0).normal(1.0, 2.0, 400)
        low, high = bootstrap_mean_interval(differences, Resampling()) or (math.nan, math.nan)
        error = differences.std(ddof=1) / math.sqrt(400)
        assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.02)
        assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.02)

    def test_interval_of_five_scenarios_is_none(self) -> None:
        assert bootstrap_mean_interval(np.full(5, 3.0), Resampling()) is None


def naive_p(differences: list[float]) -> float:
    """Return the share of sign assignments whose sum of positive ranks is at least as far from the middle."""
    ranks = rankdata(np.abs(differences))
    middle = ranks.sum() / 2
    distance = abs(sum(rank for rank, each in zip(ranks, differences, strict=True) if each > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(abs(each - middle) >= distance - 1e-9 for each in sums) / len(sums)


class TestSignedRank:
    @pytest.mark.parametrize(
        "differences",
        [
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0],
            pytest.param([1.0, 1.0, -1.0, 2.0, 3.0, 3.0, -4.0], id="ties"),
            pytest.param([0.5] * 8, id="only ties"),
        ],
    )
    def test_p_is_exact(self, differences: list[float]) -> None:
        found = signed_rank(np.array(differences))
        assert found.p == pytest.approx(naive_p(differences))
        assert found.exact
        assert found.why is None

    @pytest.mark.parametrize("n", range(1, 6))
    def test_few_scenarios_have_no_p(self, n: int) -> None:
        found = signed_rank(np.arange(1.0, n + 1))
        assert found.p is None
        assert found.least_p == 2.0 ** (1 - n)
        assert f"the smallest attainable p is {found.least_p:g}" in str(found.why)

    def test_equal_scenarios_are_left_out(self) -> None:
        differences = [1.0, -2.0, 3.0, 4.0, 5.0, 6.0]
        found = signed_rank(np.array([0.0, *differences, 0.0]))
        assert (found.p, found.differing) == (pytest.approx(naive_p(differences)), 6)

    @pytest.mark.parametrize(
        "differences", [np.arange(1.0, 61.0) * np.tile([1, 1, -1], 20), np.tile([1.0, 1.0, 2.0, -1.0], 5)]
    )
    def test_p_of_many_scenarios_is_approximate(self, differences: np.ndarray) -> None:
        found = signed_rank(differences)
        assert not found.exact
        assert 0 < (found.p or 0) < 0.05


class TestRank:
    def test_equal_scores_share_the_mean_of_their_ranks(self) -> None:
        found = rank(np.array([[70.0, 80.0, 70.0, 60.0], [50.0, 50.0, 50.0, 50.0]]))
        assert found.mean_ranks == (2.5, 1.75, 2.5, 3.25)

    # Table 5a of Demsar 2006: critical values of the two-tailed Nemenyi test at 0.05.
    @pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
    def test_nemenyi_matches_published_values(self, methods: int, q: float) -> None:
        factor = (methods * (methods + 1) / 6) ** 0.5  # for one scenario
        assert nemenyi(methods, 1) / factor == pytest.approx(q, abs=1.1e-3)

    def test_friedman_matches_the_textbook_formula(self) -> None:
        # 12 n / (k (k + 1)) (sum of squared mean ranks - k (k + 1)^2 / 4), without ties.
        found = rank(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0], [3.0, 2.0, 1.0]]))
        statistic = 12 * 4 / (3 * 4) * (1.25**2 + 2**2 + 2.75**2 - 3 * 16 / 4)
        assert found.chi_squared == pytest.approx(statistic)
        assert found.p == pytest.approx(np.exp(-statistic / 2))  # chi-squared of two degrees of freedom

    @pytest.mark.parametrize("scores", [np.ones((5, 2)), np.arange(3.0)[None], np.full((4, 3), 50.0)])
    def test_friedman_is_none_for_two_methods_one_scenario_or_equal_scores(self, scores: np.ndarray) -> None:
        assert rank(scores).p is None


class TestGroups:
    def test_groups_overlap_without_containing_each_other(self) -> None:
        # Best first: 1.0, 1.5, 2.2, 4.0
        assert group_indistinct(np.array([2.2, 1.0, 4.0, 1.5]), 1.0) == ((1, 3), (3, 0))

    @given(st.lists(st.integers(2, 16), min_size=2, max_size=7), st.integers(1, 12))
    def test_groups_contain_exactly_the_pairs_without_difference(self, halves: list[int], difference: int) -> None:
        mean = np.array(halves) / 2
        groups = group_indistinct(mean, difference / 2)
        grouped_pairs = {pair for group in groups for pair in itertools.combinations(sorted(group), 2)}
        pairs = itertools.combinations(range(len(mean)), 2)
        assert grouped_pairs == {(a, b) for a, b in pairs if abs(mean[a] - mean[b]) < difference / 2}
        assert not any(set(a) <= set(b) for a, b in itertools.permutations(groups, 2))
