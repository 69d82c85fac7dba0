"""JAN: what is aligned, what its gradient reaches, and L_SCL beside it."""

from pathlib import Path

import torch

from emodna.model.checkpoint import load_tensors
from emodna.model.losses.joint_mmd import Layers, joint_mmd
from emodna.model.losses.mmd import mk_mmd
from emodna.model.methods.aligning import Domains
from emodna.model.methods.jan import Jan
from emodna.pipeline.store import FeatureStore
from tests.model.methods.test_every_method import STEP, losses, small
from tests.model.small import assert_same_tensors, batches, fit_small, logged_lines

FEATURES = Domains(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.ones(5, 8))
LOGITS = Domains(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), torch.ones(5, 2))


def test_features_and_softmax_are_aligned_together() -> None:
    settings = {"jmmd_probability_width": 0.5, "mmd_kernels": 3, "mmd_bandwidth": "median", "mmd_reduction": "sum"}
    terms = small(Jan, jmmd_weight=3.0, **settings).transfer(FEATURES, LOGITS, STEP)
    source, target = (Layers(e, logits.softmax(1)) for e, logits in zip(FEATURES, LOGITS, strict=True))
    expected = joint_mmd(source, target, probability_width=0.5, kernels=3, bandwidth="median", reduction="sum")
    assert terms.keys() == {"jmmd"}
    torch.testing.assert_close(terms["jmmd"], 3 * expected)


def test_the_width_of_the_probabilities_is_that_of_the_code_of_its_authors() -> None:
    source, target = (Layers(e, logits.softmax(1)) for e, logits in zip(FEATURES, LOGITS, strict=True))
    value = small(Jan).transfer(FEATURES, LOGITS, STEP)["jmmd"]
    torch.testing.assert_close(value, joint_mmd(source, target, probability_width=1.6928))


def test_a_classifier_that_answers_alike_leaves_dan() -> None:
    alike = Domains(*(torch.ones_like(each) for each in LOGITS))
    torch.testing.assert_close(small(Jan).transfer(FEATURES, alike, STEP)["jmmd"], mk_mmd(*FEATURES))


def test_the_gradient_goes_through_the_softmax() -> None:
    model = small(Jan, dropout=0.0)
    (gradient,) = torch.autograd.grad(losses(model, batches())["jmmd"], model.network.classifier.weight)
    assert gradient.any()


def test_l_scl_is_added_to_it(source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
    fit_small(source, target, tmp_path / "plain", method="jan")
    for weight in ("0", "0.1"):
        fit_small(source, target, tmp_path / weight, method="jan", settings={"add": "scl", "scl_weight": weight})
    plain, off, on = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("plain", "0", "0.1"))
    # With a weight of 0 the head learns nothing, and the rest is the method's own to the bit.
    assert_same_tensors(plain, {name: tensor for name, tensor in off.items() if name in plain})
    assert any(not torch.equal(plain[name], on[name]) for name in plain)
    assert {"emotion", "jmmd", "scl", "threshold", "confident"} <= logged_lines(tmp_path / "0.1")[0].keys()
