"""The settings of MK-MMD, for all methods that align by it."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Odd, Ratio
from emodna.model.losses.mmd import Bandwidth, Estimator, KernelReduction, mk_mmd


@dataclass(frozen=True)
class KernelConfig:
    """Of Eq. 10."""

    mmd_kernels: Odd = 5
    mmd_estimator: Estimator = "biased"
    mmd_reduction: KernelReduction = "mean"
    """Over the kernels."""
    mmd_bandwidth: Bandwidth = "mean"
    mmd_width_ratio: Ratio = 2.0
    """Of neighbouring kernel widths."""


def configured_mmd(config: KernelConfig, source: Tensor, target: Tensor) -> Tensor:
    """`mk_mmd` of features (n, d) and (m, d), a scalar."""
    return mk_mmd(
        source,
        target,
        kernels=config.mmd_kernels,
        estimator=config.mmd_estimator,
        reduction=config.mmd_reduction,
        bandwidth=config.mmd_bandwidth,
        width_ratio=config.mmd_width_ratio,
    )
