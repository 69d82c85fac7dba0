"""Adversarial losses: golden values, loop oracles, optima, weights, gradients and saturated logits."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.losses.adversarial import (
    domain_loss,
    dual_reward,
    ganin_weight,
    known_cross_entropy,
    reverse_gradient,
    reward,
)


def logits(n: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(n: int, seed: int = 0) -> Tensor:
    return 1 + torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestReversal:
    def test_golden_schedule(self) -> None:
        weights = ganin_weight(torch.tensor([0.0, 0.1, 0.25, 0.5, 1.0])).tolist()
        assert weights == pytest.approx([0.0, 0.46212, 0.84828, 0.98661, 0.99991], abs=1e-5)

    @pytest.mark.parametrize("weight", [0.0, 0.7])
    def test_only_the_gradient_is_reversed(self, weight: float) -> None:
        x = torch.tensor([2.0, -7.0], requires_grad=True)
        factor = torch.ones(2, requires_grad=True)
        output = reverse_gradient(x, torch.tensor(weight))
        assert torch.equal(output, x)
        (factor * output.pow(3)).sum().backward()
        torch.testing.assert_close(x.grad, -weight * 3 * x.detach().square())
        torch.testing.assert_close(factor.grad, x.detach().pow(3))


def domain_oracle(source: Tensor, target: Tensor, source_weights: Tensor, target_weights: Tensor) -> float:
    """Return the loss from probabilities, sample by sample. Source is 1, target is 0."""

    def mean(rows: Tensor, weights: Tensor, label: int) -> float:
        probabilities = [1 / (1 + math.exp(-z)) for z in rows.tolist()]
        losses = [-math.log(p if label else 1 - p) for p in probabilities]
        return sum(w * loss for w, loss in zip(weights.tolist(), losses, strict=True)) / weights.sum().item()

    return (mean(source, source_weights, 1) + mean(target, target_weights, 0)) / 2


class TestDomainLoss:
    def test_golden_values(self) -> None:
        assert domain_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(0.693147, abs=1e-6)
        z = torch.tensor([math.log(3)])
        assert domain_loss(z, z).item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, abs=1e-6)
        large = torch.tensor([30.0])  # positive means source
        assert domain_loss(large, -large).item() == pytest.approx(0, abs=1e-9)
        assert domain_loss(-large, large).item() == pytest.approx(30)

    def test_golden_weights(self) -> None:
        source, target = logits(2), logits(2, 1)
        entropies = torch.tensor([2.0, 1.5], dtype=torch.float64)
        value = domain_loss(source, target, entropies, entropies).item()
        counts = torch.tensor([1.142857, 0.857143], dtype=torch.float64)
        expected = (counts * (F.softplus(-source) + F.softplus(target))).mean() / 2
        assert value == pytest.approx(expected.item(), abs=1e-6)

    @pytest.mark.parametrize("sizes", [(4, 4), (7, 3), (1, 1)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_equals_a_loop(self, sizes: tuple[int, int], weighted: bool) -> None:
        n, m = sizes
        source, target, both_weights = logits(n), logits(m, 1), (weights(n), weights(m, 1))
        optional = both_weights if weighted else ()
        expected = domain_oracle(source, target, *(optional or map(torch.ones_like, both_weights)))
        assert domain_loss(source, target, *optional).item() == pytest.approx(expected, rel=1e-6)
        inputs = source.requires_grad_(), target.requires_grad_()
        assert torch.autograd.gradcheck(lambda s, t: domain_loss(s, t, *optional), inputs)

    def test_weights_are_detached_and_only_their_ratios_matter(self) -> None:
        source, target, own = logits(4).requires_grad_(), logits(3, 1), weights(4).requires_grad_()
        once = domain_loss(source, target, own, weights(3, 1))
        torch.testing.assert_close(domain_loss(source, target, 5 * own, 0.1 * weights(3, 1)), once)
        torch.testing.assert_close(domain_loss(source, target, torch.full((4,), 2.0)), domain_loss(source, target))
        once.backward()
        assert own.grad is None
        assert source.grad is not None

    @pytest.mark.parametrize("size", [1e2, 1e30])
    def test_saturated_logits_keep_their_gradient(self, size: float) -> None:
        source = torch.tensor([-size, size], requires_grad=True)
        target = torch.tensor([size, -size], requires_grad=True)
        value = domain_loss(source, target)
        value.backward()
        assert value.isfinite()
        assert source.grad is not None
        assert target.grad is not None
        assert source.grad.tolist() == pytest.approx([-0.25, 0])
        assert target.grad.tolist() == pytest.approx([0.25, 0])


class TestKnownCrossEntropy:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("labels", [[0, 2, 1, 1], [-1, 2, -1, 0], [-1, -1, 1, -1]], ids=str)
    def test_equals_the_mean_over_known_labels(self, labels: list[int], dtype: torch.dtype) -> None:
        drawn = 3 * torch.randn(4, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
        terms = [
            math.log(sum(map(math.exp, row))) - row[label]
            for row, label in zip(drawn.tolist(), labels, strict=True)
            if label >= 0
        ]
        loss = known_cross_entropy(drawn.requires_grad_(), torch.tensor(labels))
        torch.testing.assert_close(loss, torch.tensor(sum(terms) / len(terms), dtype=dtype))
        loss.backward()
        assert drawn.grad is not None
        assert drawn.grad.any(1).tolist() == [label >= 0 for label in labels]

    def test_loss_and_gradient_are_0_without_known_labels(self) -> None:
        drawn = torch.randn(3, 2, requires_grad=True)
        loss = known_cross_entropy(drawn, torch.full((3,), -1))
        loss.backward()
        assert loss.item() == 0
        assert drawn.grad is not None
        assert torch.equal(drawn.grad, torch.zeros(3, 2))


def draw_game() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits of D1 and D2 for 5 source and 4 target samples: D1's of both, then D2's of both."""
    d1_s, d1_t, d2_s, d2_t = (logits(rows, seed)[:, None] / 3 for seed, rows in enumerate((5, 4, 5, 4)))
    return d1_s, d1_t, d2_s, d2_t


