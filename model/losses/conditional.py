"""Inputs of CDAN's discriminator: features and answers multiplied, and the weight of each utterance.

.. [1] M. Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018.
"""

import math

import torch
from torch import Tensor, nn

from emodna.model.losses import widen


def multilinear_map(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the outer product (n, c * d) of the answers and the features of each row [1]_.

    Block ``k`` is the features (n, d) times the probability (n, c) of class ``k``. The probabilities are constants to
    the gradient, or the classifier would learn to hide the domain.
    """
    features, probabilities = _check_rows(features, probabilities)
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


class RandomisedMap(nn.Module):
    """Random projection of the multilinear map, whose inner products it preserves in expectation [1]_.

    ``(R_f f) * (R_q q) / sqrt(outputs)``, element by element, with fixed standard normal matrices: they are buffers,
    since a discriminator is worth nothing with other ones. Made within `use_seed`.

    `features`, `classes` and `outputs` are the widths of both factors and of the product.
    """

    of_features: Tensor
    of_answers: Tensor

    def __init__(self, features: int, classes: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("of_features", torch.randn(outputs, features))
        self.register_buffer("of_answers", torch.randn(outputs, classes))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the map (n, outputs) of arguments as for `multilinear_map`."""
        features, probabilities = _check_rows(features, probabilities)
        with torch.autocast(features.device.type, enabled=False):
            product = (features @ self.of_features.T) * (probabilities @ self.of_answers.T)  # (n, outputs)
            return product / math.sqrt(len(self.of_features))


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Return ``1 + exp(-H)`` of each row's entropy in nats: 2 for a certain answer, less for an uncertain one [1]_.

    Of probabilities (n, c): shape (n,), without gradient.
    """
    (q,) = widen(probabilities.detach())
    return 1 + torch.exp(-torch.special.entr(q).sum(1))


def _check_rows(features: Tensor, probabilities: Tensor) -> tuple[Tensor, ...]:
    """Return both, of one type, the probabilities as constants."""
    if features.ndim != 2 or probabilities.ndim != 2 or len(features) != len(probabilities):
        raise ValueError(
            f"expected features (n, d) and probabilities (n, c), got {tuple(features.shape)} and "
            f"{tuple(probabilities.shape)}"
        )
    return widen(features, probabilities.detach())
