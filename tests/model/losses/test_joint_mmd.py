"""Joint MMD: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from emodna.model.losses import kernels
from emodna.model.losses.joint_mmd import PROBABILITY_WIDTH, LayerOutputs, joint_mmd
from emodna.model.losses.mmd import mk_mmd
from tests.model.losses.test_mmd import (
    BANDWIDTHS,
    DEGENERATE,
    ESTIMATORS,
    column,
    features,
    oracle_kernel,
    oracle_mmd,
    oracle_widths,
)


def layers(n: int, d: int, seed: int, *, shift: float = 0.0, classes: int = 2) -> LayerOutputs:
    """Return random features, and probabilities of classes of which the target has more of the last."""
    logits = features(n, classes, seed + 1000, shift=0.0) * 2
    logits[:, -1] += shift
    return LayerOutputs(features(n, d, seed, shift=shift), logits.softmax(1))


def one_hot(*labels: int, classes: int = 2) -> Tensor:
    return torch.eye(classes, dtype=torch.float64)[list(labels)]


def oracle(
    source: Any, target: Any, probability_width: float, estimator: str, reduction: str, bandwidth: str
) -> Tensor:
    """Return the joint MMD as a sum over pairs of products of kernels with constant widths."""
    widths = oracle_widths(source.features, target.features, bandwidth=bandwidth)
    of_features, of_probabilities = oracle_kernel(widths, reduction), oracle_kernel([probability_width])

    def kernel(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        return of_features(a[0], b[0]) * of_probabilities(a[1], b[1])

    of_source, of_target = (list(zip(*each, strict=True)) for each in (source, target))
    return oracle_mmd(of_source, of_target, kernel, estimator)


class TestGoldenValues:
    """Features {0, 1} against {0, 1} or {2, 3}."""

    @staticmethod
    def value(target: Tensor, of_source: Tensor, of_target: Tensor) -> float:
        return joint_mmd(LayerOutputs(column(0, 1), of_source), LayerOutputs(target, of_target)).item()

    def test_one_kernel_of_width_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "heuristic_widths", lambda distances, *_, **__: distances.new_ones(1))
        for k in (2, 4):  # with certain predictions, only their equality counts
            constant, first, second = (
                torch.full((2, k), 1 / k),
                one_hot(0, k - 1, classes=k),
                one_hot(k - 1, 0, classes=k),
            )
            assert self.value(column(2, 3), constant, constant) == pytest.approx(1.165562, abs=1e-6)
            assert self.value(column(0, 1), first, second) == pytest.approx(0.438170, abs=1e-6)
            assert self.value(column(2, 3), first, second) == pytest.approx(0.923254, abs=1e-6)

    def test_five_kernels_and_opposite_predictions(self) -> None:
        # The features agree, so only the cross term differs, by the factor of the probabilities. Eight of twelve pairs
        # of different rows are 1 apart, so the middle width is 2/3.
        value = self.value(column(0, 1), one_hot(1, 1), one_hot(0, 0))
        other = sum(math.exp(-3 / 2 / ratio) for ratio in (0.25, 0.5, 1, 2, 4)) / 5
        assert value == pytest.approx(2 * (1 + other) / 2 * (1 - math.exp(-2 / PROBABILITY_WIDTH)), abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("dtype", "tolerance", "classes"), [(torch.float32, 2e-6, 2), (torch.float64, 1e-12, 2), (torch.float64, 1e-12, 4)]
)
def test_value_and_gradient_equal_the_oracle(
    estimator: Any, dtype: torch.dtype, tolerance: float, classes: int
) -> None:
    n, m = (5, 5) if estimator.startswith("linear") else (7, 4)
    source, target = (
        LayerOutputs(*(layer.to(dtype).requires_grad_() for layer in each))
        for each in (layers(n, 3, 0, classes=classes), layers(m, 3, 1, shift=0.7, classes=classes))
    )
    wide = [LayerOutputs(*(layer.detach().double().requires_grad_() for layer in each)) for each in (source, target)]
    for bandwidth, reduction in zip(BANDWIDTHS, ("mean", "sum", "mean"), strict=True):
        options: dict[str, Any] = {"bandwidth": bandwidth, "reduction": reduction}
        value = joint_mmd(source, target, probability_width=1.3, estimator=estimator, **options)
        expected = oracle(wide[0], wide[1], 1.3, estimator, reduction, bandwidth)
        assert value.item() == pytest.approx(expected.item(), abs=5 * tolerance)
        # The probabilities get a gradient too.
        gradients = torch.autograd.grad(value, (*source, *target))
        for actual, wanted in zip(gradients, torch.autograd.grad(expected, (*wide[0], *wide[1])), strict=True):
            assert wanted.any()
            torch.testing.assert_close(actual.double(), wanted, rtol=0, atol=5 * tolerance)


class TestInvariants:
    def test_value_depends_on_the_pairing_of_rows(self) -> None:
        source, target = layers(6, 3, 0), layers(6, 3, 1)
        shuffled = LayerOutputs(source.features, source.probabilities.roll(1, 0))
        assert abs(joint_mmd(shuffled, target).item() - joint_mmd(source, target).item()) > 1e-4

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_constant_probabilities_give_mk_mmd(self, estimator: Any) -> None:
        source, target = features(5, 3, 0), features(5, 3, 1, shift=0.7)
        constant = torch.tensor([[0.3, 0.7]] * 5, dtype=torch.float64)
        of_source, of_target = LayerOutputs(source, constant), LayerOutputs(target, constant)
        value = joint_mmd(of_source, of_target, estimator=estimator, kernels=3)
        torch.testing.assert_close(value, mk_mmd(source, target, estimator=estimator, kernels=3))


@DEGENERATE
@pytest.mark.parametrize("predictions", ["equal", "certain", "opposite"])
def test_degenerate_batches_are_finite(source: Tensor, target: Tensor, predictions: str) -> None:
    logits = [torch.zeros(len(each), 2) for each in (source, target)]
    logits[0][:, 0] = 0 if predictions == "equal" else 1000
    logits[1][:, 1 if predictions == "opposite" else 0] = 0 if predictions == "equal" else 1000
    inputs = [each.clone().requires_grad_() for each in (source, *logits, target)]
    pair = LayerOutputs(inputs[0], inputs[1].softmax(1)), LayerOutputs(inputs[3], inputs[2].softmax(1))
    for estimator in ESTIMATORS:
        if estimator != "biased" and (len(source) < 2 or len(source) != len(target)):
            continue
        value = joint_mmd(*pair, estimator=estimator)
        gradients = torch.autograd.grad(value, inputs, retain_graph=True)
        assert -2 <= value.item() <= 2
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_collapsed_features_leave_the_mmd_of_the_probabilities() -> None:
    same = torch.full((4, 3), 0.1, dtype=torch.float64)
    value = joint_mmd(LayerOutputs(same, one_hot(0, 1, 0, 1)), LayerOutputs(same, one_hot(1, 1, 1, 1)))
    expected = oracle_mmd(one_hot(0, 1, 0, 1), one_hot(1, 1, 1, 1), oracle_kernel([PROBABILITY_WIDTH]))
    torch.testing.assert_close(value, expected)
