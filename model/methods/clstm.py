"""CLSTM: convolutional LSTM, trained on the source only."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from emodna.model.config import Count, Odd, Share
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods.base import NetworkMethod
from emodna.model.networks.recurrent import ConvLstm
from emodna.model.reproducibility import use_seed


@dataclass(frozen=True)
class ClstmConfig:
    """Sizes of the network, which are our choice."""

    channels: Count = 64
    """Filters of the convolutions."""
    conv_kernel: Odd = 5
    lstm_units: Count = 128
    dropout: Share = 0.3
    """Dropout between LSTM and classifier."""


class Clstm(NetworkMethod):
    """Cross-entropy on the source. Training reads no target, not even for batch norm."""

    name = "clstm"
    summary = "convolutions and an LSTM, cross-entropy, trained on the source only"
    reference = "Parry et al. 2019, Interspeech"
    our_reading = True
    defaults = ClstmConfig()

    @classmethod
    def reads_target(cls, config: ClstmConfig) -> bool:  # noqa: ARG003
        """Return False."""
        return False

    def __init__(self, dim: int, config: ClstmConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        with use_seed(seed, "convolutional LSTM"):
            self.network = ConvLstm(
                dim,
                classes=classes,
                channels=config.channels,
                kernel=config.conv_kernel,
                units=config.lstm_units,
                dropout=config.dropout,
            )

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the emotion loss."""
        return {"emotion": F.cross_entropy(self.network(source.features, source.lengths), source.labels)}
