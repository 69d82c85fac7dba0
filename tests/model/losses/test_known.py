"""Cross-entropy of known labels, against a loop."""

import math

import pytest
import torch

from emodna.model.losses.adversarial import cross_entropy_of_known


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [[0, 2, 1, 1], [-1, 2, -1, 0], [-1, -1, 1, -1]], ids=str)
def test_is_the_mean_over_the_known(labels: list[int], dtype: torch.dtype) -> None:
    logits = 3 * torch.randn(4, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    terms = [
        math.log(sum(map(math.exp, row))) - row[label]
        for row, label in zip(logits.tolist(), labels, strict=True)
        if label >= 0
    ]
    found = cross_entropy_of_known(logits, torch.tensor(labels))
    torch.testing.assert_close(found, torch.tensor(sum(terms) / len(terms), dtype=dtype))


def test_of_none_known_is_0_with_a_gradient_of_0() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = cross_entropy_of_known(logits, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_unknown_rows_have_no_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    cross_entropy_of_known(logits, torch.tensor([1, -1, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.any(1).tolist() == [True, False, True]


@pytest.mark.parametrize("labels", [[0, 1, 2], [-1, 1, -1]], ids=str)
def test_gradient_is_that_of_finite_differences(labels: list[int]) -> None:
    logits = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy_of_known(x, torch.tensor(labels)), logits)
