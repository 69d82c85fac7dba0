"""Backbone and Bi-LSTM: an encoder of emotion that reads the utterance in both directions."""

from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone, CorpusEncoder


class ConvBlstmNetwork(nn.Module):
    """What `EmotionNetwork` is, with Emo-DNA's corpus encoder in the place of the TCN."""

    def __init__(self, dim: int, *, classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.backbone = Backbone(dim, channels, dropout)
        self.encoder = CorpusEncoder(channels, channels)
        self.classifier = nn.Linear(channels, classes)

    def encode(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Features (batch, channels) of the backbone's output (batch, channels, time)."""
        features: Tensor = self.encoder(hidden, self.backbone.pooled_lengths(lengths))
        return features

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, classes) of features (batch, dim, frames)."""
        logits: Tensor = self.classifier(self.encode(self.backbone(features), lengths))
        return logits
