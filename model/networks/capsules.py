"""CPAC, the encoder of CTL-MTNet: convolutions, capsules with self-attention, routing by agreement [1]_.

Layers, their order and their initialisation follow the authors' code.

.. [1] X. Wen et al., "CTL-MTNet: a novel CapsNet and transfer learning-based mixed task net for single-corpus and
   cross-corpus speech emotion recognition", IJCAI 2022.
"""

from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.networks.layers import Dropout, convolve_and_pool

#: Smallest number of frames and of values per frame: blocks and primary capsules reduce them to one position.
MIN_SIZE: Final = 38

_KERNEL: Final = 3
#: Offsets of a squared length under the root and of the variance in batch norm, as in Keras.
_SQUARED_LENGTH_OFFSET, _VARIANCE_OFFSET = 1e-7, 1e-3
#: Smallest divisor in the normalisation of a vector.
_MIN_LENGTH: Final = 1e-6


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that stays in evaluation mode. Its statistics stay 0 and 1, so it is an affine map."""

    running_mean: Tensor
    running_var: Tensor

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode."""
        return super().train(False)


class ConvolutionBlock(nn.Module):
    """Convolution without padding, frozen batch norm, ELU, mean pooling, dropout.

    (batch, inputs, frames, dim) -> (batch, outputs, (frames - 2) // 2, (dim - 2) // 2)
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, _KERNEL)
        self.norm = FrozenBatchNorm2d(outputs, eps=_VARIANCE_OFFSET)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of (batch, inputs, frames, dim)."""
        pooled = convolve_and_pool(x, *self._fold_norm())  # weight and bias with the norm
        dropped: Tensor = self.dropout(pooled.flatten(2))
        return dropped.reshape(pooled.shape)

    def _fold_norm(self) -> tuple[Tensor, Tensor]:
        norm, bias = self.norm, self.conv.bias
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.conv.weight * scale[:, None, None, None]
        return weight, (bias - norm.running_mean) * scale + norm.bias  # type: ignore[operator]


class PrimaryCapsules(nn.Module):
    """Convolution whose channels form capsules: (batch, inputs, h, w) -> (batch, capsules, length).

    Each of the (h - 2) (w - 2) positions has `maps` capsules.
    """

    def __init__(self, inputs: int, maps: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.conv = nn.Conv2d(inputs, maps * length, _KERNEL)

    def forward(self, x: Tensor) -> Tensor:
        """Return the capsules of (batch, inputs, h, w)."""
        positions = self.conv(x).permute(0, 2, 3, 1)  # (batch, h - 2, w - 2, maps * length)
        return squash(positions.reshape(x.shape[0], -1, self.length))


class RoutedCapsules(nn.Module):
    """Capsules with dynamic routing from n lower capsules: (batch, n, inputs) -> (batch, capsules, length).

    All lower capsules share the matrix that predicts an upper capsule. So the lower capsules are summed first, with
    their shares, and the sums are multiplied by the matrices.
    """

    def __init__(self, inputs: int, capsules: int, length: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(torch.empty(capsules, inputs, length))

    def forward(self, x: Tensor) -> Tensor:
        """Return the upper capsules of (batch, n, inputs)."""
        batch, n, _ = x.shape  # not len(), which exporters take for a constant
        capsules = self.weight.shape[0]
        shares = x.new_full((1, 1, 1), 1 / capsules).expand(batch, capsules, n)
        routed = self._route(x, shares)
        for _ in range(self.iterations - 1):
            directions = F.normalize(routed, dim=2, eps=_MIN_LENGTH)
            # (batch, capsules, n)
            agreement = torch.einsum("bij,idj->bid", directions, self.weight) @ x.transpose(1, 2)
            routed = self._route(x, agreement.softmax(1))
        return squash(routed)

    def _route(self, x: Tensor, shares: Tensor) -> Tensor:
        """Return the predictions (batch, capsules, length) summed with shares (batch, capsules, n)."""
        return torch.einsum("bid,idj->bij", shares @ x, self.weight)


class CapsuleEncoder(nn.Module):
    """Capsule encoder: (batch, dim, frames) -> (batch, channels).

    It has `channels` filters, capsules of this length, `primary_maps` primary capsules per position, `capsules` last
    capsules, and `routings` iterations.
    """

    def __init__(self, channels: int, primary_maps: int, capsules: int, routings: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ConvolutionBlock(width, channels, dropout) for width in (1, channels, channels)))
        self.primary = PrimaryCapsules(channels, primary_maps, channels)
        self.routed = RoutedCapsules(channels, capsules, channels, routings)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                init_glorot(layer)
        bound = (6 / (channels + capsules * channels)) ** 0.5  # Glorot's, for one matrix of all upper capsules
        nn.init.uniform_(self.routed.weight, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Return the code (batch, channels) of features (batch, dim, frames)."""
        image = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, frames, dim)
        primary = self.primary(self.blocks(image))  # (batch, n, channels)
        routed: Tensor = self.routed(primary * attend(primary))  # (batch, capsules, channels)
        return routed.mean(1)


def attend(x: Tensor) -> Tensor:
    """Apply self-attention with unscaled dot products over capsules (batch, n, length)."""
    return (x @ x.transpose(1, 2)).softmax(2) @ x


def squash(x: Tensor) -> Tensor:
    """Scale vectors s along the last dimension to the length ``|s|^2 / (1 + |s|^2)``."""
    squared = x.square().sum(-1, keepdim=True)
    return squared / ((1 + squared) * (squared + _SQUARED_LENGTH_OFFSET).sqrt()) * x


def init_glorot(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialise weights as Keras does: uniform by Glorot and Bengio (2010), with biases of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
