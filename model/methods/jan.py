"""JAN: joint adaptation network, which aligns features and class probabilities by joint MMD."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Positive, Weight
from emodna.model.losses.joint_mmd import PROBABILITY_WIDTH, LayerOutputs, joint_mmd
from emodna.model.methods.alignment import AlignmentConfig, AlignmentMethod, DomainPair, KernelConfig


@dataclass(frozen=True)
class JanConfig(AlignmentConfig, KernelConfig):
    """Settings of JAN, without the paper's adversarial variant. `KernelConfig` has those of the kernels on E."""

    jmmd_weight: Weight = 1.0
    jmmd_probability_width: Positive = PROBABILITY_WIDTH
    """Width of the kernel on the class probabilities."""


class Jan(AlignmentMethod):
    """Cross-entropy on the source, and the squared joint MMD between (E, softmax) of both corpora."""

    name = "jan"
    summary = "features and class probabilities of both corpora aligned by joint MMD"
    reference = "Long et al. 2017, ICML, arXiv 1605.06636"
    defaults = JanConfig()
    config: JanConfig

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return JMMD. Its gradient also reaches the classifier, through the softmax."""
        config = self.config
        source, target = (LayerOutputs(e, rows.softmax(1)) for e, rows in zip(features, logits, strict=True))
        width, estimator = config.jmmd_probability_width, config.mmd_estimator
        jmmd = joint_mmd(source, target, probability_width=width, estimator=estimator, **config.kernel)
        return {"jmmd": config.jmmd_weight * jmmd}
