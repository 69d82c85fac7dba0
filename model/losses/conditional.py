"""Inputs of CDAN's discriminator: maps of features and class probabilities, and entropy weights.

.. [1] M. Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018.
"""

import math

import torch
from torch import Tensor, nn

from emodna.model.losses import check_shapes, widen


def multilinear_map(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the outer product (n, c * d) of probabilities (n, c) and features (n, d) of each row [1]_.

    Block ``k`` is the features times the probability of class ``k``. The probabilities are detached, otherwise the
    classifier would learn to hide the domain.
    """
    features, probabilities = _check_rows(features, probabilities)
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


class RandomisedMap(nn.Module):
    """Random projection of the multilinear map that preserves inner products in expectation [1]_.

    ``(R_f f) * (R_q q) / sqrt(outputs)``, elementwise, with fixed standard normal matrices. They are buffers because a
    trained discriminator depends on them. Construct it within `use_seed`, with the widths of f, q and the output.
    """

    of_features: Tensor
    of_answers: Tensor

    def __init__(self, features: int, classes: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("of_features", torch.randn(outputs, features))
        self.register_buffer("of_answers", torch.randn(outputs, classes))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the map (n, outputs). Arguments as in `multilinear_map`."""
        features, probabilities = _check_rows(features, probabilities)
        with torch.autocast(features.device.type, enabled=False):
            product = (features @ self.of_features.T) * (probabilities @ self.of_answers.T)  # (n, outputs)
            return product / math.sqrt(len(self.of_features))


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Return ``1 + exp(-H)``, shape (n,), from the entropies H in nats of probabilities (n, c) [1]_.

    A weight is 2 for a certain prediction and smaller for others. The result is detached.
    """
    (q,) = widen(probabilities.detach())
    return 1 + torch.exp(-torch.special.entr(q).sum(1))


def _check_rows(features: Tensor, probabilities: Tensor) -> tuple[Tensor, ...]:
    """Check the shapes, detach the probabilities, and return both tensors in one type."""
    is_valid = features.ndim == probabilities.ndim == 2 and len(features) == len(probabilities)
    check_shapes(is_valid, "features and probabilities must have shapes (n, d) and (n, c)", features, probabilities)
    return widen(features, probabilities.detach())
