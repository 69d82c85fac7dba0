"""DAN and JAN: aligned layers, and parameters that get a gradient."""

import pytest
import torch

from emodna.model.losses.joint_mmd import LayerOutputs, joint_mmd
from emodna.model.losses.mmd import mk_mmd
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.dan import Dan
from emodna.model.methods.jan import Jan
from tests.model.methods.test_every_method import STEP, losses, small
from tests.model.small import make_batches

FEATURES = DomainPair(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.ones(5, 8))
LOGITS = DomainPair(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), torch.ones(5, 2))


class TestDan:
    def test_dan_aligns_features_and_on_request_logits(self) -> None:
        terms = small(Dan, mmd_weight=3.0).transfer_losses(FEATURES, LOGITS, STEP)
        assert terms.keys() == {"mmd"}
        torch.testing.assert_close(terms["mmd"], 3 * mk_mmd(*FEATURES))
        other = small(Dan, mmd_weight=3.0, align_logits=True, mmd_reduction="sum")
        terms = other.transfer_losses(FEATURES, LOGITS, STEP)
        assert terms.keys() == {"mmd", "mmd_logits"}
        for name, rows in (("mmd", FEATURES), ("mmd_logits", LOGITS)):
            torch.testing.assert_close(terms[name], 3 * mk_mmd(*rows, reduction="sum"))

    @pytest.mark.parametrize("align_logits", [False, True])
    def test_alignment_trains_the_classifier_only_with_aligned_logits(self, align_logits: bool) -> None:
        model = small(Dan, align_logits=align_logits, dropout=0.0)
        terms = losses(model, make_batches())
        gradients = torch.autograd.grad(
            sum(terms[name] for name in terms if name != "emotion"), model.network.classifier.weight, allow_unused=True
        )
        assert (gradients[0] is not None and bool(gradients[0].any())) == align_logits


class TestJan:
    def test_jan_aligns_features_and_probabilities_jointly(self) -> None:
        settings = {"jmmd_probability_width": 0.5, "mmd_kernels": 3, "mmd_bandwidth": "median", "mmd_reduction": "sum"}
        terms = small(Jan, jmmd_weight=3.0, **settings).transfer_losses(FEATURES, LOGITS, STEP)
        source, target = (LayerOutputs(e, logits.softmax(1)) for e, logits in zip(FEATURES, LOGITS, strict=True))
        expected = joint_mmd(source, target, probability_width=0.5, kernels=3, bandwidth="median", reduction="sum")
        assert terms.keys() == {"jmmd"}
        torch.testing.assert_close(terms["jmmd"], 3 * expected)
        # The default width is that of the authors' code.
        usual = small(Jan).transfer_losses(FEATURES, LOGITS, STEP)["jmmd"]
        torch.testing.assert_close(usual, joint_mmd(source, target, probability_width=1.6928))

    def test_gradient_passes_through_the_softmax(self) -> None:
        model = small(Jan, dropout=0.0)
        (gradient,) = torch.autograd.grad(losses(model, make_batches())["jmmd"], model.network.classifier.weight)
        assert gradient.any()
