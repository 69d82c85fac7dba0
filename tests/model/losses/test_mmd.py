"""MK-MMD: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math
import statistics
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodna.model.losses.kernels import MIN_WIDTH, Bandwidth, gaussian_kernel, heuristic_widths, squared_distances
from emodna.model.losses.mmd import Estimator, mk_mmd, squared_mmd

ESTIMATORS = typing.get_args(Estimator)
BANDWIDTHS = typing.get_args(Bandwidth)
SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 9)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def features(n: int, d: int, seed: int, *, shift: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype) + shift


def oracle_widths(source: Tensor, target: Tensor, kernels: int = 5, bandwidth: str = "mean") -> list[float]:
    rows = [*source.double().tolist(), *target.double().tolist()]
    distances = [math.dist(a, b) ** 2 for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    typical = {
        "mean": sum(distances) / len(distances),
        "mean-with-diagonal": sum(distances) / len(rows) ** 2,
        "median": statistics.median(distances),
    }[bandwidth]
    return [typical * 2.0**k for k in range(-(kernels // 2), kernels // 2 + 1)]


def oracle_kernel(widths: list[float], reduction: str = "mean") -> Callable[[Tensor, Tensor], Tensor]:
    """Return a kernel of two rows: the mean or sum of Gaussians."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        values = torch.stack([torch.exp(-(a - b).square().sum() / width) for width in widths])
        return values.mean() if reduction == "mean" else values.sum()

    return kernel


def oracle_mmd(source: Any, target: Any, kernel: Callable[[Any, Any], Tensor], estimator: str = "biased") -> Tensor:
    """Return Eq. 10 of two sequences as a sum over pairs, differentiable."""

    def mean(x: Any, y: Any, *, diagonal: bool = True) -> Tensor:
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if diagonal or i != j]
        return torch.stack([kernel(x[i], y[j]) for i, j in pairs]).mean()

    if estimator in ("biased", "unbiased"):
        diagonal = estimator == "biased"
        within = mean(source, source, diagonal=diagonal) + mean(target, target, diagonal=diagonal)
        return within - 2 * mean(source, target)
    n = len(source)
    assert len(target) == n
    pairs = [(i, (i + 1) % n) for i in range(n)]
    terms = []
    for i, j in pairs if estimator == "linear-ring" else pairs[: n // 2 * 2 : 2]:
        within = kernel(source[i], source[j]) + kernel(target[i], target[j])
        terms.append(within - kernel(source[i], target[j]) - kernel(source[j], target[i]))
    return torch.stack(terms).mean()


def mmd_at(joint: Tensor, n_source: int, widths: Tensor, estimator: Any = "biased") -> Tensor:
    """Return the squared MMD of a joint sample for kernels of given widths."""
    return squared_mmd(gaussian_kernel(squared_distances(joint, joint), widths), n_source, estimator=estimator)


class TestGoldenValues:
    @pytest.mark.parametrize(
        ("estimator", "of_identical", "of_shifted"),
        [
            ("biased", 0.0, 1.165562),
            ("unbiased", -0.632121, 0.533442),
            ("linear-ring", 0.0, 0.367756),
            ("linear-pairs", 0.0, 0.367756),
        ],
    )
    def test_unit_width(self, estimator: str, of_identical: float, of_shifted: float) -> None:
        for target, expected in ((column(0, 1), of_identical), (column(2, 3), of_shifted)):
            joint = torch.cat((column(0, 1), target))
            value = mmd_at(joint, 2, torch.ones(1, dtype=torch.float64), estimator=estimator)
            assert value.item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(("bandwidth", "typical"), [("mean", 10 / 3), ("mean-with-diagonal", 2.5), ("median", 2.5)])
    def test_widths(self, bandwidth: Any, typical: float) -> None:
        joint = column(0, 1, 2, 3)
        widths = heuristic_widths(squared_distances(joint, joint), bandwidth=bandwidth)
        torch.testing.assert_close(widths, typical * torch.tensor([0.25, 0.5, 1, 2, 4], dtype=torch.float64))

    def test_33_widths_of_ratio_root_2_reach_from_2_to_the_minus_8_to_2_to_the_8(self) -> None:
        joint = column(0, 1, 2, 3)
        widths = heuristic_widths(squared_distances(joint, joint), 33, bandwidth="median", ratio=math.sqrt(2))
        assert widths[[0, 16, 32]].tolist() == pytest.approx([2.5 / 256, 2.5, 2.5 * 256])
        assert (widths[1:] / widths[:-1]).tolist() == pytest.approx([math.sqrt(2)] * 32)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, 0.915959),
            ({"reduction": "sum"}, 4.579796),
            # As in TLlib.
            ({"estimator": "unbiased", "reduction": "sum", "bandwidth": "mean-with-diagonal"}, 2.903732),
        ],
    )
    def test_five_kernels(self, options: dict[str, Any], expected: float) -> None:
        assert mk_mmd(column(0, 1), column(2, 3), **options).item() == pytest.approx(expected, abs=1e-6)


