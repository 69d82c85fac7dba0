"""Which scenarios methods are compared in, and what comes of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from emodna.model.bench.comparing.comparison import compare, matched, usual_rows
from emodna.model.bench.results import read_outcomes
from emodna.model.bench.scores import Scenario, ScenarioScores, scenario_scores
from emodna.model.bench.spec import MethodSpec
from emodna.model.errors import BenchError
from tests.model.bench.fake import fake_bench, same_everywhere

A, B, C = MethodSpec("emo-dna"), MethodSpec("dan"), MethodSpec("dann")
ONE: Scenario = ("arousal", "ravdess", "emodb")
TWO: Scenario = ("arousal", "emodb", "ravdess")


def scored(found: Mapping[MethodSpec, Mapping[Scenario, Mapping[int, float]]]) -> ScenarioScores:
    return {
        row: {key: {seed: {"uar": uar} for seed, uar in seeds.items()} for key, seeds in scenarios.items()}
        for row, scenarios in found.items()
    }


class TestMatched:
    def test_takes_scenarios_and_seeds_that_all_methods_have(self) -> None:
        found = matched(
            scored({A: {ONE: {0: 60.0, 1: 70.0}, TWO: {0: 50.0}}, B: {ONE: {0: 55.0}, TWO: {1: 90.0}}}), [A, B], "uar"
        )
        assert found.scenarios == (ONE,)
        assert found.seeds == {ONE: (0,)}
        assert found.scores.tolist() == [[60.0, 55.0]]

    def test_says_what_it_left_out(self) -> None:
        scores = scored({A: {ONE: {0: 60.0, 1: 70.0}, TWO: {0: 50.0}}, B: {ONE: {0: 55.0}}})
        assert matched(scores, [A, B], "uar").left_out == (
            "emodb -> ravdess, arousal, seed 0: not of dan",
            "ravdess -> emodb, arousal, seed 1: not of dan",
        )

    def test_takes_the_mean_over_the_seeds(self) -> None:
        scores = scored({A: {ONE: {0: 60.0, 1: 70.0}}, B: {ONE: {0: 55.0, 1: 45.0}}})
        found = matched(scores, [A, B], "uar")
        assert found.scores.tolist() == [[65.0, 50.0]]
        assert found.left_out == ()

    def test_of_nothing_in_common_says_what_each_has(self) -> None:
        scores = scored({A: {ONE: {0: 60.0}}, B: {TWO: {0: 55.0}}})
        with pytest.raises(BenchError, match=r"no scenario is finished .* \(scenarios of each: emo-dna: 1, dan: 1\)"):
            matched(scores, [A, B], "uar")


def test_oracles_are_compared_only_if_named(tmp_path: Path) -> None:
    bench = fake_bench(
        tmp_path, same_everywhere({"dan": 60.0, "upper-bound": 80.0, "dann": 50.0}, [("emodb", "ravdess")])
    )
    assert usual_rows(bench, scenario_scores(bench, read_outcomes(bench))) == [B, C]


class TestCompare:
    def scenarios(self, n: int) -> list[Scenario]:
        return [("arousal", f"s{place:02}", "t") for place in range(n)]

    def test_differences_are_to_the_one_that_is_compared_with(self) -> None:
        keys = self.scenarios(6)
        scores = scored(
            {
                A: {key: {0: 50.0} for key in keys},
                B: {key: {0: 50.0 + 1 + place} for place, key in enumerate(keys)},
                C: {key: {0: 50.0 - (place == 2)} for place, key in enumerate(keys)},
            }
        )
        found = compare(matched(scores, [A, B, C], "uar"), A)
        better, same = found.methods
        assert (better.method, better.mean, better.wins, better.losses) == (B, 3.5, 6, 0)
        assert better.test.p == 2**-5
        assert better.p_holm == 2**-4  # of two comparisons
        low, high = better.interval or (0.0, 0.0)
        assert 1 < low < 3.5 < high < 6
        assert (same.method, same.wins, same.losses, same.test.p, same.p_holm) == (C, 0, 1, None, None)
        # In five scenarios A and C share ranks 2 and 3; in one, A is second.
        assert found.ranking.mean_ranks == pytest.approx(((5 * 2.5 + 2) / 6, 1.0, (5 * 2.5 + 3) / 6))

    def test_one_scenario_has_neither_interval_nor_test(self) -> None:
        found = compare(matched(scored({A: {ONE: {0: 60.0}}, B: {ONE: {0: 55.0}}}), [A, B], "uar"), A)
        (only,) = found.methods
        assert (only.mean, only.interval, only.test.p) == (-5.0, None, None)
