"""Loss functions of Emo-DNA and of the methods it is compared with, each a pure function of a mini-batch.

All losses share these rules:

- They average by default where the paper sums, so that all terms have one scale. Keyword arguments offer the sum.
- The result is at least float32, also under autocast. Value and gradient are finite for degenerate batches too.
- A wrong shape or value raises a ValueError that names the argument.
- Shapes are static and nothing synchronises with the host, so that a step can be captured as a CUDA graph.

Keep ``torch.set_float32_matmul_precision`` at ``"highest"``: see `emodna.model.reproducibility.force_float32`.
"""

from typing import Final, get_args

import torch
from torch import Tensor

#: Smallest divisor in the normalisation of a projection.
MIN_NORM: Final = 1e-6


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in their common type, at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def check_shapes(is_valid: bool, requirement: str, *tensors: Tensor) -> None:
    """Raise a ValueError with the requirement and the tensors' shapes unless they are valid."""
    if not is_valid:
        raise ValueError(f"{requirement}, got {', '.join(str(tuple(tensor.shape)) for tensor in tensors)}")


def check_positive(name: str, value: float) -> None:
    """Raise a ValueError unless an argument is positive."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise a ValueError unless an argument is one of the choices, a `Literal`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
