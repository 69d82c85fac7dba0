"""Networks of Emo-DNA (paper sections 3.3 and 4.1), shared by the methods that are compared with it.

The paper leaves details open. We chose padding 1 and pooling by 2 in the backbone, 64 channels, dropout 0.1 and mean
pooling over time in the emotion encoder, and the sum of both directions of the Bi-LSTM. Arguments offer other readings.
"""

from typing import Final, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.networks.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d, pad_past

Pooling = Literal["mean", "last"]
"""Pooling over time: mean of the steps, or the state at the end of the utterance."""

Directions = Literal["sum", "concat", "concat-half"]
"""Combination of the Bi-LSTM's directions: sum, concatenation, or concatenation with half the units each."""

_POOL_SIZE: Final = 2


class Backbone(nn.Sequential):
    """Local feature learning blocks of convolution, batch norm, ReLU, dropout and max pooling.

    (batch, dim, frames) -> (batch, channels, frames // 2^blocks), for an odd kernel size.
    """

    def __init__(self, dim: int, channels: int, dropout: float, blocks: int = 3, *, kernel: int = 3) -> None:
        layers: list[nn.Module] = []
        for width in [dim, *[channels] * (blocks - 1)]:
            layers += [
                Conv1d(width, channels, kernel_size=kernel, padding=kernel // 2),
                BatchNorm1d(channels),
                nn.ReLU(),
                Dropout(dropout),
                MaxPool1d(_POOL_SIZE),
            ]
        super().__init__(*layers)
        self.shrink = _POOL_SIZE**blocks

    def pool_lengths(self, lengths: Tensor) -> Tensor:
        """Return the numbers of time steps (batch,) after pooling of numbers of frames (batch,), at least 1."""
        pooled: Tensor = (lengths // self.shrink).clamp_min(1)
        return pooled


class CausalConv(nn.Module):
    """Causal dilated convolution, batch norm, ReLU, dropout: (batch, inputs, time) -> (batch, outputs, time)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = Conv1d(inputs, outputs, kernel, dilation=dilation)
        # The norm comes before dropout, which would change its statistics in training only.
        self.norm = BatchNorm1d(outputs)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (batch, outputs, time) of (batch, inputs, time)."""
        activated: Tensor = self.dropout(F.relu(self.norm(self.conv(pad_past(x, self.past)))))
        return activated


class TemporalBlock(nn.Module):
    """Residual block of a temporal convolutional network (Bai et al. 2018), with batch norm instead of weight norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        convs = (CausalConv(width, outputs, kernel, dilation, dropout) for width in (inputs, outputs))
        self.convs = nn.Sequential(*convs)
        self.residual = nn.Identity() if inputs == outputs else Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (batch, outputs, time) of (batch, inputs, time)."""
        return F.relu(self.convs(x) + self.residual(x))


class EmotionEncoder(nn.Sequential):
    """Temporal convolutional network with dilations 1, 2, 4, ...: (batch, channels, time) -> same shape."""

    def __init__(self, channels: int, kernel: int, blocks: int, dropout: float) -> None:
        super().__init__(*(TemporalBlock(channels, channels, kernel, 2**i, dropout) for i in range(blocks)))


class CorpusEncoder(nn.Module):
    """Bi-LSTM with pooling over time: (batch, channels, time) -> (batch, width).

    The width is `units` for `sum` and `concat-half` (`units` must be even), and twice that for `concat`. Pooling `last`
    takes each direction's final state: of the last step forward, of the first step backward.
    """

    def __init__(self, channels: int, units: int, *, directions: Directions = "sum", pooling: Pooling = "mean") -> None:
        super().__init__()
        self.directions, self.pooling = directions, pooling
        self.width = 2 * units if directions == "concat" else units
        each = units // 2 if directions == "concat-half" else units
        self.lstm = nn.LSTM(channels, each, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return features C (batch, width) of (batch, channels, time), from the first `lengths` (batch,) steps."""
        hidden: Tensor = self.lstm(x.transpose(1, 2))[0]  # (batch, time, 2 * units)
        forward, backward = hidden.transpose(1, 2).chunk(2, dim=1)  # (batch, units, time) each
        if self.pooling == "last":
            return self._join_directions(select_last_step(forward, lengths), backward[:, :, 0])
        return mean_over_time(self._join_directions(forward, backward), lengths)

    def _join_directions(self, forward: Tensor, backward: Tensor) -> Tensor:
        return forward + backward if self.directions == "sum" else torch.cat([forward, backward], dim=1)


class SharedLayers(Protocol):
    """Layers before the encoders of emotion and corpus."""

    def __call__(self, features: Tensor) -> Tensor:
        """Return hidden features (batch, channels, time) of features (batch, dim, frames)."""

    def pool_lengths(self, lengths: Tensor) -> Tensor:
        """Return the numbers of time steps (batch,) of numbers of frames (batch,)."""


class EmotionClassifier(nn.Module):
    """Base of networks of a backbone, an encoder and a linear classifier, which the subclass makes."""

    backbone: SharedLayers
    encoder: nn.Module
    classifier: nn.Linear

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return emotion features E (batch, channels) of backbone features (batch, channels, time)."""
        raise NotImplementedError

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return E (batch, channels) of features (batch, dim, frames)."""
        return self.encode(self.backbone(features), lengths)

    def classify_and_embed(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and E (batch, channels) of features (batch, dim, frames)."""
        emotion = self.embed(features, lengths)
        return self.classifier(emotion), emotion

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of features (batch, dim, frames)."""
        return self.classify_and_embed(features, lengths)[0]


class EmotionNetwork(EmotionClassifier):
    """Emotion network of all methods with the shared encoder: backbone, `EmotionEncoder` and linear classifier."""

    def __init__(
        self,
        dim: int,
        *,
        classes: int,
        channels: int,
        dropout: float,
        tcn_blocks: int,
        tcn_kernel: int,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.backbone = Backbone(dim, channels, dropout)
        self.encoder = EmotionEncoder(channels, tcn_kernel, tcn_blocks, dropout)
        self.classifier = nn.Linear(channels, classes)

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return E (batch, channels): the encoder's output, pooled over time."""
        pool = select_last_step if self.pooling == "last" else mean_over_time
        return pool(self.encoder(hidden), self.backbone.pool_lengths(lengths))


class ConvBlstmNetwork(EmotionClassifier):
    """`EmotionNetwork` with Emo-DNA's corpus encoder instead of the TCN (ADDi, sADDi)."""

    def __init__(self, dim: int, *, classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.backbone = Backbone(dim, channels, dropout)
        self.encoder = CorpusEncoder(channels, channels)
        self.classifier = nn.Linear(channels, classes)

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return E (batch, channels): the sum of both directions, averaged over time."""
        features: Tensor = self.encoder(hidden, self.backbone.pool_lengths(lengths))
        return features


def make_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Make linear, ReLU, linear, as in the projection head g of Eq. 4 and 8 (Khosla et al. 2020)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def mean_over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (batch, channels) of (batch, channels, time) over each row's first `lengths` (batch,) steps."""
    steps = torch.arange(x.shape[2], device=x.device)
    mask = (steps < lengths.unsqueeze(1)).unsqueeze(1)  # (batch, 1, time)
    return (x * mask).sum(2) / lengths.unsqueeze(1)


def select_last_step(x: Tensor, lengths: Tensor) -> Tensor:
    """Return step `lengths - 1` (batch, channels) of each row of (batch, channels, time)."""
    steps = torch.arange(x.shape[2], device=x.device)
    mask = (steps == lengths.unsqueeze(1) - 1).unsqueeze(1)  # (batch, 1, time)
    # A sum with one summand: unlike indexing, its gradient is deterministic on every device.
    return torch.where(mask, x, 0).sum(2)
