"""Base of the methods that align the shared encoder's features of both corpora, and the kernels of those with MMD."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from emodna.model.config import Odd, Ratio
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.losses.kernels import Bandwidth, KernelOptions, KernelReduction
from emodna.model.losses.mmd import Estimator
from emodna.model.methods.base import Method
from emodna.model.methods.pseudo_labels import ContrastiveConfig, ContrastiveMethod, PseudoLabelContrast, SclConfig
from emodna.model.networks.passes import pass_both


@dataclass(frozen=True)
class AlignmentConfig(ContrastiveConfig):
    """The keys of L_SCL count with `--add scl` alone."""

    add: Literal["none", "scl"] = "none"
    """A term that is added to the method: L_SCL of Emo-DNA (the paper's Table 5)."""

    def __post_init__(self) -> None:
        """Refuse a key of L_SCL without `--add scl`, with a `ConfigError`."""
        super().__post_init__()
        if self.add == "none":
            for field in fields(SclConfig):
                if (value := getattr(self, field.name)) != field.default:
                    raise ConfigError(f"{field.name}={value}: only with --add scl")


@dataclass(frozen=True)
class KernelConfig:
    """Settings of MK-MMD (Eq. 10), and of the features' kernel in joint MMD."""

    mmd_kernels: Odd = 5
    mmd_estimator: Estimator = "biased"
    mmd_reduction: KernelReduction = "mean"
    """Over the kernels."""
    mmd_bandwidth: Bandwidth = "mean"
    mmd_width_ratio: Ratio = 2.0
    """Of neighbouring kernel widths."""

    @property
    def kernel(self) -> KernelOptions:
        """Keyword arguments of `mk_mmd` and `joint_mmd`, beside the estimator."""
        return {
            "kernels": self.mmd_kernels,
            "reduction": self.mmd_reduction,
            "bandwidth": self.mmd_bandwidth,
            "width_ratio": self.mmd_width_ratio,
        }


def list_additions(kind: type[Method]) -> list[str]:
    """Return the terms that `--add` can add to a method."""
    return ["scl"] if isinstance(kind.defaults, AlignmentConfig) else []


class DomainPair(NamedTuple):
    """Rows of each corpus of a joint tensor."""

    source: Tensor
    target: Tensor


class AlignmentMethod(ContrastiveMethod):
    """Cross-entropy on the source, and terms that bring the features E of both corpora together.

    A subclass defines `transfer_losses` alone, and makes what that needs after `super().__init__`.
    """

    config: AlignmentConfig

    def __init__(self, dim: int, config: AlignmentConfig, seed: int) -> None:
        super().__init__(dim, config, seed)
        self.contrast: PseudoLabelContrast | None = None
        if config.add == "scl" and config.scl_weight:
            self.projection = self.make_projection(seed)
            self.contrast = PseudoLabelContrast(config)
        self._monitored: dict[str, Tensor] = {}

    @abstractmethod
    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of the transfer loss, of E (n or m, channels) and phi_e(E) (n or m, 2)."""

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return Eq. 2, the method's own terms, and L_SCL if it is added."""
        n = len(source.labels)
        logits, emotion = pass_both(
            self.network, self.network.classify_and_embed, source, target, self.config.batch_norm
        )
        features, answers = DomainPair(emotion[:n], emotion[n:]), DomainPair(logits[:n], logits[n:])
        terms = {"emotion": F.cross_entropy(answers.source, source.labels)}
        for name, term in self.transfer_losses(features, answers, step).items():
            if name in ("emotion", "scl"):
                raise TrainingError(f"method {self.name}: transfer() has a term {name}, which is there already")
            terms[name] = term
        if self.contrast:
            pseudo = self.contrast.select(answers.target, target)
            terms["scl"] = self.config.scl_weight * self.contrast(self.projection(emotion), source.labels, pseudo)
        probabilities = answers.target.detach().softmax(1)
        self._monitored = {
            "target_high": probabilities.argmax(1).float().mean(),
            "target_entropy": -(probabilities * probabilities.clamp_min(1e-8).log()).sum(1).mean(),
        }
        return terms

    def monitor(self) -> Mapping[str, Tensor]:
        """Return signs of collapse on the target (share of class 1, mean entropy), and those of the pseudo-labels."""
        return {**self._monitored, **(self.contrast.monitor() if self.contrast else {})}
