"""MDD: who learns what from its disparity."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.losses.adversarial import ganin_weight
from emodna.model.methods.aligning import Domains
from emodna.model.methods.mdd import Mdd
from tests.model.small import batches

PAIR = batches()


def small(**settings: Any) -> Mdd:
    """A narrow one, without dropout."""
    return Mdd(6, dataclasses.replace(Mdd.defaults, channels=8, dropout=0.0, **settings), 0).train()


def gradients(method: Mdd, step: int, only: str) -> dict[str, Tensor]:
    """Of one term."""
    method.zero_grad(set_to_none=True)
    method.losses(*PAIR, torch.tensor(step))[only].backward()
    return {name: each.grad for name, each in method.named_parameters() if each.grad is not None}


def test_defaults() -> None:
    defaults = Mdd.defaults
    assert (defaults.margin, defaults.reversal_ceiling, defaults.reversal_schedule) == (1.5, 0.1, "share")


def test_is_the_sum_of_its_terms_by_hand() -> None:
    method = small(margin=4.0, transfer_weight=0.5)
    source, target = PAIR
    logits, features = method.network.answer(torch.cat([source.features, target.features]), torch.full((16,), 32))
    adversary = method.adversary(features).log_softmax(1)
    answers = logits.argmax(1)
    of_source = F.nll_loss(adversary[:8], answers[:8])
    of_target = F.nll_loss(adversary[8:], 1 - answers[8:])  # two classes: the other one
    terms = method.losses(source, target, torch.tensor(3))
    torch.testing.assert_close(terms["disparity"], 0.5 * (4 * of_source + of_target))
    torch.testing.assert_close(terms["emotion"], F.cross_entropy(logits[:8], source.labels))


def test_the_classifier_has_no_gradient_of_the_disparity() -> None:
    found = gradients(small(), 500, "disparity")
    assert not [name for name in found if name.startswith("network.classifier")]
    assert found["adversary.0.weight"].any()


def test_the_encoder_s_gradient_is_reversed_and_weighted_by_the_schedule() -> None:
    name = "network.encoder.0.convs.0.conv.weight"
    found = {step: gradients(small(), step, "disparity") for step in (0, 100, 500)}
    assert not found[0][name].any()
    assert found[0]["adversary.0.weight"].any()
    weights = {step: 0.1 * ganin_weight(torch.tensor(step / 1000)).item() for step in (100, 500)}
    torch.testing.assert_close(found[100][name] / weights[100], found[500][name] / weights[500], rtol=1e-3, atol=1e-6)
    method = small()
    # Against the gradient that is not reversed.
    method.zero_grad(set_to_none=True)
    source, target = PAIR
    logits, features = method.network.answer(torch.cat([source.features, target.features]), torch.full((16,), 32))
    adversary, answers = method.adversary(features), logits.argmax(1)
    (1.5 * F.cross_entropy(adversary[:8], answers[:8]) + F.cross_entropy(adversary[8:], 1 - answers[8:])).backward()
    plain = method.get_parameter(name).grad
    assert plain is not None
    torch.testing.assert_close(found[500][name], -weights[500] * plain, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("margin", [1.5, 4.0])
def test_on_corpora_that_are_alike_the_adversary_s_best_is_known(margin: float) -> None:
    features = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    method = small(margin=margin)
    method.requires_grad_(False)
    logits = torch.stack([features[:, 0], torch.zeros(64)], 1)
    # An adversary whose only input is which class is preferred.
    preferred = torch.cat([torch.where(logits.argmax(1) == 0, 1.0, -1.0).unsqueeze(1), torch.zeros(64, 7)], 1)
    method.adversary.requires_grad_(True)
    optimizer = torch.optim.LBFGS(method.adversary.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        alike = Domains(preferred, preferred), Domains(logits, logits)
        value = method.transfer(*alike, torch.tensor(0))["disparity"]
        value.backward()
        return value

    optimizer.step(loss)
    best = margin / (1 + margin)
    found = method.adversary(preferred).softmax(1).gather(1, logits.argmax(1, keepdim=True))
    torch.testing.assert_close(found, torch.full_like(found, best), rtol=0, atol=1e-3)
    assert loss().item() == pytest.approx(-margin * math.log(best) - math.log(1 - best), abs=1e-5)


def test_tells_how_often_the_adversary_agrees() -> None:
    method = small()
    method.adversary = method.network.classifier
    method.losses(*PAIR, torch.tensor(0))
    assert {name: value.item() for name, value in method.monitor().items() if name.startswith("agreeing")} == {
        "agreeing_source": 1,
        "agreeing_target": 1,
    }
