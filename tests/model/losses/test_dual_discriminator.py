"""The game of two discriminators: golden values, its optimum, a loop oracle, bounds and gradients."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses.adversarial import dual_reward, reward

#: Logit of D = 1.
ONE = math.log(math.e - 1)


def logits(n: int = 5, m: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of D1 and D2 for n samples of the source and m of the target."""
    generator = torch.Generator().manual_seed(seed)
    d = [torch.randn(rows, 1, generator=generator, dtype=torch.float64) for rows in (n, m, n, m)]
    return d[0], d[1], d[2], d[3]


def oracle(of: tuple[Tensor, ...], alpha: float, beta: float) -> float:
    """J sample by sample."""
    d1_s, d1_t, d2_s, d2_t = ([math.log1p(math.exp(x)) for x in each.flatten().tolist()] for each in of)
    value = sum(alpha * math.log(d) for d in d1_s) / len(d1_s) - sum(d1_t) / len(d1_t)
    return value - sum(d2_s) / len(d2_s) + sum(beta * math.log(d) for d in d2_t) / len(d2_t)


class TestGoldenValues:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_both_discriminators_at_one(self, dtype: torch.dtype) -> None:
        ones = torch.full((3, 1), ONE, dtype=dtype)
        value = dual_reward(ones, ones, ones, ones)
        assert value.dtype == dtype
        assert value.item() == pytest.approx(-2, abs=1e-5)
        assert reward(ones, ones, 0.5).item() == pytest.approx(-1, abs=1e-5)

    def test_logits_of_zero(self) -> None:
        zeros = torch.zeros(2, 1)
        expected = 2 * (math.log(math.log(2)) - math.log(2))
        assert dual_reward(zeros, zeros, zeros, zeros).item() == pytest.approx(expected, abs=1e-5)


class TestOracle:
    @pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 0.2)])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-5)])
    def test_value(self, alpha: float, beta: float, dtype: torch.dtype, tolerance: float) -> None:
        for seed in range(4):
            of = logits(seed=seed)
            d1_s, d1_t, d2_s, d2_t = (each.to(dtype) for each in of)
            value = dual_reward(d1_s, d1_t, d2_s, d2_t, alpha=alpha, beta=beta)
            assert value.dtype == dtype
            assert value.item() == pytest.approx(oracle(of, alpha, beta), rel=tolerance, abs=tolerance)

    def test_finite_differences(self) -> None:
        inputs = tuple(each.requires_grad_() for each in logits())
        assert torch.autograd.gradcheck(lambda *of: dual_reward(*of, alpha=0.5, beta=0.2), inputs)

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 2**31))
    def test_swapping_the_corpora_and_the_discriminators_changes_nothing(self, seed: int) -> None:
        d1_s, d1_t, d2_s, d2_t = logits(seed=seed)
        value = dual_reward(d1_s, d1_t, d2_s, d2_t, alpha=0.3, beta=0.8)
        swapped = dual_reward(d2_t, d2_s, d1_t, d1_s, alpha=0.8, beta=0.3)
        torch.testing.assert_close(swapped, value)


class TestOptimum:
    """Of three values that the source has with p_s, and the target with p_t."""

    SOURCE, TARGET = (5, 3, 2), (2, 3, 5)

    def best(self, p: tuple[int, ...], q: tuple[int, ...], alpha: float, beta: float) -> tuple[Tensor, Tensor, float]:
        """D1 and D2 of the three values where J is largest, and J there."""
        own, others = (torch.arange(3).repeat_interleave(torch.tensor(each)) for each in (p, q))
        table = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([table], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss() -> Tensor:
            optimizer.zero_grad()
            (d1, d2) = table
            lost = -dual_reward(d1[own], d1[others], d2[own], d2[others], alpha=alpha, beta=beta)
            lost.backward()
            return lost

        optimizer.step(loss)  # type: ignore[arg-type]
        d1, d2 = torch.nn.functional.softplus(table.detach())
        return d1, d2, -loss().item()

    @pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0)])
    def test_is_the_ratio_of_the_densities(self, alpha: float, beta: float) -> None:
        d1, d2, value = self.best(self.SOURCE, self.TARGET, alpha, beta)
        p, q = (torch.tensor(each, dtype=torch.float64) / 10 for each in (self.SOURCE, self.TARGET))
        torch.testing.assert_close(d1, alpha * p / q, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(d2, beta * q / p, rtol=1e-4, atol=1e-4)
        divergences = alpha * (p * (p / q).log()).sum() + beta * (q * (q / p).log()).sum()
        constants = alpha * (math.log(alpha) - 1) + beta * (math.log(beta) - 1)
        assert value == pytest.approx(divergences.item() + constants, abs=1e-4)

    def test_of_one_distribution_is_minus_two(self) -> None:
        d1, d2, value = self.best(self.SOURCE, self.SOURCE, 1.0, 1.0)
        torch.testing.assert_close(torch.stack([d1, d2]), torch.ones(2, 3, dtype=torch.float64), rtol=0, atol=1e-4)
        assert value == pytest.approx(-2, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_favoured", [-1e30, -20.0, 0.0, 20.0, 1e30])
@pytest.mark.parametrize("of_other", [-1e30, -20.0, 0.0, 20.0, 1e30])
def test_no_logit_runs_away(of_favoured: float, of_other: float, dtype: torch.dtype) -> None:
    favoured, other = (torch.full((2, 1), x, dtype=dtype, requires_grad=True) for x in (of_favoured, of_other))
    value = reward(favoured, other, 0.5)
    assert -0.5 * 10 - 10.001 <= value.item() <= 0.5 * math.log(10.001)
    for x, gradient in zip((favoured, other), torch.autograd.grad(value, (favoured, other)), strict=True):
        assert gradient.isfinite().all()
        assert gradient.any() == (abs(x[0].item()) <= 10)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_logits(self, dtype: torch.dtype) -> None:
        of = [each.to(dtype) for each in logits()]
        value = dual_reward(of[0], of[1], of[2], of[3])
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, dual_reward(*(each.float() for each in of)))  # type: ignore[call-arg]

    def test_autocast_is_off_inside(self) -> None:
        of: Any = [each.float() for each in logits()]
        expected = dual_reward(*of)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(dual_reward(*of), expected)


def test_no_host_synchronisation() -> None:
    with FakeTensorMode():
        of: Any = [torch.randn(4, 1, requires_grad=True) for _ in range(4)]
        torch.autograd.grad(dual_reward(*of), of)
