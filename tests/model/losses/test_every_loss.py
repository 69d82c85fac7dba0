"""Rules of every loss: type of the result, autocast, half precision, no host synchronisation, errors."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.losses.adversarial import domain_loss, dual_reward
from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.losses.contrastive import supervised_contrastive
from emodna.model.losses.joint_mmd import LayerOutputs, joint_mmd
from emodna.model.losses.margin import disagreement, margin_disparity
from emodna.model.losses.mmd import mk_mmd
from emodna.model.losses.prototypes import decoupling_loss, prototype
from emodna.model.losses.regularizers import center_loss, squared_spectral_norm
from emodna.model.reproducibility import use_seed

LABELS = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])
SELECTED = torch.tensor([True] * 6 + [False] * 2)
ESTIMATORS = ("biased", "unbiased", "linear-ring", "linear-pairs")


class Draw(Protocol):
    """Function that draws an input of a loss. `share`: each row is a distribution."""

    def __call__(self, *shape: int, share: bool = False) -> Tensor: ...


Case = Callable[[Draw], Tensor]


def apply_random_map(draw: Draw) -> Tensor:
    features, probabilities = draw(4, 3), draw(4, 2, share=True)
    with use_seed(0, "map"):
        return RandomisedMap(3, 2, 7).to(torch.promote_types(features.dtype, torch.float32))(features, probabilities)


def draw_outputs(draw: Draw) -> LayerOutputs:
    return LayerOutputs(draw(6, 4), draw(6, 2, share=True))


CASES: dict[str, Case] = {
    "domain": lambda draw: domain_loss(draw(4), draw(3), draw(4, share=True), draw(3, share=True)),
    "dual reward": lambda draw: dual_reward(draw(5, 1), draw(4, 1), draw(5, 1), draw(4, 1)),
    "multilinear map": lambda draw: multilinear_map(draw(4, 3), draw(4, 2, share=True)),
    "randomised map": apply_random_map,
    "entropy weights": lambda draw: entropy_weights(draw(4, 2, share=True)),
    "contrastive": lambda draw: supervised_contrastive(draw(8, 4), LABELS, SELECTED, temperature=0.01),
    "anchors": lambda draw: supervised_contrastive(draw(8, 4), LABELS, SELECTED, temperature=1, anchors=LABELS == 1),
    "decoupling": lambda draw: decoupling_loss(*(prototype(draw(5, 3)) for _ in range(4)), temperature=0.01),
    "both negatives": lambda draw: decoupling_loss(
        *(prototype(draw(5, 3), mean="unit") for _ in range(4)), temperature=0.1, negative="both"
    ),
    "margin": lambda draw: margin_disparity(*(draw(n, 2) for n in (5, 5, 4, 4)), margin=1.5),
    "soft margin": lambda draw: margin_disparity(*(draw(n, 2) for n in (5, 5, 4, 4)), margin=1.5, labels="soft"),
    "center": lambda draw: center_loss(draw(8, 3), LABELS, draw(2, 3)),
    "spectral": lambda draw: squared_spectral_norm(draw(6, 4)),
    "median mk-mmd": lambda draw: mk_mmd(draw(6, 4), draw(5, 4), bandwidth="median"),
}
for each in ESTIMATORS:
    CASES[f"mk-mmd, {each}"] = lambda draw, each=each: mk_mmd(draw(6, 4), draw(6, 4), estimator=each)  # type: ignore[misc]
    CASES[f"joint mmd, {each}"] = lambda draw, each=each: joint_mmd(
        draw_outputs(draw), draw_outputs(draw), estimator=each
    )  # type: ignore[misc]

every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def make_draw(dtype: torch.dtype, then: torch.dtype | None = None) -> Draw:
    """Return a function that draws the same inputs each time, rounded to `dtype` and converted to `then`."""
    seeds: Iterator[int] = iter(range(100))

    def draw(*shape: int, share: bool = False) -> Tensor:
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(next(seeds)), dtype=torch.float64)
        return (drawn.softmax(-1) if share else drawn).to(dtype).to(then or dtype)

    return draw


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_has_the_type_of_the_inputs(case: Case, dtype: torch.dtype) -> None:
    value = case(make_draw(dtype))
    assert value.dtype == dtype
    assert value.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    value = case(make_draw(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, case(make_draw(dtype, torch.float32)))


@every_loss
def test_autocast_has_no_effect(case: Case) -> None:
    expected = case(make_draw(torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(case(make_draw(torch.float32)), expected)


@every_loss
def test_no_loss_synchronises_with_the_host(case: Case) -> None:
    # Fake tensors hold no data: .item(), bool() and shapes that depend on values raise an error.
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs: list[Tensor] = []

        def draw(*shape: int, share: bool = False) -> Tensor:
            inputs.append(torch.rand(shape, requires_grad=True))
            return inputs[-1]

        value = case(draw).sum()
        if value.requires_grad:
            torch.autograd.grad(value, inputs, allow_unused=True)


MATRIX, MASK, LAYERS = torch.ones(4, 3), torch.ones(4).bool(), LayerOutputs(torch.ones(4, 3), torch.ones(4, 2))
CONTRASTIVE = {"z": MATRIX, "labels": torch.zeros(4), "selected": MASK, "temperature": 1}
NAN = float("nan")

#: Losses with invalid arguments, and a part of the error.
INVALID: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (domain_loss, (torch.zeros(3), torch.zeros(0)), {}, r"target.*\(0,\)"),
    (multilinear_map, (MATRIX, torch.ones(4)), {}, r"features and probabilities .*\(4,\)"),
    (supervised_contrastive, (), {**CONTRASTIVE, "labels": torch.ones(3)}, r"must have shapes .*\(3,\)"),
    (supervised_contrastive, (), {**CONTRASTIVE, "temperature": NAN}, "temperature must be positive, got nan"),
    (joint_mmd, (LAYERS, LayerOutputs(torch.ones(5, 3), torch.ones(4, 2))), {}, "the same number of rows"),
    (joint_mmd, (LAYERS, LAYERS), {"probability_width": 0.0}, "probability_width must be positive, got 0.0"),
    (margin_disparity, (MATRIX,) * 4, {"margin": NAN}, "margin must be positive, got nan"),
    (disagreement, (MATRIX, torch.ones(4, 2)), {}, "logits must both have shape"),
    (mk_mmd, (MATRIX, torch.ones(0, 3)), {}, "need one sample or more"),
    (mk_mmd, (torch.ones(1, 3),) * 2, {"estimator": "unbiased"}, "unbiased estimator .* got 1 and 1"),
    (mk_mmd, (torch.ones(5, 3), MATRIX), {"estimator": "linear-ring"}, "linear-ring estimator .* got 5 and 4"),
    (mk_mmd, (MATRIX, MATRIX), {"estimator": "linear"}, "estimator must be one of .* 'linear'"),
    (mk_mmd, (MATRIX, MATRIX), {"width_ratio": 1.0}, "ratio must be above 1, got 1.0"),
    (mk_mmd, (MATRIX, MATRIX), {"kernels": 2}, "kernels must be odd and positive, got 2"),
    (prototype, (torch.ones(0, 3),), {}, r"projections must have shape \(n, d\)"),
    (decoupling_loss, tuple(MATRIX), {"temperature": -1}, "temperature must be positive, got -1"),
    (center_loss, (MATRIX, torch.zeros(4), torch.ones(2, 4)), {}, r"must have shapes .*\(2, 4\)"),
    (squared_spectral_norm, (torch.ones(0, 3),), {}, r"features must have shape \(n, d\)"),
]


@pytest.mark.parametrize(("loss", "arguments", "options", "message"), INVALID)
def test_invalid_argument_is_named(loss: Any, arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(*arguments, **options)
