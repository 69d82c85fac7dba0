"""ADDi: an encoder against two discriminators of its codes, read as the game of D2GAN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Final, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Count, Positive, Share, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.adversarial import dual_reward
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.base import (
    CLASSES,
    AdaptationConfig,
    NetworkMethod,
    ParameterGroup,
    Phase,
    find_graph_obstacle,
    make_emotion_network,
)
from emodna.model.networks.discriminators import make_code_discriminator
from emodna.model.networks.emotion import ConvBlstmNetwork, EmotionClassifier
from emodna.model.networks.passes import pass_both
from emodna.model.reproducibility import use_seed

#: The two sides of the game, as groups of parameters.
ENCODER, DISCRIMINATORS = ("encoder",), ("discriminators",)
#: The discriminators come second: they learn from the codes that the encoder's turn has made anyway.
TURNS: Final = (ENCODER, DISCRIMINATORS)

_BETA2: Final = 0.999


@dataclass(frozen=True)
class AddiConfig(AdaptationConfig):
    """The keys of the TCN count with `encoder=shared` alone."""

    encoder: Literal["conv-blstm", "shared"] = "conv-blstm"
    """Network that makes the codes: backbone and Bi-LSTM, or the encoder that the compared methods share."""
    adversarial_weight: Weight = 0.1
    """Of J; at 0 the discriminators still learn, and tell how far apart the corpora are."""
    d2gan_alpha: Positive = 1.0
    d2gan_beta: Positive = 1.0
    discriminator_hidden: Count = 128
    discriminator_optimizer: Literal["adam", "radam"] = "adam"
    discriminator_learning_rate: Positive = 2e-4
    discriminator_beta1: Share = 0.5

    def __post_init__(self) -> None:
        """Refuse a key of the TCN without a TCN, with a `ConfigError`."""
        if self.encoder != "shared":
            for field in fields(AddiConfig):
                if field.name.startswith("tcn_") and (value := getattr(self, field.name)) != field.default:
                    raise ConfigError(f"{field.name}={value}: only with encoder=shared")


class Addi(NetworkMethod):
    """Cross-entropy on the source; two discriminators tell the corpora's codes apart, and the encoder hides them."""

    name = "addi"
    summary = "codes of both corpora made alike against two discriminators that reward opposite corpora"
    reference = "Latif et al. 2022, IEEE TAFFC, arXiv 2204.08625; as D2GAN, Nguyen et al. 2017, arXiv 1709.03831"
    our_reading = True
    defaults = AddiConfig()
    phases: ClassVar[Sequence[Phase]] = (Phase(turns=TURNS),)

    network: EmotionClassifier
    _codes: DomainPair
    """Codes of the encoder's turn, for that of the discriminators, without gradient."""

    def __init__(self, dim: int, config: AddiConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "shared":
            self.network = make_emotion_network(dim, config, seed)
        else:
            with use_seed(seed, "conv-blstm network"):
                self.network = ConvBlstmNetwork(dim, classes=CLASSES, channels=config.channels, dropout=config.dropout)
        with use_seed(seed, "code discriminators"):
            self.discriminators = nn.ModuleDict(
                {
                    name: make_code_discriminator(config.channels, config.discriminator_hidden)
                    for name in ("first", "second")
                }
            )
        self._monitored: dict[str, Tensor] = {}

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the terms of a turn: the encoder minimises cross-entropy and J, the discriminators maximise J."""
        if self.turn == DISCRIMINATORS:
            return {"discriminators": -self.game(self._codes, source, target)}
        logits, codes = self.encoded(source, target)
        game = self.game(codes, source, target)
        self._monitored = {"j": game.detach()}
        return {
            "emotion": F.cross_entropy(logits.source, source.labels),
            "adversarial": self.config.adversarial_weight * game,
        }

    def encoded(self, source: Batch, target: Batch) -> tuple[DomainPair, DomainPair]:
        """Return logits and codes of both corpora; remember the codes' values for the discriminators' turn."""
        n = len(source.lengths)
        logits, codes = pass_both(self.network, self.network.classify_and_embed, source, target, self.config.batch_norm)
        self._codes = DomainPair(codes[:n].detach(), codes[n:].detach())
        return DomainPair(logits[:n], logits[n:]), DomainPair(codes[:n], codes[n:])

    def game(self, codes: DomainPair, source: Batch, target: Batch) -> Tensor:  # noqa: ARG002
        """Return J, a scalar, of codes (n, channels) of the source's batch and (m, channels) of the target's."""
        first, second = (self.discriminators[name] for name in ("first", "second"))
        logits = (first(codes.source), first(codes.target), second(codes.source), second(codes.target))
        return dual_reward(*logits, alpha=self.config.d2gan_alpha, beta=self.config.d2gan_beta)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the encoder's side, and the discriminators with an optimiser of their own."""
        config, against = self.config, tuple(self.discriminators.parameters())
        its_own = tuple(p for name, p in self.named_parameters() if not name.startswith("discriminators."))
        return [
            ParameterGroup(*ENCODER, its_own),
            ParameterGroup(
                *DISCRIMINATORS,
                against,
                config.discriminator_optimizer,
                config.discriminator_learning_rate,
                (config.discriminator_beta1, _BETA2),
            ),
        ]

    @property
    def graph_obstacle(self) -> str | None:
        """Return a reason unless both corpora pass at once: the discriminators' turn passes none."""
        return find_graph_obstacle(self.config.batch_norm)

    def monitor(self) -> Mapping[str, Tensor]:
        """Return J of the encoder's turn: -2 where the discriminators find nothing to tell the corpora apart by."""
        return self._monitored
