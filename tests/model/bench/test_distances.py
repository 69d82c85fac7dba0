"""Proxy A-distance and MMD of two sets of features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.model.bench import analysis
from emodna.model.bench.analysis import Side, distances, distances_of, proxy_a_distance, squared_mmd
from emodna.model.bench.spec import Experiment
from emodna.model.inference.trained_model import TrainedModel


def normal(n: int, seed: int, width: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, width))


class TestProxyADistance:
    def test_is_2_of_what_a_line_separates(self) -> None:
        assert proxy_a_distance(normal(40, 0), normal(60, 1) + 20) == pytest.approx(2)

    @pytest.mark.parametrize("sizes", [(300, 300), (500, 60)], ids=["as many", "many more"])
    def test_is_about_0_of_one_distribution(self, sizes: tuple[int, int]) -> None:
        found = proxy_a_distance(normal(sizes[0], 0), normal(sizes[1], 1))
        assert found == pytest.approx(0, abs=0.3)

    def test_depends_on_no_scale(self) -> None:
        source, target = normal(50, 0), normal(50, 1) + 0.7
        scale = np.array([1e-3, 1, 50, 1e4])
        expected = proxy_a_distance(source, target)
        assert proxy_a_distance(source * scale + 7, target * scale + 7) == pytest.approx(expected)

    def test_is_unknown_of_fewer_than_folds(self) -> None:
        assert proxy_a_distance(normal(4, 0), normal(50, 1)) is None

    def test_of_features_that_never_change_is_0(self) -> None:
        assert proxy_a_distance(np.ones((20, 3)), np.ones((20, 3))) == pytest.approx(0)
        assert squared_mmd(np.ones((20, 3)), np.ones((20, 3))) == pytest.approx(0)


class TestMmd:
    def test_is_about_0_of_one_distribution_however_few(self) -> None:
        small = [squared_mmd(normal(8, seed), normal(8, seed + 100)) for seed in range(40)]
        assert all(each is not None for each in small)
        assert np.mean(np.array(small, float)) == pytest.approx(0, abs=0.02)
        assert min(np.array(small, float)) < 0

    def test_grows_with_the_distance(self) -> None:
        found = [squared_mmd(normal(60, 0), normal(60, 1) + shift) for shift in (0, 0.5, 1, 4)]
        assert found == sorted(found, key=lambda each: each or 0)

    def test_can_be_compared_between_scales(self) -> None:
        source, target = normal(50, 0), normal(30, 1) + 0.7
        expected = squared_mmd(source, target)
        assert squared_mmd(source * 1e3 + 5, target * 1e3 + 5) == pytest.approx(expected)

    def test_a_value_that_never_changes_has_no_part(self) -> None:
        source, target = normal(50, 0), normal(30, 1) + 0.7
        constant = [np.column_stack([each, np.full(len(each), 3.0)]) for each in (source, target)]
        constant[0][0, -1] += 1e-9
        assert squared_mmd(*constant) == pytest.approx(squared_mmd(source, target))

    def test_is_unknown_of_a_single_utterance(self) -> None:
        assert squared_mmd(normal(1, 0), normal(9, 1)) is None


def test_classes_are_compared_with_their_like() -> None:
    """Both corpora have the same classes in the same places, though not as many of each."""
    one, other = normal(200, 0), normal(200, 1) + 6

    def side(low: int, high: int) -> Side:
        values = np.concatenate([one[:low], other[:high]]) + 0.01 * normal(low + high, low)
        return Side("", [], np.repeat(np.array([0, 1], np.int8), [low, high]), values.astype(np.float32))

    found = distances(side(200, 50), side(50, 200))
    pads = [each["pad"] for each in [found["all"], *found["classes"]]]
    assert pads[0] is not None
    assert pads[0] > 1
    assert pads[1:] == [pytest.approx(0, abs=0.4)] * 2


def test_are_worked_out_once_for_each_model(small_bench: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = next(cell for cell in small_bench.runs if str(cell.method) == "source-only")
    first = distances_of(small_bench, cell)

    def none(*_: object) -> None:
        return None

    monkeypatch.setattr(TrainedModel, "embeddings", none)
    assert distances_of(small_bench, cell) == first
    monkeypatch.setattr(analysis, "model_key", lambda *_: "trained anew")
    assert distances_of(small_bench, cell) is None
