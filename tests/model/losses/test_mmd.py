"""MK-MMD: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses import gaussian_mmd, mean_heuristic_widths, mk_mmd, squared_distances
from emodna.model.losses.mmd import MIN_WIDTH

SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 9)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def features(n: int, d: int, seed: int, *, shift: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype) + shift


def rotation(d: int, seed: int) -> Tensor:
    orthogonal: Tensor = torch.linalg.qr(features(d, d, seed)).Q
    return orthogonal


def oracle_widths(source: Tensor, target: Tensor, kernels: int = 5) -> list[float]:
    rows = [*source.double().tolist(), *target.double().tolist()]
    distances = [math.dist(a, b) ** 2 for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    mean = sum(distances) / len(distances)
    return [mean * 2.0**k for k in range(-(kernels // 2), kernels // 2 + 1)]


def oracle_mmd(source: Tensor, target: Tensor, widths: list[float]) -> Tensor:
    """Eq. 10 as a sum over pairs, differentiable, the widths being constants."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([torch.exp(-(a - b).square().sum() / width) for width in widths]).mean()

    def mean(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([kernel(a, b) for a in x for b in y]).mean()

    return mean(source, source) + mean(target, target) - 2 * mean(source, target)


def joint_mmd(joint: Tensor, n_source: int, widths: Tensor) -> Tensor:
    return gaussian_mmd(squared_distances(joint, joint), n_source, widths)


class TestGoldenValues:
    @pytest.mark.parametrize(("target", "expected"), [(column(0, 1), 0.0), (column(2, 3), 1.165562)])
    def test_unit_width(self, target: Tensor, expected: float) -> None:
        joint = torch.cat((column(0, 1), target))
        value = joint_mmd(joint, 2, torch.ones(1, dtype=torch.float64))
        assert value.item() == pytest.approx(expected, abs=1e-6)

    def test_mean_distance_leaves_out_the_diagonal(self) -> None:
        joint = column(0, 1, 2, 3)
        widths = mean_heuristic_widths(squared_distances(joint, joint))
        torch.testing.assert_close(widths, 10 / 3 * torch.tensor([0.25, 0.5, 1, 2, 4], dtype=torch.float64))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_five_widths_average_to_the_sum_over_five(self, dtype: torch.dtype) -> None:
        value = mk_mmd(column(0, 1).to(dtype), column(2, 3).to(dtype))
        assert value.dtype == dtype
        assert value.item() == pytest.approx(0.915959, abs=1e-6)
        assert 5 * value.item() == pytest.approx(4.579796, abs=5e-6)


class TestOracle:
    @pytest.mark.parametrize(("n", "m", "d", "kernels"), [(4, 4, 3, 5), (5, 2, 7, 5), (1, 6, 1, 3), (1, 1, 2, 1)])
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
        # The widths are constants to the oracle: its gradient is right only if they are detached in the loss.
        expected = oracle_mmd(wide_source, wide_target, oracle_widths(wide_source, wide_target, kernels))
        expected_gradients = torch.autograd.grad(expected, (wide_source, wide_target))
        assert value.item() == pytest.approx(expected.item(), abs=tolerance)
        for actual, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(actual.double(), wanted, rtol=0, atol=tolerance)

    def test_squared_distances(self) -> None:
        x, y = features(5, 3, 0), features(4, 3, 1)
        expected = torch.tensor([[math.dist(a, b) ** 2 for b in y.tolist()] for a in x.tolist()], dtype=torch.float64)
        torch.testing.assert_close(squared_distances(x, y), expected)

    def test_squared_distances_far_from_the_origin(self) -> None:
        x = features(16, 8, 0, shift=1e4, dtype=torch.float32)
        expected = (x.double()[:, None] - x.double()).square().sum(-1)
        torch.testing.assert_close(squared_distances(x, x).double(), expected, rtol=1e-5, atol=1e-5)

    def test_squared_distances_are_never_negative(self) -> None:
        # Near duplicates far from the rest, where |x|^2 + |y|^2 - 2 x.y is all rounding.
        x = torch.cat((torch.zeros(1, 8), 100 + 1e-5 * features(31, 8, 0, dtype=torch.float32)))
        assert (squared_distances(x, x) >= 0).all()


class TestInvariants:
    @settings(deadline=None, max_examples=40)
    @given(n=SIZES, m=SIZES, d=SIZES, seed=SEEDS)
    def test_moves_of_the_joint_sample(self, n: int, m: int, d: int, seed: int) -> None:
        source, target = features(n, d, seed), features(m, d, seed + 1, shift=0.5)
        value = mk_mmd(source, target)
        turn, offset = rotation(d, seed + 2), 10 * features(1, d, seed + 3)
        moved = {
            "symmetry": mk_mmd(target, source),
            "translation": mk_mmd(source + offset, target + offset),
            "rotation": mk_mmd(source @ turn, target @ turn),
            "scaling": mk_mmd(300 * source, 300 * target),
            "permutation": mk_mmd(source.flip(0), target.roll(1, 0)),
        }
        for name, other in moved.items():
            assert other.item() == pytest.approx(value.item(), abs=1e-10), name

    @settings(deadline=None, max_examples=40)
    @given(n=SIZES, m=SIZES, d=SIZES, seed=SEEDS)
    def test_range(self, n: int, m: int, d: int, seed: int) -> None:
        assert -1e-12 <= mk_mmd(features(n, d, seed), features(m, d, seed + 1)).item() <= 2

    @settings(deadline=None, max_examples=40)
    @given(n=SIZES, d=SIZES, seed=SEEDS)
    def test_identical_sets(self, n: int, d: int, seed: int) -> None:
        source = features(n, d, seed)
        assert mk_mmd(source, source.roll(1, 0)).item() == pytest.approx(0, abs=1e-12)
        assert mk_mmd(source.float(), source.float().roll(1, 0)).item() == pytest.approx(0, abs=1e-6)

    def test_repeating_every_row_of_one_corpus_changes_nothing_for_fixed_widths(self) -> None:
        source, target = features(4, 3, 0), features(6, 3, 1)
        widths = torch.tensor([1.0, 3.0], dtype=torch.float64)
        once = joint_mmd(torch.cat((source, target)), 4, widths)
        twice = joint_mmd(torch.cat((source, source, target)), 8, widths)
        torch.testing.assert_close(once, twice)


class TestGradients:
    @pytest.mark.parametrize("n_source", [1, 3])
    def test_finite_differences_at_fixed_widths(self, n_source: int) -> None:
        joint = features(5, 3, 0).requires_grad_()
        widths = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda x: joint_mmd(x, n_source, widths), (joint,))

    def test_widths_are_detached(self) -> None:
        distances = squared_distances(features(4, 2, 0), features(4, 2, 0)).requires_grad_()
        assert not mean_heuristic_widths(distances).requires_grad

    def test_gradient_descent_brings_the_corpora_together(self) -> None:
        source = features(16, 4, 0, dtype=torch.float32)
        target = features(16, 4, 1, shift=2.0, dtype=torch.float32).requires_grad_()
        first = mk_mmd(source, target)
        (gradient,) = torch.autograd.grad(first, target)
        assert mk_mmd(source, target - gradient).item() < first.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
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
def test_degenerate_batches_are_finite(source: Tensor, target: Tensor, dtype: torch.dtype) -> None:
    source, target = source.to(dtype).requires_grad_(), target.to(dtype).requires_grad_()
    value = mk_mmd(source, target)
    gradients = torch.autograd.grad(value, (source, target))
    assert -1e-6 <= value.item() <= 2
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_collapsed_features_have_the_smallest_width_and_no_discrepancy() -> None:
    same = torch.full((6, 3), 0.1)
    distances = squared_distances(same, same)
    assert (mean_heuristic_widths(distances) == MIN_WIDTH).all()
    assert mk_mmd(same, same).item() == pytest.approx(0, abs=1e-6)