def j_oracle(outputs: tuple[Tensor, ...], alpha: float, beta: float) -> float:
    """Return J of four logits, sample by sample."""
    d1_s, d1_t, d2_s, d2_t = ([math.log1p(math.exp(x)) for x in each.flatten().tolist()] for each in outputs)
    value = sum(alpha * math.log(d) for d in d1_s) / len(d1_s) - sum(d1_t) / len(d1_t)
    return value - sum(d2_s) / len(d2_s) + sum(beta * math.log(d) for d in d2_t) / len(d2_t)


class TestDualReward:
    def test_golden_values(self) -> None:
        ones, zeros = torch.full((3, 1), math.log(math.e - 1)), torch.zeros(2, 1)  # D = 1, D = ln 2
        assert dual_reward(ones, ones, ones, ones).item() == pytest.approx(-2, abs=1e-5)
        assert reward(ones, ones, 0.5).item() == pytest.approx(-1, abs=1e-5)
        expected = 2 * (math.log(math.log(2)) - math.log(2))
        assert dual_reward(zeros, zeros, zeros, zeros).item() == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 0.2)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_equals_a_loop(self, alpha: float, beta: float, dtype: torch.dtype) -> None:
        d1_s, d1_t, d2_s, d2_t = (each.to(dtype) for each in draw_game())
        value = dual_reward(d1_s, d1_t, d2_s, d2_t, alpha=alpha, beta=beta)
        assert value.item() == pytest.approx(j_oracle(draw_game(), alpha, beta), rel=1e-5, abs=1e-5)
        inputs = tuple(each.requires_grad_() for each in draw_game())
        assert torch.autograd.gradcheck(lambda *rows: dual_reward(*rows, alpha=alpha, beta=beta), inputs)

    @pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0)])
    @pytest.mark.parametrize("target", [(2, 3, 5), (5, 3, 2)], ids=["other", "same"])
    def test_optimal_discriminators_are_ratios_of_densities(self, target: Any, alpha: float, beta: float) -> None:
        # Number of samples of each of three values, by corpus.
        numbers = torch.tensor([5, 3, 2]), torch.tensor(target)
        own, others = (torch.arange(3).repeat_interleave(each) for each in numbers)
        table = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([table], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss() -> Tensor:
            optimizer.zero_grad()
            (d1, d2) = table
            value = -dual_reward(d1[own], d1[others], d2[own], d2[others], alpha=alpha, beta=beta)
            value.backward()
            return value

        optimizer.step(loss)  # type: ignore[arg-type]
        p, q = (each.double() / 10 for each in numbers)
        best = torch.stack([alpha * p / q, beta * q / p])
        torch.testing.assert_close(F.softplus(table.detach()), best, rtol=1e-4, atol=1e-4)
        divergences = alpha * (p * (p / q).log()).sum() + beta * (q * (q / p).log()).sum()
        constants = alpha * (math.log(alpha) - 1) + beta * (math.log(beta) - 1)
        assert -loss().item() == pytest.approx(divergences.item() + constants, abs=1e-4)

    @pytest.mark.parametrize("of_favoured", [-1e30, -20.0, 0.0, 20.0, 1e30])
    def test_large_logits_are_bounded(self, of_favoured: float) -> None:
        for of_other in (-1e30, -20.0, 0.0, 20.0, 1e30):
            inputs = [torch.full((2, 1), x, requires_grad=True) for x in (of_favoured, of_other)]
            value = reward(inputs[0], inputs[1], 0.5)
            assert -0.5 * 10 - 10.001 <= value.item() <= 0.5 * math.log(10.001)
            for x, gradient in zip(inputs, torch.autograd.grad(value, inputs), strict=True):
                assert gradient.isfinite().all()
                assert gradient.any() == (abs(x[0].item()) <= 10)
