"""DAN: which layers it aligns."""

import pytest
import torch

from emodna.model.losses.mmd import mk_mmd
from emodna.model.methods.aligning import Domains
from emodna.model.methods.dan import Dan
from tests.model.methods.test_every_method import STEP, losses, small
from tests.model.small import batches

FEATURES = Domains(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.ones(5, 8))
LOGITS = Domains(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), torch.ones(5, 2))


def test_the_features_alone() -> None:
    terms = small(Dan, mmd_weight=3.0).transfer(FEATURES, LOGITS, STEP)
    assert terms.keys() == {"mmd"}
    torch.testing.assert_close(terms["mmd"], 3 * mk_mmd(*FEATURES))


def test_the_logits_too() -> None:
    terms = small(Dan, mmd_weight=3.0, align_logits=True, mmd_reduction="sum").transfer(FEATURES, LOGITS, STEP)
    assert terms.keys() == {"mmd", "mmd_logits"}
    for name, rows in (("mmd", FEATURES), ("mmd_logits", LOGITS)):
        torch.testing.assert_close(terms[name], 3 * mk_mmd(*rows, reduction="sum"))


@pytest.mark.parametrize("align_logits", [False, True])
def test_the_classifier_learns_from_the_target_only_where_its_logits_are_aligned(align_logits: bool) -> None:
    model = small(Dan, align_logits=align_logits, dropout=0.0)
    terms = losses(model, batches())
    gradients = torch.autograd.grad(
        sum(terms[name] for name in terms if name != "emotion"), model.network.classifier.weight, allow_unused=True
    )
    assert (gradients[0] is not None and bool(gradients[0].any())) == align_logits
