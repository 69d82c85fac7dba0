"""Center loss against a loop; spectral norm against the SVD in float64, near ties and degenerate batches."""

import pytest
import torch
from torch import Tensor

from emodna.model.losses.regularizers import center_loss, squared_spectral_norm

#: Labels of two and of four classes.
LABELS, OF_FOUR = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0, 3, 1, 2, 3])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestCenterLoss:
    @pytest.mark.parametrize(("labels", "classes"), [(LABELS, 2), (OF_FOUR, 4)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_equals_a_loop(self, dtype: torch.dtype, labels: Tensor, classes: int) -> None:
        features, centers = noise(5, 3).to(dtype), noise(classes, 3, seed=1).to(dtype)
        total = 0.0
        for row, label in zip(features.tolist(), labels.tolist(), strict=True):
            total += sum((x - c) ** 2 for x, c in zip(row, centers[label].tolist(), strict=True))
        torch.testing.assert_close(center_loss(features, labels, centers), torch.tensor(total / 2 / 5, dtype=dtype))
        assert center_loss(centers[labels], labels, centers).item() == 0

    @pytest.mark.parametrize("labels", [LABELS, torch.ones(5, dtype=torch.int64)], ids=["both", "one class"])
    def test_gradient_moves_centers_to_the_mean_of_their_class(self, labels: Tensor) -> None:
        features, centers = noise(5, 3), noise(2, 3, seed=1).requires_grad_()
        center_loss(features, labels, centers).backward()
        assert centers.grad is not None
        for label in (0, 1):
            own = features[label == labels]
            expected = (centers[label].detach() - own).sum(0) / 5
            torch.testing.assert_close(centers.grad[label], expected)


def make_matrix(singular_values: list[float], n: int, d: int, seed: int = 0) -> Tensor:
    """Return an n x d matrix with these singular values."""
    left, right = (torch.linalg.qr(noise(size, size, seed=seed + k)).Q for k, size in enumerate((n, d)))
    rank = len(singular_values)
    return left[:, :rank] @ torch.diag(torch.tensor(singular_values, dtype=torch.float64)) @ right[:rank]


def differentiate(matrix: Tensor) -> tuple[Tensor, Tensor]:
    matrix = matrix.detach().clone().requires_grad_()
    value = squared_spectral_norm(matrix)
    (gradient,) = torch.autograd.grad(value, matrix)
    return value.detach(), gradient


class TestSpectralNorm:
    def test_golden_value_and_gradient(self) -> None:
        value, gradient = differentiate(torch.diag(torch.tensor([3.0, 4.0])))
        assert value.item() == 16
        assert gradient.tolist() == [[0, 0], [0, 8]]

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 3), (8, 64), (64, 8)])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
    def test_equals_the_svd(self, shape: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
        for shift in (0.0, 2.0):
            matrix = (noise(*shape) + shift).to(dtype)
            left, singular, right = torch.linalg.svd(matrix.double(), full_matrices=False)
            value, gradient = differentiate(matrix)
            assert value.item() == pytest.approx(singular[0].item() ** 2, rel=tolerance)
            expected = 2 * singular[0] * torch.outer(left[:, 0], right[0])
            difference = (gradient.double() - expected).abs().max().item()
            assert difference <= tolerance * 10 * expected.norm().item()

    @pytest.mark.parametrize("gap", [0.1, 1e-2, 1e-4, 1e-6, 0.0])
    def test_is_exact_for_any_gap_to_the_second_singular_value(self, gap: float) -> None:
        matrix = make_matrix([5.0, 5.0 * (1 - gap), 5.0 * (1 - 3 * gap), 1.0], 16, 12)
        exact = torch.linalg.svdvals(matrix.float().double())[0].item() ** 2
        assert differentiate(matrix.float())[0].item() == pytest.approx(exact, rel=1e-6)
        if gap >= 1e-4:
            left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
            expected = 2 * singular[0] * torch.outer(left[:, 0], right[0])
            torch.testing.assert_close(differentiate(matrix)[1], expected, rtol=0, atol=1e-8)

    def test_gradient_equals_finite_differences(self) -> None:
        assert torch.autograd.gradcheck(squared_spectral_norm, (noise(3, 5).requires_grad_(),))

    @pytest.mark.parametrize("scale", [0, 1e-30, 1e-12, 1, 1e15])
    @pytest.mark.parametrize("case", ["equal rows", "equal entries", "repeated", "random", "one column"])
    def test_degenerate_batches_are_finite(self, case: str, scale: float) -> None:
        matrix = {
            "equal rows": noise(1, 8).repeat(8, 1),
            "equal entries": torch.ones(8, 8),
            "repeated": torch.eye(8),
            "random": noise(8, 6),
            "one column": noise(6, 1),
        }[case]
        value, gradient = differentiate((matrix * scale).float())
        assert value.isfinite()
        assert gradient.isfinite().all()
        exact = torch.linalg.matrix_norm(matrix.double(), ord=2).item() ** 2
        # The smallest squares underflow in float32, as in every loss.
        assert value.item() == pytest.approx(exact * scale**2, rel=1e-5, abs=1e-37)
        # The gradient has the right norm even if the singular vectors are not unique.
        assert gradient.double().norm().item() == pytest.approx(2 * exact**0.5 * scale, rel=1e-4, abs=1e-37)

    def test_nan_propagates(self) -> None:
        matrix = noise(4, 3)
        matrix[1, 2] = torch.nan
        assert squared_spectral_norm(matrix).isnan()
