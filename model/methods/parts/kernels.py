"""The settings of MK-MMD and of joint MMD, for all methods that align by them."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Odd, Ratio
from emodna.model.losses.joint_mmd import Layers, joint_mmd
from emodna.model.losses.kernels import Bandwidth, KernelOptions, KernelReduction
from emodna.model.losses.mmd import Estimator, mk_mmd


@dataclass(frozen=True)
class KernelConfig:
    """Of Eq. 10, and of the features' kernel in joint MMD."""

    mmd_kernels: Odd = 5
    mmd_estimator: Estimator = "biased"
    mmd_reduction: KernelReduction = "mean"
    """Over the kernels."""
    mmd_bandwidth: Bandwidth = "mean"
    mmd_width_ratio: Ratio = 2.0
    """Of neighbouring kernel widths."""


def configured_mmd(config: KernelConfig, source: Tensor, target: Tensor) -> Tensor:
    """`mk_mmd` of features (n, d) and (m, d), a scalar."""
    return mk_mmd(source, target, estimator=config.mmd_estimator, **_options(config))


def configured_joint_mmd(config: KernelConfig, source: Layers, target: Layers, probability_width: float) -> Tensor:
    """`joint_mmd` of layers of n and of m rows, a scalar."""
    return joint_mmd(
        source, target, probability_width=probability_width, estimator=config.mmd_estimator, **_options(config)
    )


def _options(config: KernelConfig) -> KernelOptions:
    return {
        "kernels": config.mmd_kernels,
        "reduction": config.mmd_reduction,
        "bandwidth": config.mmd_bandwidth,
        "width_ratio": config.mmd_width_ratio,
    }
