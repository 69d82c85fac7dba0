"""Multilinear and randomised maps, entropy weights: golden values, loop oracles, what carries a gradient."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.checkpoint import load_tensors, save_tensors
from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.reproducibility import seeded

F_GOLDEN, Q_GOLDEN = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.75]])


def features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answers(n: int, c: int, seed: int = 1) -> Tensor:
    return (3 * features(n, c, seed)).softmax(1)


def randomised(d: int, c: int, outputs: int, seed: int = 0) -> RandomisedMap:
    with seeded(seed, "test"):
        return RandomisedMap(d, c, outputs)


class TestMultilinearMap:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_goes_class_after_class(self, dtype: torch.dtype) -> None:
        product = multilinear_map(F_GOLDEN.to(dtype), Q_GOLDEN.to(dtype))
        assert product.dtype == dtype
        assert product.tolist() == [[0.25, 0.5, 0.75, 1.5]]

    @pytest.mark.parametrize("c", [0, 1, 2])
    def test_of_a_certain_answer_puts_the_features_in_its_block(self, c: int) -> None:
        f = features(4, 5)
        blocks = multilinear_map(f, torch.eye(3, dtype=torch.float64)[[c] * 4]).unflatten(1, (3, 5))
        assert torch.equal(blocks[:, c], f)
        assert not blocks[:, [k for k in range(3) if k != c]].any()

    def test_of_an_uncertain_answer_is_two_halves_of_the_features(self) -> None:
        f = features(4, 5)
        assert torch.equal(multilinear_map(f, torch.full((4, 2), 0.5)), torch.cat([f, f], 1) / 2)

    @given(n=st.integers(1, 5), d=st.integers(1, 6), c=st.integers(1, 4))
    @settings(max_examples=25)
    def test_is_the_product_of_each_pair(self, n: int, d: int, c: int) -> None:
        f, q = features(n, d), answers(n, c)
        expected = [[q[i, k].item() * f[i, j].item() for k in range(c) for j in range(d)] for i in range(n)]
        assert multilinear_map(f, q).tolist() == expected

    def test_answers_carry_no_gradient(self) -> None:
        f, q = features(3, 4).requires_grad_(), answers(3, 2).requires_grad_()
        multilinear_map(f, q).square().sum().backward()
        assert q.grad is None
        assert torch.autograd.gradcheck(lambda x: multilinear_map(x, q), (f,))


class TestRandomisedMap:
    def test_preserves_the_golden_inner_product_in_expectation(self) -> None:
        product = randomised(2, 2, 200_000)(F_GOLDEN, Q_GOLDEN)
        # (1 + 4) (1/16 + 9/16); its deviation at this width is 0.02.
        assert product.square().sum().item() == pytest.approx(3.125, abs=0.08)

    def test_preserves_inner_products_as_the_multilinear_map_has_them(self) -> None:
        f, q = features(4, 3).float(), answers(4, 2).float()
        exact = multilinear_map(f, q)
        product = randomised(3, 2, 200_000)(f, q)
        torch.testing.assert_close(product @ product.T, exact @ exact.T, rtol=0, atol=0.15)

    def test_is_the_equation(self) -> None:
        made, f, q = randomised(3, 2, 7).double(), features(4, 3), answers(4, 2)
        for row, (each, answer) in enumerate(zip(f, q, strict=True)):
            for o in range(7):
                expected = (made.of_features[o] @ each) * (made.of_answers[o] @ answer) / math.sqrt(7)
                assert made(f, q)[row, o].item() == pytest.approx(expected.item(), abs=1e-12)

    def test_is_fixed_and_survives_a_checkpoint(self, tmp_path: Path) -> None:
        first, other = randomised(3, 2, 7), randomised(3, 2, 7, seed=1)
        assert not list(first.parameters())
        f, q = features(4, 3).float(), answers(4, 2).float()
        assert not torch.equal(first(f, q), other(f, q))
        save_tensors(tmp_path / "map.safetensors", first.state_dict(), {})
        other.load_state_dict(load_tensors(tmp_path / "map.safetensors")[0])
        assert torch.equal(first(f, q), other(f, q))

    def test_answers_carry_no_gradient(self) -> None:
        made, f, q = randomised(4, 2, 5).double(), features(3, 4).requires_grad_(), answers(3, 2).requires_grad_()
        made(f, q).square().sum().backward()
        assert q.grad is None
        assert torch.autograd.gradcheck(lambda x: made(x, q), (f,))


class TestEntropyWeights:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_golden_values(self, dtype: torch.dtype) -> None:
        weights = entropy_weights(torch.tensor([[1, 0], [0, 1], [0.5, 0.5]], dtype=dtype))
        assert weights.dtype == dtype
        assert weights.tolist() == pytest.approx([2, 2, 1.5])
        batch = weights[1:]
        assert (2 * batch / batch.sum()).tolist() == pytest.approx([1.142857, 0.857143], abs=1e-6)

    def test_is_the_equation(self) -> None:
        q = answers(6, 3)
        expected = [1 + math.exp(sum(p * math.log(p) for p in row)) for row in q.tolist()]
        assert entropy_weights(q).tolist() == pytest.approx(expected)

    def test_has_no_gradient(self) -> None:
        assert not entropy_weights(answers(3, 2).requires_grad_()).requires_grad


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        f, q = features(4, 3).to(dtype), answers(4, 2).to(dtype)
        made = randomised(3, 2, 7)
        for map_ in (multilinear_map, made):
            assert map_(f, q).dtype == torch.float32
            assert torch.equal(map_(f, q), map_(f.float(), q.float()))
        assert torch.equal(entropy_weights(q), entropy_weights(q.float()))

    def test_autocast_is_off_inside(self) -> None:
        f, q = features(4, 3).float(), answers(4, 2).float()
        made = randomised(3, 2, 7)
        expected = multilinear_map(f, q), made(f, q), entropy_weights(q)
        with torch.autocast("cpu", torch.bfloat16):
            found = multilinear_map(f, q), made(f, q), entropy_weights(q)
        assert all(map(torch.equal, found, expected))


def test_no_host_synchronisation() -> None:
    with FakeTensorMode():
        f, q = torch.randn(4, 3, requires_grad=True), torch.rand(4, 2)
        for map_ in (multilinear_map, RandomisedMap(3, 2, 7)):
            torch.autograd.grad((map_(f, q).sum(1) * entropy_weights(q)).sum(), f)


@pytest.mark.parametrize("shapes", [((3,), (3, 2)), ((3, 4), (3,)), ((3, 4), (2, 2))])
def test_shapes_are_checked(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    f, q = map(torch.ones, shapes)
    for map_ in (multilinear_map, randomised(4, 2, 5)):
        with pytest.raises(ValueError, match=r"expected features \(n, d\) and probabilities \(n, c\), got"):
            map_(f, q)