def test_huge_corpora_that_differ_are_told_apart() -> None:
    # 128 samples: the sum of the distances leaves float32, their mean does not.
    near, far = mk_mmd(torch.eye(64), -torch.eye(64)), mk_mmd(1e18 * torch.eye(64), -1e18 * torch.eye(64))
    torch.testing.assert_close(near, far)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_features(self, dtype: torch.dtype) -> None:
        source, target = features(8, 4, 0).to(dtype), features(8, 4, 1, shift=1.0).to(dtype)
        value = mk_mmd(source, target)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, mk_mmd(source.float(), target.float()))

    def test_autocast_is_off_inside(self) -> None:
        source = features(8, 4, 0, dtype=torch.float32)
        target = features(8, 4, 1, shift=1.0, dtype=torch.float32)
        expected = mk_mmd(source, target)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(mk_mmd(source, target), expected)


def test_no_host_synchronisation() -> None:
    # Fake tensors hold no data: .item(), bool() and shapes that depend on values raise.
    with FakeTensorMode():
        source, target = torch.randn(8, 4, requires_grad=True), torch.randn(6, 4)
        torch.autograd.grad(mk_mmd(source, target), source)


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "target"), [((4, 3), (4, 2)), ((4,), (4, 3)), ((4, 3), (2, 4, 3)), ((4,), (4,))]
    )
    def test_shapes(self, source: tuple[int, ...], target: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"must have shapes \(n, d\) and \(m, d\)"):
            mk_mmd(torch.ones(source), torch.ones(target))
        with pytest.raises(ValueError, match=r"expected shapes \(n, d\) and \(m, d\)"):
            squared_distances(torch.ones(source), torch.ones(target))

    @pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 0), (0, 0)])
    def test_empty_sample(self, n: int, m: int) -> None:
        with pytest.raises(ValueError, match=f"one sample or more each, got {n} and {m}"):
            mk_mmd(torch.ones(n, 3), torch.ones(m, 3))

    @pytest.mark.parametrize("kernels", [0, 2, -1])
    def test_number_of_kernels(self, kernels: int) -> None:
        with pytest.raises(ValueError, match=f"odd and positive, got {kernels}"):
            mk_mmd(torch.ones(2, 3), torch.ones(2, 3), kernels=kernels)

    def test_one_sample_has_no_mean_distance(self) -> None:
        with pytest.raises(ValueError, match="two samples or more"):
            mean_heuristic_widths(torch.zeros(1, 1))

    @pytest.mark.parametrize("n_source", [0, 4, 5, -1])
    def test_split(self, n_source: int) -> None:
        with pytest.raises(ValueError, match="one sample or more each"):
            gaussian_mmd(torch.zeros(4, 4), n_source, torch.ones(1))

    def test_distances_and_widths(self) -> None:
        with pytest.raises(ValueError, match=r"distances must have shape \(n, n\)"):
            gaussian_mmd(torch.zeros(4, 3), 2, torch.ones(1))
        for widths in (torch.ones(()), torch.ones(0), torch.ones(2, 2)):
            with pytest.raises(ValueError, match=r"widths must have shape \(m,\)"):
                gaussian_mmd(torch.zeros(4, 4), 2, widths)
