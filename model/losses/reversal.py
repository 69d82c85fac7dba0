"""Gradient reversal, and how its weight grows over the training.

References
----------
.. [1] Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx


def reverse_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """Pass features on as they are, and their gradient back times ``-weight``.

    What lies behind it minimises a loss that what lies before it maximises.

    Parameters
    ----------
    x
        Features of any shape.
    weight
        ``lambda``, 0-d, without gradient.
    """
    reversed_: Tensor = _Reversal.apply(x, weight)  # type: ignore[no-untyped-call]
    return reversed_


def ganin_weight(progress: Tensor) -> Tensor:
    """``2 / (1 + exp(-10 p)) - 1`` of the share ``p`` of the training that is behind, 0-d: from 0 to almost 1 [1]_."""
    return 2 * torch.sigmoid(10 * progress) - 1


class _Reversal(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return -weight * gradient, None
