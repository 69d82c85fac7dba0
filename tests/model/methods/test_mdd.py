"""MDD: terms and their gradients."""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.losses.adversarial import ganin_weight
from emodna.model.methods.mdd import Mdd
from tests.model.small import make_batches

PAIR = make_batches()
INPUTS, LENGTHS = torch.cat([each.features for each in PAIR]), torch.full((16,), 32)


def small(**settings: Any) -> Mdd:
    """Return a narrow MDD without dropout."""
    return Mdd(6, dataclasses.replace(Mdd.defaults, channels=8, dropout=0.0, **settings), 0).train()


def disparity_gradients(step: int) -> dict[str, Tensor]:
    method = small()
    method.losses(*PAIR, torch.tensor(step))["disparity"].backward()
    return {name: each.grad for name, each in method.named_parameters() if each.grad is not None}


def test_terms_equal_the_equations() -> None:
    method = small(margin=4.0, transfer_weight=0.5)
    source, target = PAIR
    logits, features = method.network.classify_and_embed(INPUTS, LENGTHS)
    adversary = method.adversary(features).log_softmax(1)
    labels = logits.argmax(1)
    of_source = F.nll_loss(adversary[:8], labels[:8])
    of_target = F.nll_loss(adversary[8:], 1 - labels[8:])  # two classes: the other one
    terms = method.losses(source, target, torch.tensor(3))
    torch.testing.assert_close(terms["disparity"], 0.5 * (4 * of_source + of_target))
    torch.testing.assert_close(terms["emotion"], F.cross_entropy(logits[:8], source.labels))


def test_encoder_gradient_is_reversed_and_classifier_gets_none() -> None:
    name = "network.encoder.0.convs.0.conv.weight"
    first, later = map(disparity_gradients, (0, 500))
    assert not first[name].any()
    assert first["adversary.0.weight"].any()
    assert not [name for name in later if name.startswith("network.classifier")]
    method = small()
    logits, features = method.network.classify_and_embed(INPUTS, LENGTHS)
    adversary, labels = method.adversary(features), logits.argmax(1)
    (1.5 * F.cross_entropy(adversary[:8], labels[:8]) + F.cross_entropy(adversary[8:], 1 - labels[8:])).backward()
    # The gradient without reversal.
    plain, weight = method.get_parameter(name).grad, 0.1 * ganin_weight(torch.tensor(0.5)).item()
    assert plain is not None
    torch.testing.assert_close(later[name], -weight * plain, rtol=1e-3, atol=1e-6)
