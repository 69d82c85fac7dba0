"""The losses of a method through torch.compile."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch

from emodna.model.errors import ConfigError

#: What a method's `losses` is.
Losses = Callable[..., dict[str, torch.Tensor]]


def compiled(losses: Losses, device: torch.device) -> Losses:
    """Return the same function, compiled at its first call, which takes a minute or so.

    Raises
    ------
    ConfigError
        No C++ compiler is at hand, for a CPU; at the first call: this function cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException

    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise ConfigError(f"--compile: no C++ compiler {compiler!r} found; install one, or name it by CXX")
    fast: Losses = torch.compile(losses, dynamic=False)

    def run(*args: Any) -> dict[str, torch.Tensor]:
        try:
            return fast(*args)
        except TorchDynamoException as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ConfigError(f"--compile: {' '.join(lines[:1])[:200]}; leave the option out") from error

    return run
