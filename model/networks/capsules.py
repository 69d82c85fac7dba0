"""CPAC, the encoder of CTL-MTNet: convolutions, capsules with self-attention, routing by agreement [1]_.

Layers, their order and what they start from are those of the authors' code.

.. [1] X. Wen et al., "CTL-MTNet: a novel CapsNet and transfer learning-based mixed task net for single-corpus and
   cross-corpus speech emotion recognition", IJCAI 2022.
"""

from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.networks.layers import Dropout, convolve_and_pool

#: Frames, and values per frame, of the smallest input: three blocks and the primary capsules make one place of it.
MIN_SIZE: Final = 38

_KERNEL: Final = 3
#: Added to a squared length before its root is taken, as Keras does.
_SQUARED_LENGTH: Final = 1e-7
#: Of Keras' batch norm.
_VARIANCE: Final = 1e-3
#: Least length that a vector is divided by.
_LENGTH: Final = 1e-6


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that is always in inference mode: its statistics stay 0 and 1, so it is an affine map."""

    running_mean: Tensor
    running_var: Tensor

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in inference mode."""
        return super().train(False)


class ConvolutionBlock(nn.Module):
    """Convolution without padding, frozen batch norm, ELU, mean pool, dropout.

    (batch, inputs, frames, dim) -> (batch, outputs, (frames - 2) // 2, (dim - 2) // 2)
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, _KERNEL)
        self.norm = FrozenBatchNorm2d(outputs, eps=_VARIANCE)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (batch, inputs, frames, dim)."""
        pooled = convolve_and_pool(x, *self._fold_norm())
        dropped: Tensor = self.dropout(pooled.flatten(2))
        return dropped.reshape(pooled.shape)

    def _fold_norm(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of one convolution that does the work of the norm, too."""
        norm, bias = self.norm, self.conv.bias
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.conv.weight * scale[:, None, None, None]
        return weight, (bias - norm.running_mean) * scale + norm.bias  # type: ignore[operator]


class PrimaryCapsules(nn.Module):
    """A convolution whose channels are read as capsules: (batch, inputs, h, w) -> (batch, capsules, length).

    There are `maps` capsules for each of the (h - 2) (w - 2) places.
    """

    def __init__(self, inputs: int, maps: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.conv = nn.Conv2d(inputs, maps * length, _KERNEL)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (batch, inputs, h, w)."""
        places = self.conv(x).permute(0, 2, 3, 1)  # (batch, h - 2, w - 2, maps * length)
        return squash(places.reshape(x.shape[0], -1, self.length))


class RoutedCapsules(nn.Module):
    """Capsules that agree with those below: (batch, n, inputs) -> (batch, capsules, length).

    Every capsule below predicts every capsule above by a matrix that all of those below share, so predictions are
    never made one by one: the inputs are mixed, and the mixtures go through the matrices.
    """

    def __init__(self, inputs: int, capsules: int, length: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(torch.empty(capsules, inputs, length))

    def forward(self, x: Tensor) -> Tensor:
        """Route (batch, n, inputs)."""
        batch, n, _ = x.shape  # not len(), which exporters take for a constant
        capsules = self.weight.shape[0]
        shares = x.new_full((1, 1, 1), 1 / capsules).expand(batch, capsules, n)
        routed = self._route(x, shares)
        for _ in range(self.iterations - 1):
            directions = F.normalize(routed, dim=2, eps=_LENGTH)
            # How well each prediction agrees: (batch, capsules, n)
            agreement = torch.einsum("bij,idj->bid", directions, self.weight) @ x.transpose(1, 2)
            routed = self._route(x, agreement.softmax(1))
        return squash(routed)

    def _route(self, x: Tensor, shares: Tensor) -> Tensor:
        """Sum the predictions for each capsule above by shares (batch, capsules, n): (batch, capsules, length)."""
        return torch.einsum("bid,idj->bij", shares @ x, self.weight)


class CapsuleEncoder(nn.Module):
    """(batch, dim, frames) -> (batch, channels): so many filters, and capsules of that length.

    There are `primary_maps` primary capsules per place, `capsules` in the last layer, `routings` iterations.
    """

    def __init__(self, channels: int, primary_maps: int, capsules: int, routings: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ConvolutionBlock(width, channels, dropout) for width in (1, channels, channels)))
        self.primary = PrimaryCapsules(channels, primary_maps, channels)
        self.routed = RoutedCapsules(channels, capsules, channels, routings)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                init_glorot(layer)
        # As one matrix for all capsules above.
        inputs, outputs = channels, capsules * channels
        nn.init.uniform_(self.routed.weight, -((6 / (inputs + outputs)) ** 0.5), (6 / (inputs + outputs)) ** 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (batch, dim, frames)."""
        picture = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, frames, dim)
        primary = self.primary(self.blocks(picture))  # (batch, n, channels)
        routed: Tensor = self.routed(primary * attend(primary))  # (batch, capsules, channels)
        return routed.mean(1)


def attend(x: Tensor) -> Tensor:
    """Apply self-attention over capsules (batch, n, length), by dot products that are not scaled."""
    return (x @ x.transpose(1, 2)).softmax(2) @ x


def squash(x: Tensor) -> Tensor:
    """Shorten vectors s along the last dimension to ``|s|^2 / (1 + |s|^2)``: short ones to almost 0, long ones to 1."""
    squared = x.square().sum(-1, keepdim=True)
    return squared / ((1 + squared) * (squared + _SQUARED_LENGTH).sqrt()) * x


def init_glorot(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw weights as Keras does by default: uniform by Glorot and Bengio (2010), with biases of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
