"""Emotion network of pooled statistics: one hidden layer instead of the paper's backbone and encoder."""

from torch import Tensor, nn

from emodna.model.networks.emotion import EmotionClassifier
from emodna.model.networks.layers import Dropout


class NoBackbone(nn.Identity):
    """Backbone without layers: (batch, values, 1) -> same."""

    def pool_lengths(self, lengths: Tensor) -> Tensor:
        """Return the lengths (batch,) unchanged."""
        return lengths


class StatisticsEncoder(nn.Module):
    """Linear layer, ReLU and dropout: pooled statistics (batch, values, 1) -> (batch, width)."""

    def __init__(self, values: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(values, width)
        self.dropout = Dropout(dropout)

    def forward(self, statistics: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - an utterance has one frame
        """Return features (batch, width) of statistics (batch, values, 1)."""
        hidden: Tensor = self.linear(statistics.squeeze(2)).relu()
        features: Tensor = self.dropout(hidden.unsqueeze(2))
        return features.squeeze(2)


class StatisticsNetwork(EmotionClassifier):
    """Emotion network of pooled statistics: a hidden layer to E, and the linear classifier."""

    def __init__(self, values: int, *, classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.backbone = NoBackbone()
        self.encoder = StatisticsEncoder(values, channels, dropout)
        self.classifier = nn.Linear(channels, classes)

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return E (batch, channels) of statistics (batch, values, 1)."""
        features: Tensor = self.encoder(hidden, lengths)
        return features