class TestOracle:
    @pytest.mark.parametrize(("n", "m", "d", "kernels"), [(4, 4, 3, 5), (1, 6, 1, 3), (1, 1, 2, 1)])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
    def test_value_and_gradient(
        self, n: int, m: int, d: int, kernels: int, dtype: torch.dtype, tolerance: float
    ) -> None:
        source = features(n, d, 0).to(dtype).requires_grad_()
        target = features(m, d, 1, shift=0.7).to(dtype).requires_grad_()
        value = mk_mmd(source, target, kernels=kernels)
        gradients = torch.autograd.grad(value, (source, target))
        assert value.dtype == dtype

        wide_source, wide_target = (x.detach().double().requires_grad_() for x in (source, target))
        # The oracle's widths are constants, so the gradients agree only if the loss detaches its widths.
        expected = oracle_mmd(wide_source, wide_target, oracle_kernel(oracle_widths(wide_source, wide_target, kernels)))
        expected_gradients = torch.autograd.grad(expected, (wide_source, wide_target))
        assert value.item() == pytest.approx(expected.item(), abs=tolerance)
        for actual, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(actual.double(), wanted, rtol=0, atol=tolerance)

    @pytest.mark.parametrize(
        ("estimator", "n", "m"),
        [("biased", 5, 3), ("unbiased", 5, 3), *((each, n, n) for each in ESTIMATORS[2:] for n in (2, 5))],
    )
    def test_every_estimator_and_bandwidth(self, estimator: Any, n: int, m: int) -> None:
        source, target = features(n, 3, 0).requires_grad_(), features(m, 3, 1, shift=0.7).requires_grad_()
        for bandwidth in BANDWIDTHS:
            value = mk_mmd(source, target, estimator=estimator, bandwidth=bandwidth, reduction="sum")
            widths = oracle_widths(source, target, bandwidth=bandwidth)
            expected = oracle_mmd(source, target, oracle_kernel(widths, "sum"), estimator)
            assert value.item() == pytest.approx(expected.item(), abs=1e-12)
            gradients = (torch.autograd.grad(each, (source, target)) for each in (value, expected))
            for actual, wanted in zip(*gradients, strict=True):
                torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)

    def test_squared_distances_far_from_the_origin(self) -> None:
        x = features(16, 8, 0, shift=1e4, dtype=torch.float32)
        expected = (x.double()[:, None] - x.double()).square().sum(-1)
        torch.testing.assert_close(squared_distances(x, x).double(), expected, rtol=1e-5, atol=1e-5)

    def test_squared_distances_are_never_negative(self) -> None:
        # Near duplicates far from the origin, for which |x|^2 + |y|^2 - 2 x.y is only rounding error.
        x = torch.cat((torch.zeros(1, 8), 100 + 1e-5 * features(31, 8, 0, dtype=torch.float32)))
        assert (squared_distances(x, x) >= 0).all()


