"""The network that tells source from target, for the adversarial methods."""

from typing import Final, Literal

from torch import Tensor, nn

#: What stands behind its hidden layers: batch norm and ReLU, or ReLU and dropout.
DiscriminatorNorm = Literal["batch", "none"]

#: Share that is dropped where there is no batch norm (Long et al. 2018).
_DROPOUT: Final = 0.5


class Discriminator(nn.Module):
    """Three linear layers to one logit, positive for source: (n, inputs) -> (n,).

    As in the code of Jiang et al. (2020), who have 1024 hidden units for image features. In training, rows of both
    corpora go through together: their batch norm is of both, which would otherwise hide from it what tells them apart.
    """

    def __init__(self, inputs: int, hidden: int, norm: DiscriminatorNorm = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, hidden):
            if norm == "batch":
                # Batch norm takes the mean away, so a bias before it would do nothing.
                layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            else:
                layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(_DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of (n, inputs)."""
        logits: Tensor = self.layers(x)
        return logits.squeeze(1)
