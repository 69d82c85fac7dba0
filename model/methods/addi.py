"""ADDi: adversarial dual discriminators of the encoder's codes, read as the game of D2GAN."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Final, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Count, Positive, Share, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.losses.adversarial import dual_reward
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.base import (
    NetworkMethod,
    PairMethod,
    PaperNetworkConfig,
    ParameterGroup,
    Phase,
    check_unused,
    make_emotion_network,
)
from emodna.model.networks.discriminators import make_code_discriminator
from emodna.model.networks.emotion import ConvBlstmNetwork, EmotionClassifier
from emodna.model.networks.passes import BatchNormMode, pass_both
from emodna.model.reproducibility import use_seed
from emodna.pipeline.errors import Remedy

#: Parameter groups of the two sides of the game.
ENCODER, DISCRIMINATORS = ("encoder",), ("discriminators",)
#: The discriminators come second and reuse the codes of the encoder's turn.
TURNS: Final = (ENCODER, DISCRIMINATORS)

_BETA2: Final = 0.999
_NEEDS_TCN: Final = Remedy("it needs {encoder=shared}")


@dataclass(frozen=True)
class AddiConfig(PaperNetworkConfig):
    """Settings of ADDi. Those of the TCN need `encoder=shared`."""

    batch_norm: BatchNormMode = "concat"
    encoder: Literal["conv-blstm", "shared"] = "conv-blstm"
    """Encoder of the codes: backbone and Bi-LSTM, or the encoder that the compared methods share."""
    adversarial_weight: Weight = 0.1
    """Weight of J in the encoder's loss. With 0 the discriminators still learn, and the log still has J."""
    d2gan_alpha: Positive = 1.0
    d2gan_beta: Positive = 1.0
    discriminator_hidden: Count = 128
    discriminator_optimizer: Literal["adam", "radam"] = "adam"
    discriminator_learning_rate: Positive = 2e-4
    discriminator_beta1: Share = 0.5

    def __post_init__(self) -> None:
        """Raise a ConfigError if a setting of the TCN is changed without a TCN."""
        if self.encoder != "shared":
            check_unused(self, [field for field in fields(AddiConfig) if field.name.startswith("tcn_")], _NEEDS_TCN)


class Addi(PairMethod, NetworkMethod):
    """Cross-entropy on the source, and a game of the encoder against two discriminators of the corpora's codes.

    The log has J of the encoder's turn, which is -2 if the discriminators cannot distinguish the corpora.
    """

    name = "addi"
    summary = "codes that hide the corpus from two discriminators, each of which favours one corpus"
    reference = "Latif et al. 2022, IEEE TAFFC, arXiv 2204.08625; as D2GAN, Nguyen et al. 2017, arXiv 1709.03831"
    our_reading = True
    defaults = AddiConfig()
    phases: ClassVar[Sequence[Phase]] = (Phase(turns=TURNS),)

    network: EmotionClassifier
    _monitored: dict[str, Tensor]
    _codes: DomainPair
    """Detached codes of the encoder's turn, for the discriminators' turn."""

    def __init__(self, dim: int, config: AddiConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "shared":
            self.network = make_emotion_network(dim, config, seed, classes)
        else:
            with use_seed(seed, "conv-blstm network"):
                self.network = ConvBlstmNetwork(dim, classes=classes, channels=config.channels, dropout=config.dropout)
        with use_seed(seed, "code discriminators"):
            sizes = config.channels, config.discriminator_hidden
            self.discriminators = nn.ModuleDict({name: make_code_discriminator(*sizes) for name in ("first", "second")})

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the terms of the turn: the encoder minimises cross-entropy and J, the discriminators maximise J."""
        if self.turn == DISCRIMINATORS:
            return {"discriminators": -self.compute_j(self._codes, source, target)}
        logits, codes = self.encode_both(source, target)
        j = self.compute_j(codes, source, target)
        self._monitored = {"j": j.detach()}
        return {
            "emotion": F.cross_entropy(logits.source, source.labels),
            "adversarial": self.config.adversarial_weight * j,
        }

    def encode_both(self, source: Batch, target: Batch) -> tuple[DomainPair, DomainPair]:
        """Return logits and codes of both corpora. Keep the detached codes for the discriminators' turn."""
        n = len(source.lengths)
        logits, codes = pass_both(self.network, self.network.classify_and_embed, source, target, self.config.batch_norm)
        self._codes = DomainPair(codes[:n].detach(), codes[n:].detach())
        return DomainPair(logits[:n], logits[n:]), DomainPair(codes[:n], codes[n:])

    def compute_j(self, codes: DomainPair, source: Batch, target: Batch) -> Tensor:  # noqa: ARG002
        """Return J, a scalar, of source codes (n, channels) and target codes (m, channels)."""
        first, second = (self.discriminators[name] for name in ("first", "second"))
        logits = (first(codes.source), first(codes.target), second(codes.source), second(codes.target))
        return dual_reward(*logits, alpha=self.config.d2gan_alpha, beta=self.config.d2gan_beta)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the encoder's group and the discriminators' group. The latter has its own optimiser."""
        config, of_discriminators = self.config, tuple(self.discriminators.parameters())
        of_encoder = tuple(p for name, p in self.named_parameters() if not name.startswith("discriminators."))
        optimizer, rate = config.discriminator_optimizer, config.discriminator_learning_rate
        betas = config.discriminator_beta1, _BETA2
        return [
            ParameterGroup(*ENCODER, of_encoder),
            ParameterGroup(*DISCRIMINATORS, of_discriminators, optimizer, rate, betas),
        ]
