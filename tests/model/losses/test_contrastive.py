"""Supervised contrastive loss: golden values, a loop oracle, invariants, gradients and degenerate batches."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodna.model.losses.contrastive import supervised_contrastive

SEEDS = st.integers(0, 2**31)


def batch(n: int, d: int, seed: int, *, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    return z, labels, torch.rand(n, generator=generator) < 0.7


def oracle(
    z: Tensor,
    labels: Tensor,
    selected: Tensor,
    temperature: float,
    may_anchor: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return Eq. 9 over the anchors with positives, pair by pair, differentiable."""
    chosen = [i for i in range(len(z)) if selected[i]]
    unit = {i: z[i] / z[i].square().sum().sqrt() for i in chosen}
    anchors = []
    for i in chosen:
        others = {k: unit[i] @ unit[k] / temperature for k in chosen if k != i}
        positives = [j for j in others if labels[j] == labels[i]]
        if positives and (may_anchor is None or may_anchor[i]):
            largest = max(value.item() for value in others.values())
            total = sum((torch.exp(value - largest) for value in others.values()), torch.zeros(()))
            log_ratios = [others[j] - largest - torch.log(total) for j in positives]
            anchors.append(-torch.stack(log_ratios).mean())
    if not anchors:
        return z.sum() * 0
    return torch.stack(anchors).sum() if reduction == "sum" else torch.stack(anchors).mean()


class TestGoldenValues:
    @pytest.mark.parametrize(("classes", "expected"), [(2, math.log(3)), (4, math.log(7))])
    @pytest.mark.parametrize("temperature", [1, 0.1, 0.01])
    def test_all_equal(self, temperature: float, classes: int, expected: float) -> None:
        labels = torch.arange(classes).repeat(2)
        z, selected = torch.ones(len(labels), 3), torch.ones(len(labels)).bool()
        value = supervised_contrastive(z, labels, selected, temperature=temperature)
        assert value.item() == pytest.approx(expected, abs=1e-5)

    def test_anchor_without_positive_is_skipped(self) -> None:
        labels = torch.tensor([0, 0, 1])
        z = torch.tensor([[1.0, 0], [1, 0], [-1, 0]])
        value = supervised_contrastive(z, labels, torch.ones(len(labels)).bool(), temperature=1)
        assert value.item() == pytest.approx(0.126928, abs=1e-6)
        total = supervised_contrastive(z, labels, torch.ones(len(labels)).bool(), temperature=1, reduction="sum")
        assert total.item() == pytest.approx(2 * 0.126928, abs=1e-6)

    @pytest.mark.parametrize(
        ("labels", "temperature", "expected"),
        [
            ([0, 1, 0, 1], 1, 0.551445),
            ([0, 1, 0, 1], 0.01, 0),
            ([0, 0, 1, 1], 0.01, 100),
            ([0, 1, 2, 3, 0, 1, 2, 3], 1, 1.165422),
            ([0, 1, 2, 3, 0, 1, 2, 3], 0.01, 0),
            ([0, 0, 1, 1, 2, 2, 3, 3], 0.01, 100),
        ],
    )
    def test_orthonormal_pairs(self, labels: list[int], temperature: float, expected: float) -> None:
        z = torch.eye(len(labels) // 2).repeat(2, 1)
        y = torch.tensor(labels)
        value = supervised_contrastive(z, y, torch.ones(len(y)).bool(), temperature=temperature)
        assert value.item() == pytest.approx(expected, abs=1e-6)

    def test_batch_that_gives_nan_in_the_reference_implementation(self) -> None:
        z = torch.tensor([[1, 0], [1, 0.05], [-1, 0]], requires_grad=True)
        labels = torch.tensor([0, 0, 1])
        value = supervised_contrastive(z, labels, torch.ones(len(labels)).bool(), temperature=0.01)
        (gradient,) = torch.autograd.grad(value, z)
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert gradient.isfinite().all()

    def test_antipodal_anchor_with_a_distant_positive(self) -> None:
        # All similarities of the third row are about -100, so their exponentials underflow unless its own is masked.
        z = torch.tensor([[1, 0], [1, 0.05], [-1, 0]], requires_grad=True)
        labels = torch.tensor([0, 1, 0])
        value = supervised_contrastive(z, labels, torch.ones(len(labels)).bool(), temperature=0.01)
        expected = oracle(z.detach().double(), labels, torch.ones(len(labels)).bool(), 0.01)
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.autograd.grad(value, z)[0].isfinite().all()


class TestOracle:
    @pytest.mark.parametrize(("n", "d", "classes"), [(9, 2, 2), (12, 3, 4), (2, 4, 1)])
    @pytest.mark.parametrize("temperature", [1, 0.01])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
    def test_value_and_gradient(
        self, n: int, d: int, classes: int, temperature: float, dtype: torch.dtype, tolerance: float
    ) -> None:
        z, labels, selected = batch(n, d, 2, classes=classes)
        z = z.to(dtype).requires_grad_()
        wide = z.detach().double().requires_grad_()
        value = supervised_contrastive(z, labels, selected, temperature=temperature)
        expected = oracle(wide, labels, selected, temperature)
        assert value.dtype == dtype
        assert value.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance / temperature)
        (gradient,), (wanted,) = torch.autograd.grad(value, z), torch.autograd.grad(expected, wide)
        torch.testing.assert_close(gradient.double(), wanted, rtol=tolerance, atol=tolerance / temperature)

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("temperature", [1, 0.01])
    def test_rows_that_are_not_anchors_remain_positives_and_contrast(self, temperature: float, reduction: Any) -> None:
        z, labels, selected = batch(9, 3, 2)
        anchors = torch.arange(9) < 5
        assert 0 < (selected & anchors).sum() < selected.sum()
        z.requires_grad_()
        options = {"anchors": anchors, "reduction": reduction}
        value = supervised_contrastive(z, labels, selected, temperature=temperature, **options)
        expected = oracle(z, labels, selected, temperature, anchors, reduction)
        assert value.item() == pytest.approx(expected.item(), rel=1e-11)
        (gradient,), (wanted,) = torch.autograd.grad(value, z), torch.autograd.grad(expected, z)
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-9)
        assert gradient[selected & ~anchors].any()


