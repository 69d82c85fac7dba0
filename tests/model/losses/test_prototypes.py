"""Prototypes and decoupling loss: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math
import typing
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodna.model.losses.prototypes import Negative, decoupling_loss, prototype

SEEDS = st.integers(0, 2**31)
NEGATIVES = typing.get_args(Negative)
X, Y = torch.eye(2, dtype=torch.float64)


def projections(n: int, d: int, seed: int) -> Tensor:
    """Return four mini-batches of projections, shape (4, n, d)."""
    return torch.randn(4, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_loss(batches: Tensor, temperature: float, **options: Any) -> Tensor:
    return decoupling_loss(*map(prototype, batches), temperature=temperature, **options)


def oracle(batches: Iterable[Tensor], temperature: float, negative: str = "same") -> float:
    """Return Eq. 5 of the prototypes of Eq. 4, number by number."""
    vectors = []
    for batch in map(Tensor.tolist, batches):
        mean = [sum(values) / len(batch) for values in zip(*batch, strict=True)]
        length = math.sqrt(sum(value**2 for value in mean))
        vectors.append([value / length for value in mean])
    emotion, corpus = vectors[:2], vectors[2:]
    total = 0.0
    for m, n in ((0, 1), (1, 0)):
        positive = sum(a * b for a, b in zip(emotion[m], emotion[n], strict=True)) / temperature
        negatives = [corpus[k] for k in {"same": [m], "cross": [n], "both": [m, n]}[negative]]
        products = [sum(a * b for a, b in zip(emotion[m], each, strict=True)) for each in negatives]
        terms = [positive, *(product / temperature for product in products)]
        largest = max(terms)
        total += largest + math.log(sum(math.exp(term - largest) for term in terms)) - positive
    return total / 2


class TestPrototype:
    def test_equals_the_normalised_mean_of_raw_projections(self) -> None:
        # The mean of unit vectors would have the direction (1, 1).
        torch.testing.assert_close(prototype(torch.tensor([[8.0, 0], [0, 6]])), torch.tensor([0.8, 0.6]))

    def test_mean_of_unit_vectors_ignores_lengths(self) -> None:
        projected = torch.tensor([[8.0, 0], [0, 6]])
        torch.testing.assert_close(prototype(projected, mean="unit"), torch.full((2,), math.sqrt(0.5)))

    @given(n=st.integers(1, 8), d=st.integers(1, 8), seed=SEEDS)
    def test_has_length_one(self, n: int, d: int, seed: int) -> None:
        batch = projections(n, d, seed)[0]
        assert prototype(batch).norm().item() == pytest.approx(1)
        torch.testing.assert_close(prototype(batch.flip(0)), prototype(batch))
        torch.testing.assert_close(prototype(3 * batch), prototype(batch))


@pytest.mark.parametrize(
    ("negative", "of_all_equal", "of_inseparable"),
    [("same", math.log(2), 100), ("cross", math.log(2), math.log(2)), ("both", math.log(3), 100)],
)
def test_golden_values(negative: Any, of_all_equal: float, of_inseparable: float) -> None:
    def value(*prototypes: Tensor) -> float:
        return decoupling_loss(*prototypes, temperature=0.01, negative=negative).item()

    assert value(X, X, X, X) == pytest.approx(of_all_equal, abs=1e-6)
    assert 0 <= value(X, X, Y, Y) < 1e-40  # decoupled and aligned
    assert value(X, Y, X, Y) == pytest.approx(of_inseparable, abs=1e-5)


class TestOracle:
    @pytest.mark.parametrize("negative", NEGATIVES)
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)])
    def test_value(self, dtype: torch.dtype, tolerance: float, negative: Any) -> None:
        for seed, temperature in enumerate((1, 0.1, 0.01)):
            batches = projections(5, 6, seed).to(dtype)
            value = batch_loss(batches, temperature, negative=negative)
            assert value.item() == pytest.approx(oracle(batches, temperature, negative), rel=tolerance, abs=tolerance)

    @pytest.mark.parametrize("negative", NEGATIVES)
    def test_gradient_equals_finite_differences_and_reaches_all_prototypes(self, negative: Any) -> None:
        batches = projections(3, 4, 0).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: batch_loss(x, 0.1, negative=negative), (batches,))
        (gradient,) = torch.autograd.grad(batch_loss(batches, 1, negative=negative), batches)
        assert (gradient.flatten(1).norm(dim=1) > 0).all()

    def test_detached_corpus_prototypes_are_constants(self) -> None:
        batches = projections(3, 4, 0).requires_grad_()
        losses = [batch_loss(batches, 1, detach_corpus=each) for each in (False, True)]
        assert torch.equal(*losses)
        (usual,), (detached,) = (torch.autograd.grad(loss, batches) for loss in losses)
        torch.testing.assert_close(detached[:2], usual[:2])
        assert (detached[2:] == 0).all()


@pytest.mark.parametrize("scale", [0, 1e-12, 1, 1e15])
@pytest.mark.parametrize("case", ["all equal", "random", "one sample", "corpus opposite to emotion"])
def test_degenerate_batches_are_finite(case: str, scale: float) -> None:
    batches = projections(1 if case == "one sample" else 4, 3, 0)
    if case == "all equal":
        batches = torch.ones_like(batches)
    elif case == "corpus opposite to emotion":
        batches = torch.cat((batches[:2], -batches[:2]))
    batches = (batches * scale).float().requires_grad_()
    for negative in NEGATIVES:
        value = batch_loss(batches, 0.01, negative=negative)
        (gradient,) = torch.autograd.grad(value, batches)
        assert 0 <= value.item() <= 200 + math.log(2) + 1e-3
        assert gradient.isfinite().all()
