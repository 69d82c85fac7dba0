"""Loss functions of Emo-DNA and of the methods it is compared with, each a pure function of a mini-batch.

Common to all of them: means by default instead of the paper's sums, so that the terms of the objective are on one
scale, and the other readings of the paper as keyword arguments; a result of at least float32, whatever autocast says; a
finite value and a finite gradient for any finite batch of ordinary magnitude, degenerate or not; a `ValueError` that
names an argument of another shape or value than described; static shapes and no host synchronisation, so that a
training step can be captured as a CUDA graph. The matrix products obey ``torch.set_float32_matmul_precision``: leave it
at ``"highest"``, for a similarity is divided by a temperature of 0.01, which turns the rounding of TF32 into errors of
a tenth.
"""

from typing import get_args

import torch
from torch import Tensor


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in one type that holds the values of all, at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def check_positive(name: str, value: float) -> None:
    """Raise a `ValueError` unless an argument is positive."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_choice(name: str, word: str, words: object) -> None:
    """Raise a `ValueError` unless an argument is one of the words of a `Literal`."""
    if word not in get_args(words):
        raise ValueError(f"{name} must be one of {', '.join(get_args(words))}, got {word!r}")
