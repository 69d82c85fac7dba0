"""Inputs of CDAN's discriminator: features and answers multiplied, and the weight of each utterance.

References
----------
.. [1] M. Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018.
"""

import math

import torch
from torch import Tensor, nn


def multilinear_map(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the outer product of the answers and the features of each row, class after class [1]_.

    Parameters
    ----------
    features
        Shape ``(n, d)``.
    probabilities
        Of the classes, shape ``(n, c)``; constants to the gradient, or the classifier would learn to hide the domain.

    Returns
    -------
    Tensor
        Shape ``(n, c * d)``, at least float32: block ``k`` is the features times the probability of class ``k``.

    Raises
    ------
    ValueError
        If both are not matrices of as many rows.
    """
    features, probabilities = _of_rows(features, probabilities)
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


class RandomisedMap(nn.Module):
    """Random projection of the multilinear map, whose inner products it preserves in expectation [1]_.

    ``(R_f f) * (R_q q) / sqrt(outputs)``, element by element, with fixed standard normal matrices: they are buffers,
    since a discriminator is worth nothing with other ones. Made within `seeded`.

    `features`, `classes` and `outputs` are the widths of both factors and of the product.
    """

    of_features: Tensor
    of_answers: Tensor

    def __init__(self, features: int, classes: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("of_features", torch.randn(outputs, features))
        self.register_buffer("of_answers", torch.randn(outputs, classes))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the map (n, outputs), at least float32, of arguments as for `multilinear_map`."""
        features, probabilities = _of_rows(features, probabilities)
        with torch.autocast(features.device.type, enabled=False):
            product = (features @ self.of_features.T) * (probabilities @ self.of_answers.T)  # (n, outputs)
            return product / math.sqrt(len(self.of_features))


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Return ``1 + exp(-H)`` of each row's entropy in nats: 2 for a certain answer, less for an uncertain one [1]_.

    Of probabilities (n, c): shape (n,), at least float32, without gradient.
    """
    q = probabilities.detach()
    entropy = torch.special.entr(q.to(torch.promote_types(q.dtype, torch.float32))).sum(1)
    return 1 + torch.exp(-entropy)


def _of_rows(features: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in at least float32, the probabilities as constants."""
    if features.ndim != 2 or probabilities.ndim != 2 or len(features) != len(probabilities):
        raise ValueError(
            f"expected features (n, d) and probabilities (n, c), got {tuple(features.shape)} and "
            f"{tuple(probabilities.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(features.dtype, probabilities.dtype), torch.float32)
    return features.to(dtype), probabilities.detach().to(dtype)