class TestInvariants:
    @given(n=SIZES, m=SIZES, d=SIZES, seed=SEEDS)
    def test_transformations_of_the_joint_sample_do_not_change_the_value(
        self, n: int, m: int, d: int, seed: int
    ) -> None:
        source, target = features(n, d, seed), features(m, d, seed + 1, shift=0.5)
        value = mk_mmd(source, target)
        turn, offset = torch.linalg.qr(features(d, d, seed + 2)).Q, 10 * features(1, d, seed + 3)
        moved = {
            "symmetry": mk_mmd(target, source),
            "translation": mk_mmd(source + offset, target + offset),
            "rotation": mk_mmd(source @ turn, target @ turn),
            "scaling": mk_mmd(300 * source, 300 * target),
            "permutation": mk_mmd(source.flip(0), target.roll(1, 0)),
        }
        for name, other in moved.items():
            assert other.item() == pytest.approx(value.item(), abs=1e-10), name

    @given(n=SIZES, m=SIZES, d=SIZES, seed=SEEDS)
    def test_range_and_identical_sets(self, n: int, m: int, d: int, seed: int) -> None:
        source = features(n, d, seed)
        assert -1e-12 <= mk_mmd(source, features(m, d, seed + 1)).item() <= 2
        assert mk_mmd(source, source.roll(1, 0)).item() == pytest.approx(0, abs=1e-12)
        assert mk_mmd(source.float(), source.float().roll(1, 0)).item() == pytest.approx(0, abs=1e-6)


DEGENERATE = pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param(torch.zeros(4, 3), torch.zeros(4, 3), id="all zero"),
        pytest.param(torch.full((4, 3), 0.1), torch.full((5, 3), 0.1), id="all equal"),
        pytest.param(torch.full((4, 3), 1e12 / 3), torch.full((4, 3), 1e12 / 3), id="all equal and huge"),
        pytest.param(torch.zeros(4, 3), torch.ones(4, 3), id="each corpus collapsed"),
        pytest.param(torch.zeros(1, 3), torch.zeros(1, 3), id="one sample each"),
        pytest.param(torch.eye(4) * 1e-30, torch.eye(4).flip(0) * 1e-30, id="tiny"),
        pytest.param(torch.eye(4) * 1e18, -torch.eye(4) * 1e18, id="huge"),
        pytest.param(torch.eye(4), torch.eye(4) * 1e15, id="one corpus huge"),
        pytest.param(torch.ones(4, 0), torch.ones(4, 0), id="no feature"),
    ],
)


@DEGENERATE
def test_degenerate_batches_are_finite(source: Tensor, target: Tensor) -> None:
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    for estimator in ESTIMATORS:
        for bandwidth in BANDWIDTHS:
            if estimator != "biased" and (len(source) < 2 or len(source) != len(target)):
                continue
            value = mk_mmd(source, target, estimator=estimator, bandwidth=bandwidth)
            gradients = torch.autograd.grad(value, (source, target))
            assert (-1e-6 if estimator == "biased" else -2) <= value.item() <= 2
            assert all(gradient.isfinite().all() for gradient in gradients)


def test_collapsed_features_have_the_smallest_width_and_a_value_of_0() -> None:
    same = torch.full((6, 3), 0.1)
    distances = squared_distances(same, same)
    assert (heuristic_widths(distances) == MIN_WIDTH).all()
    assert mk_mmd(same, same).item() == pytest.approx(0, abs=1e-6)


def test_huge_features_do_not_overflow() -> None:
    # 128 samples: the sum of the distances overflows float32, their mean does not.
    near, far = mk_mmd(torch.eye(64), -torch.eye(64)), mk_mmd(1e18 * torch.eye(64), -1e18 * torch.eye(64))
    torch.testing.assert_close(near, far)
