"""Margin disparity: golden values, optimum, stability, gradients."""

import math

import pytest
import torch
from torch import Tensor

from emodna.model.losses.margin import LabelKind, disagreement, margin_disparity

LABEL_KINDS: list[LabelKind] = ["hard", "soft"]
each_label_kind = pytest.mark.parametrize("labels", LABEL_KINDS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_logits(classes: int = 2) -> list[Tensor]:
    """Return logits of task and adversary on 5 source utterances, then on 4 target utterances."""
    return [noise(n, classes, seed=seed) for seed, n in enumerate((5, 5, 4, 4))]


def compute_naively(logits: list[Tensor], margin: float, labels: LabelKind) -> float:
    """Return the disparity by its definition, utterance by utterance and class by class."""

    def term(task: Tensor, adversary: Tensor, *, agrees: bool) -> float:
        total = 0.0
        for f, other in zip(task.tolist(), adversary.tolist(), strict=True):
            p, d = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (f, other))
            if labels == "hard":
                p = [float(c == f.index(max(f))) for c in range(len(f))]
            total -= sum(w * math.log(q if agrees else 1 - q) for w, q in zip(p, d, strict=True))
        return total / len(task)

    return margin * term(*logits[:2], agrees=True) + term(*logits[2:], agrees=False)


class TestValues:
    @pytest.mark.parametrize(
        ("classes", "margin", "p", "value"),
        [
            (2, 1.5, 0.6, 1.682529),
            (2, 4.0, 0.8, 2.502012),
            (4, 1.5, 0.6, 1.682529),
            # An adversary that knows nothing: margin ln K + ln K / (K - 1).
            (2, 1.5, 0.5, 1.732868),
            (4, 1.5, 0.25, 2.367124),
        ],
    )
    def test_golden_values(self, classes: int, margin: float, p: float, value: float) -> None:
        others = [math.log((1 - p) / (classes - 1))] * (classes - 1)
        task, adversary = torch.tensor([[3.0] + [1.0] * (classes - 1)] * 3), torch.tensor([[math.log(p), *others]] * 3)
        loss = margin_disparity(task, adversary, task, adversary, margin=margin)
        assert loss.item() == pytest.approx(value, abs=1e-6)

    @each_label_kind
    @pytest.mark.parametrize("classes", [2, 4])
    def test_equals_the_definition(self, classes: int, labels: LabelKind) -> None:
        logits = draw_logits(classes)
        value = margin_disparity(*logits, margin=1.3, labels=labels).item()
        assert value == pytest.approx(compute_naively(logits, 1.3, labels), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("margin", "best"), [(1.5, 0.6), (4.0, 0.8)])
def test_optimal_adversary_on_equal_corpora(margin: float, best: float, classes: int) -> None:
    task = noise(32, 4) @ noise(4, classes, seed=1)
    preferred = torch.eye(classes, dtype=torch.float64)[task.argmax(1)]
    # The adversary's only parameter is the logit of the preferred class.
    own = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([own], max_iter=50, tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimizer.zero_grad()
        adversary = own * preferred
        value = margin_disparity(task, adversary, task, adversary, margin=margin)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)
    assert (own * preferred).softmax(1).amax().item() == pytest.approx(best, abs=1e-5)
    assert loss().item() == pytest.approx(-margin * math.log(best) - math.log(1 - best), abs=1e-9)


@each_label_kind
class TestGradients:
    def test_task_gets_no_gradient(self, labels: LabelKind) -> None:
        logits = [each.requires_grad_() for each in draw_logits()]
        margin_disparity(*logits, margin=1.5, labels=labels).backward()  # type: ignore[no-untyped-call]
        assert [each.grad is not None for each in logits] == [False, True, False, True]

    @pytest.mark.parametrize("scale", [0.0, 200.0, 1e4])
    def test_value_and_gradients_are_finite_for_any_logits(self, scale: float, labels: LabelKind) -> None:
        signs = torch.tensor([[1.0, -1], [-1, 1], [1, 1], [-1, -1]])
        for task in (signs, -signs):
            adversary = (scale * signs).requires_grad_()
            loss = margin_disparity(scale * task, adversary, scale * task, adversary, margin=1.5, labels=labels)
            loss.backward()  # type: ignore[no-untyped-call]
            assert loss.isfinite()
            assert adversary.grad is not None
            assert adversary.grad.isfinite().all()

    def test_gradient_survives_a_probability_that_rounds_to_1(self, labels: LabelKind) -> None:
        task = torch.tensor([[200.0, -200.0]])
        adversary = task.clone().requires_grad_()
        loss = disagreement(task, adversary, labels=labels)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == 400
        assert adversary.grad is not None
        assert adversary.grad.tolist() == [[1, -1]]
