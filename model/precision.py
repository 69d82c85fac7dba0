"""Plain float32 on every device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_throughout() -> Iterator[None]:
    """Keep TF32 out of cuDNN's convolutions and LSTMs, where it is on by default; matrix products do without it anyway.

    A similarity is divided by a temperature of 0.01: TF32's rounding would become errors of a tenth.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
