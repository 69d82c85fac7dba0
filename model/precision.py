"""Plain float32 on every device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_throughout() -> Iterator[None]:
    """Keep out TF32, which is on by default in cuDNN's convolutions and LSTMs, and whatever autocast the caller is in.

    A similarity is divided by a temperature of 0.01: TF32's rounding would become errors of a tenth. Matrix products do
    without TF32 anyway.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with without_autocast():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in here in the tensors' own precision, whatever autocast the caller is in; of this thread alone."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield
