"""Multilinear and randomised maps and entropy weights: golden values, loop oracles and gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.reproducibility import use_seed

F_GOLDEN = torch.tensor([[1.0, 2.0]])
#: Probabilities of two and of four classes.
Q_GOLDEN, Q_FOUR = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])


def features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(n: int, c: int, seed: int = 1) -> Tensor:
    return (3 * features(n, c, seed)).softmax(1)


def make_map(d: int, c: int, outputs: int, seed: int = 0) -> RandomisedMap:
    with use_seed(seed, "test"):
        return RandomisedMap(d, c, outputs)


class TestMultilinearMap:
    def test_golden_values(self) -> None:
        assert multilinear_map(F_GOLDEN, Q_GOLDEN).tolist() == [[0.25, 0.5, 0.75, 1.5]]
        expected = [0.1, 0.2, 0.2, 0.4, 0.3, 0.6, 0.4, 0.8]
        assert multilinear_map(F_GOLDEN, Q_FOUR)[0].tolist() == pytest.approx(expected)

    @given(n=st.integers(1, 5), d=st.integers(1, 6), c=st.integers(1, 4))
    def test_equals_a_loop(self, n: int, d: int, c: int) -> None:
        f, q = features(n, d), probabilities(n, c)
        expected = [[q[i, k].item() * f[i, j].item() for k in range(c) for j in range(d)] for i in range(n)]
        assert multilinear_map(f, q).tolist() == expected


class TestRandomisedMap:
    # (1 + 4) (1/16 + 9/16), with a standard deviation of 0.02 at this width; (1 + 4) (1 + 4 + 9 + 16) / 100.
    @pytest.mark.parametrize(("q", "expected"), [(Q_GOLDEN, 3.125), (Q_FOUR, 1.5)])
    def test_inner_product_is_preserved_in_expectation(self, q: Tensor, expected: float) -> None:
        product = make_map(2, q.shape[1], 200_000)(F_GOLDEN, q)
        assert product.square().sum().item() == pytest.approx(expected, abs=0.08)

    @pytest.mark.parametrize("classes", [2, 4])
    def test_equals_the_equation(self, classes: int) -> None:
        random_map, f, q = make_map(3, classes, 7).double(), features(4, 3), probabilities(4, classes)
        for row, (f_row, q_row) in enumerate(zip(f, q, strict=True)):
            for o in range(7):
                expected = (random_map.of_features[o] @ f_row) * (random_map.of_answers[o] @ q_row) / math.sqrt(7)
                assert random_map(f, q)[row, o].item() == pytest.approx(expected.item(), abs=1e-12)


class TestEntropyWeights:
    def test_golden_values(self) -> None:
        weights = entropy_weights(torch.tensor([[1, 0], [0, 1], [0.5, 0.5]]))
        assert weights.tolist() == pytest.approx([2, 2, 1.5])
        batch = weights[1:]
        assert (2 * batch / batch.sum()).tolist() == pytest.approx([1.142857, 0.857143], abs=1e-6)
        of_four = entropy_weights(torch.tensor([[0, 0, 1, 0], [0, 0.5, 0, 0.5], [0.25] * 4]))
        assert of_four.tolist() == pytest.approx([2, 1.5, 1.25])

    @pytest.mark.parametrize("classes", [2, 4])
    def test_equals_the_equation_without_gradient(self, classes: int) -> None:
        q = probabilities(6, classes).requires_grad_()
        expected = [1 + math.exp(sum(p * math.log(p) for p in row)) for row in q.tolist()]
        assert entropy_weights(q).tolist() == pytest.approx(expected)
        assert not entropy_weights(q).requires_grad


@pytest.mark.parametrize("join", [multilinear_map, make_map(4, 2, 5).double()], ids=["multilinear", "randomised"])
def test_only_features_get_a_gradient(join: RandomisedMap) -> None:
    f, q = features(3, 4).requires_grad_(), probabilities(3, 2).requires_grad_()
    join(f, q).square().sum().backward()
    assert q.grad is None
    assert torch.autograd.gradcheck(lambda x: join(x, q), (f,))
