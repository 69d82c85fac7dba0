"""A discriminator of codes without batch norm: what it says of one code does not depend on the others."""

from typing import Final

from torch import nn

_SLOPE: Final = 0.2


def code_discriminator(inputs: int, hidden: int) -> nn.Sequential:
    """Three linear layers with LeakyReLU between them: (batch, inputs) -> a logit each, (batch, 1)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(_SLOPE),
        nn.Linear(hidden, 1),
    )
