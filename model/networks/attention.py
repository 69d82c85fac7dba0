"""A recurrent encoder pooled by attention: our reading of DIFL, whose paper's layer sizes nobody could check."""

import torch
from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone


class AttentionPooling(nn.Module):
    """Weighted mean over time; a step weighs softmax over time of ``v . tanh(W h)``.

    There are no biases: one behind ``v`` would change no weight.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, units, bias=False)
        self.score = nn.Linear(units, 1, bias=False)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Pool (batch, time, width), of which each row's first `lengths` (batch,) steps count: (batch, width)."""
        scores = self.score(torch.tanh(self.project(hidden))).squeeze(2)  # (batch, time)
        counted = torch.arange(hidden.shape[1], device=hidden.device) < lengths.unsqueeze(1)
        # The lowest finite number weighs exp(-huge) = 0 beside any score.
        weights = scores.masked_fill(~counted, torch.finfo(scores.dtype).min).softmax(1)
        pooled: Tensor = (weights.unsqueeze(2) * hidden).sum(1)
        return pooled


class AttentiveEncoder(nn.Module):
    """The shared backbone, a Bi-LSTM and attention pooling: (batch, dim, frames) -> (batch, width).

    The width is that of both directions, 2 * units. As in the corpus encoder of Emo-DNA, the backward direction begins
    with the padding, if there is any.
    """

    def __init__(self, dim: int, *, channels: int, units: int, attention_units: int, dropout: float) -> None:
        super().__init__()
        self.backbone = Backbone(dim, channels, dropout)
        self.lstm = nn.LSTM(channels, units, batch_first=True, bidirectional=True)
        self.width = 2 * units
        self.pooling = AttentionPooling(self.width, attention_units)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features z (batch, width) of (batch, dim, frames) whose first `lengths` (batch,) frames count."""
        hidden: Tensor = self.lstm(self.backbone(features).transpose(1, 2))[0]  # (batch, time, width)
        pooled: Tensor = self.pooling(hidden, self.backbone.pooled_lengths(lengths))
        return pooled
