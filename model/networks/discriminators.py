"""Discriminators of features, codes and windows, and the decoder of windows."""

import math
from itertools import pairwise
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.networks.emotion import mean_over_time
from emodna.model.networks.layers import Conv1d

DiscriminatorNorm = Literal["batch", "none"]
"""Layers after each hidden layer of a `Discriminator`: batch norm and ReLU, or ReLU and dropout."""

#: Dropout without batch norm (Long et al. 2018).
_DROPOUT: Final = 0.5
_LEAKY_SLOPE: Final = 0.2
#: Blocks of decoder and window discriminator. Each doubles or halves the time steps.
_BLOCKS: Final = 3
#: Sinusoids that encode the position of a time step for the decoder.
_WAVES: Final = 8


class Discriminator(nn.Module):
    """Three linear layers with one logit, positive for source: (n, inputs) -> (n,).

    The layers are those of Jiang et al. (2020), whose code has 1024 hidden units for image features. In training, pass
    both corpora at once: separate batch norm would hide their difference.
    """

    def __init__(self, inputs: int, hidden: int, norm: DiscriminatorNorm = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, hidden):
            if norm == "batch":
                # Batch norm subtracts the mean, so a bias before it has no effect.
                layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            else:
                layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(_DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n,) of (n, inputs)."""
        logits: Tensor = self.layers(x)
        return logits.squeeze(1)


def make_code_discriminator(inputs: int, hidden: int) -> nn.Sequential:
    """Make linear layers with LeakyReLU, without batch norm: (batch, inputs) -> logits (batch, 1)."""
    first, second = (nn.Linear(width, hidden) for width in (inputs, hidden))
    return nn.Sequential(first, nn.LeakyReLU(_LEAKY_SLOPE), second, nn.LeakyReLU(_LEAKY_SLOPE), nn.Linear(hidden, 1))


class WindowDiscriminator(nn.Module):
    """Strided convolutions and the mean over time: (batch, dim, frames) -> logits (batch, 1)."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        widths = [dim, *[channels] * _BLOCKS]
        self.blocks = nn.ModuleList(Conv1d(*each, kernel_size=3, stride=2, padding=1) for each in pairwise(widths))
        self.last = nn.Linear(channels, 1)

    def forward(self, windows: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, 1) of windows, from their first `lengths` (batch,) frames."""
        x = windows
        for block in self.blocks:
            x = F.leaky_relu(block(x), _LEAKY_SLOPE)
            lengths = (lengths + 1) // 2
        logits: Tensor = self.last(mean_over_time(x, lengths))
        return logits


class WindowDecoder(nn.Module):
    """Convolutions with upsampling: codes (batch, inputs) -> windows (batch, dim, frames) of any length.

    Every time step begins with the code and sinusoids of its position. Each block but the first halves the channels.
    """

    def __init__(self, inputs: int, dim: int, channels: int) -> None:
        super().__init__()
        widths = [channels, *(max(channels // 2**block, 1) for block in range(_BLOCKS))]
        self.first = Conv1d(inputs + 2 * _WAVES, channels, 1)
        self.blocks = nn.ModuleList(Conv1d(*each, kernel_size=3, padding=1) for each in pairwise(widths))
        self.last = Conv1d(widths[-1], dim, 3, padding=1)

    def forward(self, codes: Tensor, frames: int) -> Tensor:
        """Return windows (batch, dim, frames) of codes (batch, inputs)."""
        steps = -(-frames // 2**_BLOCKS)
        positions = torch.linspace(0, math.pi, steps, device=codes.device, dtype=codes.dtype)
        waves = torch.outer(torch.arange(1, _WAVES + 1, device=codes.device, dtype=codes.dtype), positions)
        time = torch.cat([waves.sin(), waves.cos()]).expand(len(codes), -1, -1)  # (batch, 2 * _WAVES, steps)
        x = F.leaky_relu(self.first(torch.cat([codes.unsqueeze(2).expand(-1, -1, steps), time], dim=1)), _LEAKY_SLOPE)
        for block in self.blocks:
            doubled = x.unsqueeze(3).expand(-1, -1, -1, 2).flatten(2)  # each step twice
            x = F.leaky_relu(block(doubled), _LEAKY_SLOPE)
        windows: Tensor = self.last(x[:, :, :frames])
        return windows
