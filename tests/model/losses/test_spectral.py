"""The largest singular value: golden values, float64's SVD as an oracle, near ties and degenerate batches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses.regularizers import squared_spectral_norm

SHAPES = [(1, 1), (1, 7), (7, 1), (3, 3), (8, 64), (64, 64), (64, 8)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_singular_values(values: list[float], n: int, d: int, seed: int = 0) -> Tensor:
    """An n x d matrix that has them."""
    left, right = (torch.linalg.qr(noise(size, size, seed=seed + k)).Q for k, size in enumerate((n, d)))
    return left[:, : len(values)] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right[: len(values)]


def value_and_gradient(matrix: Tensor) -> tuple[Tensor, Tensor]:
    matrix = matrix.detach().clone().requires_grad_()
    value = squared_spectral_norm(matrix)
    (gradient,) = torch.autograd.grad(value, matrix)
    return value.detach(), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_value_and_gradient(dtype: torch.dtype) -> None:
    value, gradient = value_and_gradient(torch.diag(torch.tensor([3.0, 4.0], dtype=dtype)))
    assert value.dtype == dtype
    assert value.item() == 16
    assert gradient.tolist() == [[0, 0], [0, 8]]


class TestOracle:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("shift", [0.0, 2.0])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
    def test_value_and_gradient(
        self, shape: tuple[int, int], shift: float, dtype: torch.dtype, tolerance: float
    ) -> None:
        matrix = (noise(*shape) + shift).to(dtype)
        left, singular, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        value, gradient = value_and_gradient(matrix)
        assert value.item() == pytest.approx(singular[0].item() ** 2, rel=tolerance)
        expected = 2 * singular[0] * torch.outer(left[:, 0], right[0])
        torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=tolerance * 10 * expected.norm().item())

    @pytest.mark.parametrize("gap", [0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 0.0])
    def test_value_is_exact_whatever_the_gap(self, gap: float) -> None:
        for seed in range(5):
            matrix = of_singular_values([5.0, 5.0 * (1 - gap), 5.0 * (1 - 3 * gap), 1.0], 16, 12, seed).float()
            exact = torch.linalg.svdvals(matrix.double())[0].item() ** 2
            assert value_and_gradient(matrix)[0].item() == pytest.approx(exact, rel=1e-6)

    @pytest.mark.parametrize("gap", [0.1, 1e-2, 1e-4])
    def test_gradient_is_exact_at_small_gaps(self, gap: float) -> None:
        matrix = of_singular_values([5.0, 5.0 * (1 - gap), 1.0], 9, 6)
        left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
        expected = 2 * singular[0] * torch.outer(left[:, 0], right[0])
        torch.testing.assert_close(value_and_gradient(matrix)[1], expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4)])
    def test_finite_differences(self, shape: tuple[int, int]) -> None:
        assert torch.autograd.gradcheck(squared_spectral_norm, (noise(*shape).requires_grad_(),))


class TestInvariants:
    @given(n=st.integers(1, 9), d=st.integers(1, 9), seed=st.integers(0, 2**31))
    @settings(max_examples=40)
    def test_of_a_norm(self, n: int, d: int, seed: int) -> None:
        matrix = noise(n, d, seed=seed)
        value = squared_spectral_norm(matrix).item()
        turns = [torch.linalg.qr(noise(size, size, seed=seed + 1)).Q for size in (n, d)]
        assert squared_spectral_norm(turns[0] @ matrix @ turns[1]).item() == pytest.approx(value, rel=1e-9)
        assert squared_spectral_norm(matrix.T).item() == pytest.approx(value, rel=1e-9)
        assert squared_spectral_norm(-3 * matrix).item() == pytest.approx(9 * value, rel=1e-9)
        total = matrix.square().sum().item()
        assert total / min(n, d) * (1 - 1e-9) <= value <= total * (1 + 1e-9)

    def test_of_non_negative_features_is_about_their_mean(self) -> None:
        features = 0.3 * noise(64, 16).abs() + 1
        of_mean = 64 * features.mean(0).square().sum().item()
        assert squared_spectral_norm(features).item() == pytest.approx(of_mean, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0, 1e-30, 1e-12, 1, 1e15])
@pytest.mark.parametrize("case", ["equal rows", "equal entries", "repeated", "random", "one row", "one column"])
def test_degenerate_batches_are_finite(case: str, scale: float, dtype: torch.dtype) -> None:
    matrix = {
        "equal rows": noise(1, 8).repeat(8, 1),
        "equal entries": torch.ones(8, 8),
        "repeated": torch.eye(8),
        "random": noise(8, 6),
        "one row": noise(1, 6),
        "one column": noise(6, 1),
    }[case]
    value, gradient = value_and_gradient((matrix * scale).to(dtype))
    assert value.isfinite()
    assert gradient.isfinite().all()
    exact = torch.linalg.matrix_norm(matrix.double(), ord=2).item() ** 2
    # The smallest squares fall below the range of float32, as they do in every loss.
    assert value.item() == pytest.approx(exact * scale**2, rel=1e-5, abs=1e-37)
    # Also where the singular vectors are not unique, the gradient is a step down from where we are.
    assert gradient.double().norm().item() == pytest.approx(2 * exact**0.5 * scale, rel=1e-4, abs=1e-37)


def test_what_is_not_finite_stays_visible() -> None:
    matrix = noise(4, 3)
    matrix[1, 2] = torch.nan
    assert squared_spectral_norm(matrix).isnan()


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        matrix = noise(6, 4).to(dtype)
        value = squared_spectral_norm(matrix)
        assert value.dtype == torch.float32
        assert torch.equal(value, squared_spectral_norm(matrix.float()))

    def test_autocast_is_off_inside(self) -> None:
        matrix = noise(6, 4).float()
        expected = squared_spectral_norm(matrix)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(squared_spectral_norm(matrix), expected)


def test_no_host_synchronisation() -> None:
    # Fake tensors hold no data, so a decomposition that looked at its success would raise.
    with FakeTensorMode():
        matrix = torch.randn(5, 3, requires_grad=True)
        torch.autograd.grad(squared_spectral_norm(matrix), matrix)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 2, 2)])
def test_shapes_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must have shape \(n, d\) with n, d >= 1"):
        squared_spectral_norm(torch.ones(shape))
