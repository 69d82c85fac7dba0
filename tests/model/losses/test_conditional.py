"""Multilinear and randomised maps, entropy weights: golden values, loop oracles, and the gradients that they carry."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.reproducibility import use_seed

F_GOLDEN, Q_GOLDEN = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.75]])


def features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answers(n: int, c: int, seed: int = 1) -> Tensor:
    return (3 * features(n, c, seed)).softmax(1)


def randomised(d: int, c: int, outputs: int, seed: int = 0) -> RandomisedMap:
    with use_seed(seed, "test"):
        return RandomisedMap(d, c, outputs)


class TestMultilinearMap:
    def test_goes_class_after_class(self) -> None:
        assert multilinear_map(F_GOLDEN, Q_GOLDEN).tolist() == [[0.25, 0.5, 0.75, 1.5]]

    @given(n=st.integers(1, 5), d=st.integers(1, 6), c=st.integers(1, 4))
    def test_is_the_product_of_each_pair(self, n: int, d: int, c: int) -> None:
        f, q = features(n, d), answers(n, c)
        expected = [[q[i, k].item() * f[i, j].item() for k in range(c) for j in range(d)] for i in range(n)]
        assert multilinear_map(f, q).tolist() == expected


class TestRandomisedMap:
    def test_preserves_the_golden_inner_product_in_expectation(self) -> None:
        product = randomised(2, 2, 200_000)(F_GOLDEN, Q_GOLDEN)
        # (1 + 4) (1/16 + 9/16); its deviation at this width is 0.02.
        assert product.square().sum().item() == pytest.approx(3.125, abs=0.08)

    def test_is_the_equation(self) -> None:
        made, f, q = randomised(3, 2, 7).double(), features(4, 3), answers(4, 2)
        for row, (each, answer) in enumerate(zip(f, q, strict=True)):
            for o in range(7):
                expected = (made.of_features[o] @ each) * (made.of_answers[o] @ answer) / math.sqrt(7)
                assert made(f, q)[row, o].item() == pytest.approx(expected.item(), abs=1e-12)


class TestEntropyWeights:
    def test_golden_values(self) -> None:
        weights = entropy_weights(torch.tensor([[1, 0], [0, 1], [0.5, 0.5]]))
        assert weights.tolist() == pytest.approx([2, 2, 1.5])
        batch = weights[1:]
        assert (2 * batch / batch.sum()).tolist() == pytest.approx([1.142857, 0.857143], abs=1e-6)

    def test_is_the_equation_and_has_no_gradient(self) -> None:
        q = answers(6, 3).requires_grad_()
        expected = [1 + math.exp(sum(p * math.log(p) for p in row)) for row in q.tolist()]
        assert entropy_weights(q).tolist() == pytest.approx(expected)
        assert not entropy_weights(q).requires_grad


@pytest.mark.parametrize("joined", [multilinear_map, randomised(4, 2, 5).double()], ids=["multilinear", "randomised"])
def test_answers_carry_no_gradient_and_features_do(joined: RandomisedMap) -> None:
    f, q = features(3, 4).requires_grad_(), answers(3, 2).requires_grad_()
    joined(f, q).square().sum().backward()
    assert q.grad is None
    assert torch.autograd.gradcheck(lambda x: joined(x, q), (f,))
