"""Base of the methods that align the features of both corpora, and the kernel settings of those with MMD."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from emodna.model.config import Odd, Ratio
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import TrainingError
from emodna.model.losses.kernels import Bandwidth, KernelOptions, KernelReduction
from emodna.model.losses.mmd import Estimator
from emodna.model.methods.base import Method, check_unused, monitor_target
from emodna.model.methods.pseudo_labels import ContrastiveConfig, ContrastiveMethod, PseudoLabelContrast, SclConfig
from emodna.model.networks.passes import pass_both
from emodna.pipeline.errors import Remedy


@dataclass(frozen=True)
class AlignmentConfig(ContrastiveConfig):
    """Settings of an alignment method. Those of L_SCL need `add=scl`."""

    add: Literal["none", "scl"] = "none"
    """Term to add to the method: L_SCL of Emo-DNA (the paper's Table 5)."""

    def __post_init__(self) -> None:
        """Raise a ConfigError if a setting of L_SCL is changed without L_SCL."""
        super().__post_init__()
        if self.add == "none":
            check_unused(self, fields(SclConfig), Remedy("it needs {add=scl}"))


@dataclass(frozen=True)
class KernelConfig:
    """Settings of MK-MMD (Eq. 10) and of the feature kernel in joint MMD."""

    mmd_kernels: Odd = 5
    mmd_estimator: Estimator = "biased"
    mmd_reduction: KernelReduction = "mean"
    mmd_bandwidth: Bandwidth = "mean"
    mmd_width_ratio: Ratio = 2.0
    """Ratio of neighbouring kernel widths."""

    @property
    def kernel(self) -> KernelOptions:
        """Keyword arguments of `mk_mmd` and `joint_mmd`, except the estimator."""
        return {
            "kernels": self.mmd_kernels,
            "reduction": self.mmd_reduction,
            "bandwidth": self.mmd_bandwidth,
            "width_ratio": self.mmd_width_ratio,
        }


def list_additions(kind: type[Method]) -> list[str]:
    """Return the terms that can be added to a method."""
    return ["scl"] if isinstance(kind.defaults, AlignmentConfig) else []


class DomainPair(NamedTuple):
    """Tensors of the source's rows and of the target's rows."""

    source: Tensor
    target: Tensor


class AlignmentMethod(ContrastiveMethod):
    """Cross-entropy on the source, and transfer losses that align the features E of both corpora.

    A subclass defines `transfer_losses` and makes further modules after `super().__init__`.
    """

    config: AlignmentConfig

    def __init__(self, dim: int, config: AlignmentConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        self.contrast: PseudoLabelContrast | None = None
        if config.add == "scl" and config.scl_weight:
            self.projection = self.make_projection(seed)
            self.contrast = PseudoLabelContrast(config, classes)

    @abstractmethod
    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Return the weighted transfer losses of E (n or m, channels) and phi_e(E) (n or m, classes) by name."""

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return Eq. 2, the transfer losses, and L_SCL if added. Raise a TrainingError if two terms share a name."""
        n, mode = len(source.labels), self.config.batch_norm
        logits, emotion = pass_both(self.network, self.network.classify_and_embed, source, target, mode)
        features, predicted = DomainPair(emotion[:n], emotion[n:]), DomainPair(logits[:n], logits[n:])
        terms = {"emotion": F.cross_entropy(predicted.source, source.labels)}
        transfer = self.transfer_losses(features, predicted, step)
        if names := sorted(transfer.keys() & {"emotion", "scl"}):
            raise TrainingError(f"transfer_losses() must not name a term {names[0]!r}", where=f"method {self.name}")
        terms |= transfer
        if self.contrast:
            pseudo = self.contrast.select(predicted.target, target)
            terms["scl"] = self.config.scl_weight * self.contrast(self.projection(emotion), source.labels, pseudo)
        self._monitored = monitor_target(predicted.target)
        return terms

    def monitor(self) -> Mapping[str, Tensor]:
        """Return values of `monitor_target`, and of the pseudo-labels."""
        return {**self._monitored, **(self.contrast.monitor() if self.contrast else {})}
