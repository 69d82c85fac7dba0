"""The discriminator's loss: golden values, a loop oracle, weights, gradients and saturated logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses.adversarial import domain_loss

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def logits(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 3 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weights(n: int, seed: int = 0) -> Tensor:
    return 1 + torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def oracle(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> float:
    """By probabilities, sample after sample: source is 1, target is 0."""

    def mean(rows: Tensor, of_rows: Tensor | None, label: int) -> float:
        counts = [1.0] * len(rows) if of_rows is None else of_rows.tolist()
        counts = [each * len(rows) / sum(counts) for each in counts]  # normalised to the number of samples
        probabilities = [1 / (1 + math.exp(-z)) for z in rows.tolist()]
        losses = [-math.log(p if label else 1 - p) for p in probabilities]
        return sum(c * loss for c, loss in zip(counts, losses, strict=True)) / len(rows)

    return (mean(source, source_weights, 1) + mean(target, target_weights, 0)) / 2


class TestGoldenValues:
    @DTYPES
    def test_chance_is_ln_2(self, dtype: torch.dtype) -> None:
        value = domain_loss(torch.zeros(3, dtype=dtype), torch.zeros(5, dtype=dtype))
        assert value.dtype == dtype
        assert value.item() == pytest.approx(0.693147, abs=1e-6)

    @DTYPES
    def test_three_to_one_for_the_source(self, dtype: torch.dtype) -> None:
        z = torch.tensor([math.log(3)], dtype=dtype)
        assert domain_loss(z, z).item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, abs=1e-6)

    def test_positive_stands_for_the_source(self) -> None:
        z = torch.tensor([30.0])
        assert domain_loss(z, -z).item() == pytest.approx(0, abs=1e-9)
        assert domain_loss(-z, z).item() == pytest.approx(30)

    def test_weights_of_a_certain_and_an_uncertain_answer(self) -> None:
        source, target = logits(2), logits(2, 1)
        entropies = torch.tensor([2.0, 1.5], dtype=torch.float64)
        value = domain_loss(source, target, entropies, entropies).item()
        counts = torch.tensor([1.142857, 0.857143], dtype=torch.float64)
        expected = (counts * (F.softplus(-source) + F.softplus(target))).mean() / 2
        assert value == pytest.approx(expected.item(), abs=1e-6)


class TestOracle:
    @pytest.mark.parametrize("sizes", [(4, 4), (7, 3), (1, 1)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_value(self, sizes: tuple[int, int], weighted: bool) -> None:
        n, m = sizes
        given = (logits(n), logits(m, 1), *((weights(n), weights(m, 1)) if weighted else ()))
        assert domain_loss(*given).item() == pytest.approx(oracle(*given), rel=1e-6)

    def test_of_equal_batches_is_the_mean_over_all(self) -> None:
        source, target = logits(6), logits(6, 1)
        labels = torch.tensor([1.0] * 6 + [0.0] * 6, dtype=torch.float64)
        expected = F.binary_cross_entropy_with_logits(torch.cat([source, target]), labels)
        torch.testing.assert_close(domain_loss(source, target), expected)

    def test_of_unequal_batches_the_domains_count_alike(self) -> None:
        source, target = logits(6), logits(2, 1)
        torch.testing.assert_close(domain_loss(source, target.repeat(3)), domain_loss(source, target))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_finite_differences(self, weighted: bool) -> None:
        source, target = logits(4).requires_grad_(), logits(3, 1).requires_grad_()
        held = (weights(4), weights(3, 1)) if weighted else ()
        assert torch.autograd.gradcheck(lambda s, t: domain_loss(s, t, *held), (source, target))


class TestWeights:
    def test_only_their_ratios_within_a_domain_matter(self) -> None:
        given = logits(4), logits(3, 1)
        once = domain_loss(*given, weights(4), weights(3, 1))
        torch.testing.assert_close(domain_loss(*given, 5 * weights(4), 0.1 * weights(3, 1)), once)
        torch.testing.assert_close(domain_loss(*given, torch.full((4,), 2.0), None), domain_loss(*given))

    def test_are_constants_to_the_gradient(self) -> None:
        own, z = weights(4).requires_grad_(), logits(4).requires_grad_()
        domain_loss(z, logits(3), own).backward()
        assert own.grad is None
        assert z.grad is not None


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_saturated_logits_keep_their_gradient(size: float) -> None:
    source = torch.tensor([-size, size], requires_grad=True)
    target = torch.tensor([size, -size], requires_grad=True)
    value = domain_loss(source, target)
    value.backward()
    assert value.isfinite()
    assert source.grad is not None
    assert target.grad is not None
    assert source.grad.tolist() == pytest.approx([-0.25, 0])
    assert target.grad.tolist() == pytest.approx([0.25, 0])


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        source, target = logits(4).to(dtype), logits(3, 1).to(dtype)
        value = domain_loss(source, target)
        assert value.dtype == torch.float32
        assert torch.equal(value, domain_loss(source.float(), target.float()))

    def test_autocast_is_off_inside(self) -> None:
        given = logits(4).float(), logits(3, 1).float(), weights(4).float(), weights(3).float()
        expected = domain_loss(*given)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(domain_loss(*given), expected)


def test_no_host_synchronisation() -> None:
    with FakeTensorMode():
        source = torch.randn(4, requires_grad=True)
        torch.autograd.grad(domain_loss(source, torch.randn(3), torch.rand(4), torch.rand(3)), source)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"the source's logits must have shape \(n,\) with n >= 1, got \(3, 1\)"):
        domain_loss(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"the target's logits .*, got \(0,\)"):
        domain_loss(torch.zeros(3), torch.zeros(0))
    with pytest.raises(ValueError, match=r"the target has 3 logits, but weights of shape \(2,\)"):
        domain_loss(torch.zeros(3), torch.zeros(3), None, torch.ones(2))
