"""Recurrent networks of CLSTM and DIFL. The papers do not give layer sizes, so these are our choice."""

from typing import Final

import torch
from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone, mean_over_time

_BLOCKS: Final = 2


class ConvLstm(nn.Module):
    """Two blocks of convolution, batch norm, ReLU and max pooling, a forward LSTM and a linear classifier."""

    def __init__(self, dim: int, *, classes: int, channels: int, kernel: int, units: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = Backbone(dim, channels, dropout=0.0, blocks=_BLOCKS, kernel=kernel)
        self.lstm = nn.LSTM(channels, units, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(units, classes)

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the LSTM's state (batch, units), averaged over each utterance's steps, of (batch, dim, frames)."""
        hidden = self.convolutions(features)  # (batch, channels, frames // 4)
        states: Tensor = self.lstm(hidden.transpose(1, 2))[0]  # (batch, frames // 4, units)
        return mean_over_time(states.transpose(1, 2), self.convolutions.pool_lengths(lengths))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of features (batch, dim, frames)."""
        logits: Tensor = self.classifier(self.dropout(self.embed(features, lengths)))
        return logits


class AttentionPooling(nn.Module):
    """Weighted mean over time. The weights are the softmax over time of ``v . tanh(W h)``, without biases."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, units, bias=False)
        self.score = nn.Linear(units, 1, bias=False)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean (batch, width) of (batch, time, width) over each row's first `lengths` (batch,) steps."""
        scores = self.score(torch.tanh(self.project(hidden))).squeeze(2)  # (batch, time)
        mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths.unsqueeze(1)
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(1)  # 0 beyond the length
        pooled: Tensor = (weights.unsqueeze(2) * hidden).sum(1)
        return pooled


class AttentiveEncoder(nn.Module):
    """Shared backbone, Bi-LSTM and attention pooling: (batch, dim, frames) -> (batch, 2 * units).

    The backward direction reads the padding first, as in the corpus encoder of Emo-DNA.
    """

    def __init__(self, dim: int, *, channels: int, units: int, attention_units: int, dropout: float) -> None:
        super().__init__()
        self.backbone = Backbone(dim, channels, dropout)
        self.lstm = nn.LSTM(channels, units, batch_first=True, bidirectional=True)
        self.width = 2 * units
        self.pooling = AttentionPooling(self.width, attention_units)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return z (batch, width) of (batch, dim, frames), from the first `lengths` (batch,) frames."""
        hidden: Tensor = self.lstm(self.backbone(features).transpose(1, 2))[0]  # (batch, time, width)
        pooled: Tensor = self.pooling(hidden, self.backbone.pool_lengths(lengths))
        return pooled
