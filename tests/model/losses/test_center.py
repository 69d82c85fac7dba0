"""Center loss, against a loop."""

import pytest
import torch

from emodna.model.losses.regularizers import center_loss

LABELS = torch.tensor([0, 1, 1, 0, 1])


def features_and_centers(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, 3, dtype=dtype, generator=generator) for n in (5, 2))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_loop(dtype: torch.dtype) -> None:
    features, centers = features_and_centers(dtype)
    total = 0.0
    for row, label in zip(features.tolist(), LABELS.tolist(), strict=True):
        total += sum((x - c) ** 2 for x, c in zip(row, centers[label].tolist(), strict=True))
    torch.testing.assert_close(center_loss(features, LABELS, centers), torch.tensor(total / 2 / 5, dtype=dtype))


def test_moves_each_center_to_the_mean_of_its_class() -> None:
    features, centers = features_and_centers(torch.float64)
    centers.requires_grad_()
    center_loss(features, LABELS, centers).backward()
    for label in (0, 1):
        own = features[label == LABELS]
        expected = len(own) / 5 * (centers[label].detach() - own.mean(0))
        torch.testing.assert_close(centers.grad[label], expected)  # type: ignore[index]


def test_leaves_the_center_of_a_class_that_is_not_there_alone() -> None:
    features, centers = features_and_centers(torch.float32)
    centers.requires_grad_()
    center_loss(features, torch.ones(5, dtype=torch.int64), centers).backward()
    assert centers.grad is not None
    assert centers.grad.any(1).tolist() == [False, True]


def test_is_0_where_every_feature_is_its_center() -> None:
    _, centers = features_and_centers(torch.float32)
    assert center_loss(centers[LABELS], LABELS, centers).item() == 0


def test_gradient_is_that_of_finite_differences() -> None:
    features, centers = (each.requires_grad_() for each in features_and_centers(torch.float64))
    assert torch.autograd.gradcheck(lambda x, c: center_loss(x, LABELS, c), (features, centers))


@pytest.mark.parametrize(
    "shapes", [((5,), (5,), (2, 3)), ((5, 3), (4,), (2, 3)), ((5, 3), (5,), (2, 4)), ((5, 3), (5,), (3,))], ids=str
)
def test_refuses_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    features, labels, centers = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"must have shapes \(n, d\), \(n,\) and \(classes, d\), got"):
        center_loss(features, labels.long(), centers)
