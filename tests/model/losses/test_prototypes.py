"""Prototypes and decoupling loss: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math
import typing
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses.prototypes import Negative, decoupling_loss, prototype

SEEDS = st.integers(0, 2**31)
NEGATIVES = typing.get_args(Negative)
X, Y = torch.eye(2, dtype=torch.float64)


def projections(n: int, d: int, seed: int) -> Tensor:
    """Four mini-batches of projections, shape (4, n, d)."""
    return torch.randn(4, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_loss(batches: Tensor, temperature: float, **options: Any) -> Tensor:
    emotion_source, emotion_target, corpus_source, corpus_target = (prototype(batch) for batch in batches)
    return decoupling_loss(
        emotion_source, emotion_target, corpus_source, corpus_target, temperature=temperature, **options
    )


def oracle(batches: Tensor, temperature: float, negative: str = "same") -> float:
    """Eq. 4 and 5 number by number."""
    vectors = []
    for batch in batches.tolist():
        mean = [sum(values) / len(batch) for values in zip(*batch, strict=True)]
        length = math.sqrt(sum(value**2 for value in mean))
        vectors.append([value / length for value in mean])
    emotion, corpus = vectors[:2], vectors[2:]
    total = 0.0
    for m, n in ((0, 1), (1, 0)):
        positive = sum(a * b for a, b in zip(emotion[m], emotion[n], strict=True)) / temperature
        of = {"same": [m], "cross": [n], "both": [m, n]}[negative]
        terms = [positive, *(sum(a * b for a, b in zip(emotion[m], corpus[k], strict=True)) / temperature for k in of)]
        largest = max(terms)
        total += largest + math.log(sum(math.exp(term - largest) for term in terms)) - positive
    return total / 2


class TestPrototype:
    def test_is_the_normalised_mean_of_raw_projections(self) -> None:
        # The mean of unit vectors would point to (1, 1).
        torch.testing.assert_close(prototype(torch.tensor([[8.0, 0], [0, 6]])), torch.tensor([0.8, 0.6]))

    def test_of_unit_vectors_does_not_weigh_long_ones_more(self) -> None:
        projected = torch.tensor([[8.0, 0], [0, 6]])
        torch.testing.assert_close(prototype(projected, mean="unit"), torch.full((2,), math.sqrt(0.5)))

    @settings(deadline=None, max_examples=30)
    @given(n=st.integers(1, 8), d=st.integers(1, 8), seed=SEEDS)
    def test_of_unit_vectors_sees_directions_only(self, n: int, d: int, seed: int) -> None:
        batch = projections(n, d, seed)[0]
        lengths = torch.arange(1, n + 1)[:, None]
        torch.testing.assert_close(prototype(lengths * batch, mean="unit"), prototype(batch, mean="unit"))

    @settings(deadline=None, max_examples=30)
    @given(n=st.integers(1, 8), d=st.integers(1, 8), seed=SEEDS)
    def test_has_length_one(self, n: int, d: int, seed: int) -> None:
        batch = projections(n, d, seed)[0]
        assert prototype(batch).norm().item() == pytest.approx(1)
        torch.testing.assert_close(prototype(batch.flip(0)), prototype(batch))
        torch.testing.assert_close(prototype(3 * batch), prototype(batch))

    @pytest.mark.parametrize("mean", ["raw", "unit"])
    @pytest.mark.parametrize("scale", [0, 1e-40, 1e-12, 1e15, 1e30])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_any_length_is_finite(self, scale: float, dtype: torch.dtype, mean: Any) -> None:
        batch = (projections(4, 3, 0)[0] * scale).to(dtype).requires_grad_()
        value = prototype(batch, mean=mean)
        (gradient,) = torch.autograd.grad(value.sum(), batch)
        assert value.dtype == dtype
        assert value.norm().item() <= 1 + 1e-6
        assert gradient.isfinite().all()

    def test_opposite_projections_are_finite(self) -> None:
        batch = torch.tensor([[1.0, 2], [-1, -2]], requires_grad=True)
        value = prototype(batch)
        (gradient,) = torch.autograd.grad(value.sum(), batch)
        assert (value == 0).all()
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 2, 3)])
    def test_shape_error(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"projections must have shape \(n, d\)"):
            prototype(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("negative", "of_all_equal", "of_inseparable"),
    [("same", math.log(2), 100), ("cross", math.log(2), math.log(2)), ("both", math.log(3), 100)],
)
class TestGoldenValues:
    def test_all_equal(self, negative: Any, of_all_equal: float, of_inseparable: float, dtype: torch.dtype) -> None:  # noqa: ARG002
        x = X.to(dtype)
        value = decoupling_loss(x, x, x, x, temperature=0.01, negative=negative)
        assert value.dtype == dtype
        assert value.item() == pytest.approx(of_all_equal, abs=1e-6)

    def test_decoupled_and_aligned(
        self,
        negative: Any,
        of_all_equal: float,  # noqa: ARG002
        of_inseparable: float,  # noqa: ARG002
        dtype: torch.dtype,
    ) -> None:
        x, y = X.to(dtype), Y.to(dtype)
        assert 0 <= decoupling_loss(x, x, y, y, temperature=0.01, negative=negative).item() < 1e-40

    def test_emotion_that_is_the_corpus(
        self,
        negative: Any,
        of_all_equal: float,  # noqa: ARG002
        of_inseparable: float,
        dtype: torch.dtype,
    ) -> None:
        x, y = X.to(dtype), Y.to(dtype)
        value = decoupling_loss(x, y, x, y, temperature=0.01, negative=negative)
        assert value.item() == pytest.approx(of_inseparable, abs=1e-5)


class TestOracle:
    @pytest.mark.parametrize("negative", NEGATIVES)
    @pytest.mark.parametrize("temperature", [1, 0.1, 0.01])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)])
    @pytest.mark.parametrize("seed", range(4))
    def test_value(self, temperature: float, dtype: torch.dtype, tolerance: float, seed: int, negative: Any) -> None:
        batches = projections(5, 6, seed).to(dtype)
        value = batch_loss(batches, temperature, negative=negative)
        assert value.dtype == dtype
        assert value.item() == pytest.approx(oracle(batches, temperature, negative), rel=tolerance, abs=tolerance)

    @pytest.mark.parametrize("negative", NEGATIVES)
    @pytest.mark.parametrize("temperature", [1, 0.1])
    def test_finite_differences(self, temperature: float, negative: Any) -> None:
        batches = projections(3, 4, 0).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: batch_loss(x, temperature, negative=negative), (batches,))

    @pytest.mark.parametrize("negative", NEGATIVES)
    def test_gradient_reaches_all_four(self, negative: Any) -> None:
        batches = projections(3, 4, 0).requires_grad_()
        (gradient,) = torch.autograd.grad(batch_loss(batches, 1, negative=negative), batches)
        assert (gradient.flatten(1).norm(dim=1) > 0).all()

    def test_detached_corpus_prototypes_are_constants(self) -> None:
        batches = projections(3, 4, 0).requires_grad_()
        free, held = (batch_loss(batches, 1, detach_corpus=each) for each in (False, True))
        assert torch.equal(free, held)
        (of_free,), (of_held,) = torch.autograd.grad(free, batches), torch.autograd.grad(held, batches)
        torch.testing.assert_close(of_held[:2], of_free[:2])
        assert (of_held[2:] == 0).all()


class TestInvariants:
    @settings(deadline=None, max_examples=40)
    @given(n=st.integers(1, 6), d=st.integers(1, 8), seed=SEEDS, temperature=st.sampled_from([1, 0.1, 0.01]))
    def test_moves_of_the_prototypes(self, n: int, d: int, seed: int, temperature: float) -> None:
        batches = projections(n, d, seed)
        turn = torch.linalg.qr(projections(d, d, seed + 1)[0]).Q
        value = batch_loss(batches, temperature).item()
        assert value >= 0
        assert batch_loss(batches[[1, 0, 3, 2]], temperature).item() == pytest.approx(value, abs=1e-10), "swap S and T"
        assert batch_loss(batches @ turn, temperature).item() == pytest.approx(value, abs=1e-10), "rotation"

    def test_emotion_and_corpus_play_different_parts(self) -> None:
        batches = projections(3, 4, 0)
        assert batch_loss(batches[[2, 3, 0, 1]], 0.1).item() != pytest.approx(batch_loss(batches, 0.1).item(), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0, 1e-12, 1, 1e15])
@pytest.mark.parametrize("case", ["all equal", "random", "one sample", "corpus opposite to emotion"])
def test_degenerate_batches_are_finite(case: str, scale: float, dtype: torch.dtype) -> None:
    batches = projections(1 if case == "one sample" else 4, 3, 0)
    if case == "all equal":
        batches = torch.ones_like(batches)
    elif case == "corpus opposite to emotion":
        batches = torch.cat((batches[:2], -batches[:2]))
    batches = (batches * scale).to(dtype).requires_grad_()
    for negative in NEGATIVES:
        value = batch_loss(batches, 0.01, negative=negative)
        (gradient,) = torch.autograd.grad(value, batches)
        assert 0 <= value.item() <= 200 + math.log(2) + 1e-3
        assert gradient.isfinite().all()


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_projections(self, dtype: torch.dtype) -> None:
        batches = projections(4, 3, 0).to(dtype)
        value = batch_loss(batches, 0.01)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, batch_loss(batches.float(), 0.01))

    def test_autocast_is_off_inside(self) -> None:
        batches = projections(4, 3, 0).float()
        expected = batch_loss(batches, 0.01)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(batch_loss(batches, 0.01), expected)


def test_no_host_synchronisation() -> None:
    # Fake tensors hold no data: .item(), bool() and shapes that depend on values raise.
    with FakeTensorMode():
        batches = torch.randn(4, 5, 3, requires_grad=True)
        for negative in NEGATIVES:
            torch.autograd.grad(batch_loss(batches, 0.01, negative=negative), batches)


class TestErrors:
    def test_shapes(self) -> None:
        x = torch.ones(3)
        for wrong in (torch.ones(2), torch.ones(1, 3), torch.ones(())):
            with pytest.raises(ValueError, match=r"must all have the same shape \(d,\)"):
                decoupling_loss(x, x, x, wrong, temperature=1)
        with pytest.raises(ValueError, match=r"must all have the same shape \(d,\)"):
            decoupling_loss(*[torch.ones(2, 3)] * 4, temperature=1)

    @pytest.mark.parametrize("temperature", [0, -1, math.nan])
    def test_temperature(self, temperature: float) -> None:
        with pytest.raises(ValueError, match="temperature must be positive"):
            decoupling_loss(*[torch.ones(3)] * 4, temperature=temperature)

    def test_options(self) -> None:
        with pytest.raises(ValueError, match="negative must be one of same, cross, both, got 'other'"):
            decoupling_loss(*[torch.ones(3)] * 4, temperature=1, negative="other")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="mean must be one of raw, unit, got 'median'"):
            prototype(torch.ones(2, 3), mean="median")  # type: ignore[arg-type]