class TestInvariants:
    @given(n=st.integers(1, 10), d=st.integers(1, 6), seed=SEEDS, temperature=st.sampled_from([1, 0.1, 0.01]))
    def test_transformations_of_the_batch_do_not_change_the_loss(
        self, n: int, d: int, seed: int, temperature: float
    ) -> None:
        z, labels, selected = batch(n, d, seed)
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
        order = torch.randperm(n, generator=generator)
        lengths = 0.01 + 100 * torch.rand(n, 1, generator=generator, dtype=torch.float64)

        def loss(z: Tensor, labels: Tensor, selected: Tensor) -> float:
            return supervised_contrastive(z, labels, selected, temperature=temperature).item()

        moved = {
            "rotation": loss(z @ turn, labels, selected),
            "permutation": loss(z[order], labels[order], selected[order]),
            "length": loss(lengths * z, labels, selected),
            "names of the labels": loss(z, 7 - labels, selected),
            "without the unselected rows": loss(z[selected], labels[selected], selected[selected]),
            "unselected labels": loss(z, torch.where(selected, labels, -1), selected),
            "unselected projections": loss(torch.where(selected[:, None], z, 1 + z), labels, selected),
        }
        value = loss(z, labels, selected)
        assert value >= 0
        for name, other in moved.items():
            assert other == pytest.approx(value, rel=1e-9, abs=1e-9), name

    def test_unselected_rows_get_no_gradient(self) -> None:
        z, labels, selected = batch(8, 3, 0)
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(supervised_contrastive(z, labels, selected, temperature=0.01), z)
        assert 2 <= selected.sum() < 8
        assert (gradient[~selected] == 0).all()
        assert (gradient[selected] != 0).any()


ALL, NONE = [True] * 4, [False] * 4


@pytest.mark.parametrize(
    ("z", "labels", "selected"),
    [
        pytest.param(torch.ones(0, 3), [], [], id="empty"),
        pytest.param(torch.ones(4, 3), [0, 0, 1, 1], ALL, id="all equal"),
        pytest.param(torch.zeros(4, 3), [0, 0, 1, 1], ALL, id="all zero"),
        pytest.param(torch.eye(4), [0, 0, 0, 0], ALL, id="one class"),
        pytest.param(torch.eye(4), [0, 1, 2, 3], ALL, id="no positives"),
        pytest.param(torch.eye(4), [0, 0, 1, 1], NONE, id="none selected"),
        pytest.param(torch.eye(4), [0, 0, 1, 1], [False, True, False, False], id="one selected"),
        pytest.param(torch.eye(4), [0, 0, 1, 1], [True, True, False, False], id="two selected of one class"),
        pytest.param(torch.eye(4) * 1e-40, [0, 0, 1, 1], ALL, id="denormal"),
        pytest.param(torch.eye(4) * 1e30, [0, 0, 1, 1], ALL, id="norm whose square overflows"),
        pytest.param(torch.tensor([[1.0], [-1], [1], [-1]]), [0, 0, 1, 1], ALL, id="antipodal positives"),
        pytest.param(torch.ones(4, 0), [0, 0, 1, 1], ALL, id="no feature"),
    ],
)
def test_degenerate_batches_are_finite(z: Tensor, labels: list[int], selected: list[bool]) -> None:
    z = z.clone().requires_grad_()
    rows, mask = len(labels), torch.tensor(selected, dtype=torch.bool)
    for anchors, reduction, max_anchors in (
        (None, "mean", 1),
        (None, "sum", rows),
        (torch.arange(rows) < 2, "mean", 1),
        (torch.zeros(rows, dtype=torch.bool), "mean", 0),
    ):
        options = {"temperature": 0.01, "anchors": anchors, "reduction": reduction}
        value = supervised_contrastive(z, torch.tensor(labels), mask, **options)
        (gradient,) = torch.autograd.grad(value, z)
        assert 0 <= value.item() <= max_anchors * (201 + math.log(3))
        chosen = [label for label, each in zip(labels, selected, strict=True) if each]
        if len(set(chosen)) == len(chosen):  # no positive
            assert value == 0
            assert not gradient.any()
        assert gradient.isfinite().all()
