"""MDD: margin disparity discrepancy, on the encoder that the compared methods share."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Count, Positive, Weight
from emodna.model.losses.adversarial import reverse_gradient
from emodna.model.losses.margin import agreement_share, margin_disparity
from emodna.model.methods.adversarial import ReversalConfig, reversal_weight
from emodna.model.methods.alignment import AlignmentConfig, AlignmentMethod, DomainPair
from emodna.model.networks.emotion import make_head
from emodna.model.reproducibility import use_seed


@dataclass(frozen=True)
class MddConfig(AlignmentConfig, ReversalConfig):
    """Settings of MDD. The reversal grows to 0.1, as in the reference implementations."""

    transfer_weight: Weight = 1.0
    margin: Positive = 1.5
    """Margin factor gamma. The paper uses 2 to 4 for images."""
    adversary_hidden: Count = 128
    """Units of the hidden layer of f'. A linear f' cannot follow the encoder, whose objective has no bound."""


class Mdd(AlignmentMethod):
    """Cross-entropy on the source, and features on which an adversary cannot disagree on the target only."""

    name = "mdd"
    summary = "features on which a second classifier cannot disagree on the target only (margin disparity)"
    reference = "Zhang et al. 2019, ICML, arXiv 1904.05801"
    defaults = MddConfig(reversal_ceiling=0.1)
    config: MddConfig

    def __init__(self, dim: int, config: MddConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        with use_seed(seed, "adversary"):
            self.adversary = make_head(config.channels, config.adversary_hidden, classes)
        self._monitored_agreement: dict[str, Tensor] = {}

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Return the margin disparity. It has no gradient to the classifier, and a reversed one to the features."""
        weight = reversal_weight(self.config, self.progress(step), step)
        adversary = DomainPair(*(self.adversary(reverse_gradient(each, weight)) for each in features))
        four_logits = logits.source, adversary.source, logits.target, adversary.target
        disparity = margin_disparity(*four_logits, margin=self.config.margin)
        self._monitored_agreement = {
            "agreeing_source": agreement_share(logits.source, adversary.source),
            "agreeing_target": agreement_share(logits.target, adversary.target),
        }
        return {"disparity": self.config.transfer_weight * disparity}

    def monitor(self) -> Mapping[str, Tensor]:
        """Return also the shares of utterances on which the adversary predicts the classifier's class."""
        return {**super().monitor(), **self._monitored_agreement}
