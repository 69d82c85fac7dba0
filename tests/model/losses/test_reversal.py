"""Gradient reversal and its schedule: golden values."""

import pytest
import torch

from emodna.model.losses.adversarial import ganin_weight, reverse_gradient


@pytest.mark.parametrize(("p", "weight"), [(0.0, 0.0), (0.1, 0.46212), (0.25, 0.84828), (0.5, 0.98661), (1.0, 0.99991)])
def test_schedule(p: float, weight: float) -> None:
    assert ganin_weight(torch.tensor(p)).item() == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize(("weight", "gradient"), [(0.5, -1.5), (0.0, 0.0), (1.0, -3.0)])
def test_reverses_the_gradient_and_nothing_else(weight: float, gradient: float) -> None:
    x = torch.tensor([2.0, -7.0], requires_grad=True)
    passed = reverse_gradient(x, torch.tensor(weight))
    assert torch.equal(passed, x)
    (3 * passed).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [gradient, gradient]


def test_what_lies_behind_learns_all_the_same() -> None:
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    (w * reverse_gradient(x, torch.tensor(0.0))).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_minus_lambda_times_the_finite_difference(dtype: torch.dtype) -> None:
    x = torch.tensor([0.3, -1.2], dtype=dtype, requires_grad=True)
    loss = reverse_gradient(x, torch.tensor(0.7, dtype=dtype)).pow(3).sum()
    loss.backward()
    torch.testing.assert_close(x.grad, -0.7 * 3 * x.detach().square())
