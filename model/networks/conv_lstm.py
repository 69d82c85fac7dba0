"""Convolutions, then an LSTM: the network of CLSTM.

The paper that it is named for could not be read as to sizes: the layers and all their widths are our stand-in.
"""

from typing import Final

from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone, mean_over_time

_BLOCKS: Final = 2


class ConvLstm(nn.Module):
    """Two blocks of convolution, batch norm, ReLU and max pool; an LSTM that reads forward; a linear classifier."""

    def __init__(self, dim: int, *, classes: int, channels: int, kernel: int, units: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = Backbone(dim, channels, dropout=0.0, blocks=_BLOCKS, kernel=kernel)
        self.lstm = nn.LSTM(channels, units, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(units, classes)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(batch, dim, frames) -> the LSTM's mean state over each utterance's own steps (batch, units)."""
        hidden = self.convolutions(features)  # (batch, channels, frames // 4)
        states: Tensor = self.lstm(hidden.transpose(1, 2))[0]  # (batch, frames // 4, units)
        return mean_over_time(states.transpose(1, 2), self.convolutions.pooled_lengths(lengths))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, classes) of features (batch, dim, frames)."""
        logits: Tensor = self.classifier(self.dropout(self.encode(features, lengths)))
        return logits
