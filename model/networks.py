"""The networks of Emo-DNA (paper sections 3.3 and 4.1), shared by the methods that are compared with it.

Unstated in the paper and chosen here: convolutions padded by 1 and pools of 2 in the backbone; 64 channels, dropout 0.1
and mean pooling over time in the emotion encoder; the two directions of the Bi-LSTM summed.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Each of the backbone's blocks halves the number of time steps.
_POOL: Final = 2


class Backbone(nn.Sequential):
    """Three local feature learning blocks: convolution, batch norm, ReLU, dropout, max pool.

    (batch, dim, frames) -> (batch, channels, frames // 8)
    """

    def __init__(self, dim: int, channels: int, dropout: float, blocks: int = 3) -> None:
        layers: list[nn.Module] = []
        for width in [dim, *[channels] * (blocks - 1)]:
            layers += [
                nn.Conv1d(width, channels, kernel_size=3, padding=1),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.MaxPool1d(_POOL),
            ]
        super().__init__(*layers)
        self.shrink = _POOL**blocks

    def pooled_lengths(self, lengths: Tensor) -> Tensor:
        """(batch,) time steps that are left of this many frames, at least one."""
        pooled: Tensor = (lengths // self.shrink).clamp_min(1)
        return pooled


class CausalConv(nn.Module):
    """Dilated convolution that sees the past only, then batch norm, ReLU, dropout.

    (batch, inputs, time) -> (batch, outputs, time)
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        # Norm before dropout: behind it, its statistics would differ between training and evaluation.
        self.norm = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (batch, in, time)."""
        activated: Tensor = self.dropout(F.relu(self.norm(self.conv(F.pad(x, (self.past, 0))))))
        return activated


class TemporalBlock(nn.Module):
    """Residual block of a temporal convolutional network (Bai et al. 2018), batch norm in place of weight norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            CausalConv(inputs, outputs, kernel, dilation, dropout),
            CausalConv(outputs, outputs, kernel, dilation, dropout),
        )
        self.residual = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, time) -> (batch, out, time)."""
        return F.relu(self.convs(x) + self.residual(x))


class EmotionEncoder(nn.Sequential):
    """Temporal convolutional network with dilations 1, 2, 4, ...: (batch, channels, time) -> the same."""

    def __init__(self, channels: int, kernel: int, blocks: int, dropout: float) -> None:
        super().__init__(*(TemporalBlock(channels, channels, kernel, 2**i, dropout) for i in range(blocks)))


class CorpusEncoder(nn.Module):
    """Bi-LSTM whose two directions are summed: (batch, channels, time) -> (batch, units, time)."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, units, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, units, time)."""
        hidden: Tensor = self.lstm(x.transpose(1, 2))[0]  # (batch, time, 2 * units)
        forward, backward = hidden.chunk(2, dim=2)
        return (forward + backward).transpose(1, 2)


class EmotionNetwork(nn.Module):
    """Backbone, emotion encoder and linear emotion classifier: what every shared-encoder method predicts with."""

    def __init__(
        self, dim: int, *, classes: int, channels: int, dropout: float, tcn_blocks: int, tcn_kernel: int
    ) -> None:
        super().__init__()
        self.backbone = Backbone(dim, channels, dropout)
        self.encoder = EmotionEncoder(channels, tcn_kernel, tcn_blocks, dropout)
        self.classifier = nn.Linear(channels, classes)

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Emotion features E (batch, channels) of the backbone's output (batch, channels, time)."""
        return mean_over_time(self.encoder(hidden), self.backbone.pooled_lengths(lengths))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, classes) of features (batch, dim, frames)."""
        logits: Tensor = self.classifier(self.encode(self.backbone(features), lengths))
        return logits


def projection_head(inputs: int, outputs: int) -> nn.Sequential:
    """Head g of Eq. 4 and 8: linear, ReLU, linear (Khosla et al. 2020)."""
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))


def mean_over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean of (batch, channels, time) over each row's first `lengths` (batch,) steps: (batch, channels)."""
    steps = torch.arange(x.shape[2], device=x.device)
    counted = (steps < lengths.unsqueeze(1)).unsqueeze(1)  # (batch, 1, time)
    return (x * counted).sum(2) / lengths.unsqueeze(1)
