"""Plain implementation of CPAC, layer by layer and with every single prediction of routing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainBlock(nn.Module):
    """Convolution, batch norm in evaluation mode, ELU, mean pooling, dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.eval()
        dropped: Tensor = self.dropout(F.avg_pool2d(F.elu(self.norm(self.conv(x))), 2))
        return dropped


class PlainPrimary(nn.Module):
    """Convolution whose channels form capsules."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, maps * channels, 3)


class PlainRouted(nn.Module):
    """Matrices of the upper capsules."""

    def __init__(self, channels: int, capsules: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(capsules, channels, channels))


class PlainCapsules(nn.Module):
    """Capsule encoder: (batch, dim, frames) -> (batch, channels). Parameter names equal those of `CapsuleEncoder`."""

    def __init__(
        self, channels: int = 64, maps: int = 6, capsules: int = 6, routings: int = 3, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(PlainBlock(width, channels, dropout) for width in (1, channels, channels)))
        self.primary, self.routed = PlainPrimary(channels, maps), PlainRouted(channels, capsules)
        self.length, self.routings = channels, routings

    def forward(self, features: Tensor) -> Tensor:
        """Return the code of features (batch, dim, frames)."""
        maps = self.primary.conv(self.blocks(features.transpose(1, 2).unsqueeze(1)))
        primary = plain_squash(maps.permute(0, 2, 3, 1).reshape(len(features), -1, self.length))
        attention = torch.softmax(primary @ primary.transpose(1, 2), 2) @ primary
        predictions = torch.einsum("bnd,idj->binj", primary * attention, self.routed.weight)
        logits = torch.zeros_like(predictions[..., 0])  # (batch, capsules, n)
        for remaining in reversed(range(self.routings)):
            output = (torch.softmax(logits, 1).unsqueeze(3) * predictions).sum(2)  # (batch, capsules, channels)
            if remaining:
                unit = output / output.norm(dim=2, keepdim=True).clamp_min(1e-6)
                logits = (unit.unsqueeze(2) * predictions).sum(3)
        return plain_squash(output).mean(1)


def plain_squash(x: Tensor) -> Tensor:
    """Return |s|^2 / (1 + |s|^2) times s / |s|."""
    length = (x.square().sum(-1, keepdim=True) + 1e-7).sqrt()
    squared = x.square().sum(-1, keepdim=True)
    return squared / (1 + squared) * x / length
