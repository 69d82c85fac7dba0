"""Ways to make a training step faster: the memory allocator, torch.compile, and CUDA graphs."""

import ctypes
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any, Final

import torch
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.methods.base import Phase

#: Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: The largest that glibc takes for M_MMAP_THRESHOLD on 64 bits. Larger tensors still come from the system each time.
_LARGEST_MMAP_THRESHOLD: Final = 32 << 20
_NEVER: Final = (1 << 31) - 1

#: Steps before a capture, in which libraries choose their algorithms and allocate what they need.
_WARM_UP: Final = 3

#: Type of a method's `losses`.
Losses = Callable[..., dict[str, Tensor]]


def keep_freed_memory() -> None:
    """Let glibc hold freed memory instead of giving it back to the system, for the rest of the process.

    A step frees and asks again for the same few hundred tensors. By default glibc gives the top of its heap back each
    time, and the system maps thousands of fresh, zeroed pages a step, which takes up to a tenth of its time. What is
    held is at most what the process once needed. Does nothing where the C library is another one.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _NEVER)


def compile_losses(losses: Losses, device: torch.device) -> Losses:
    """Return the same function, compiled at its first call, or raise a `ConfigError`, there if not here."""
    from torch._dynamo.exc import TorchDynamoException

    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise ConfigError(f"--compile: no C++ compiler {compiler!r} found; install one, or name it by CXX")
    fast: Losses = torch.compile(losses, dynamic=False)

    def run(*args: Any) -> dict[str, Tensor]:
        try:
            return fast(*args)
        except TorchDynamoException as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ConfigError(f"--compile: {' '.join(lines[:1])[:200]}; leave the option out") from error

    return run


class CapturedUpdate:
    """A training step as a CUDA graph, launched as a whole: captured at the first step of each phase, then replayed.

    Batches are copied to where the graph reads them. The optimisers must have been made capturable. The terms and what
    the method monitors lie where the graph writes them: they change with the next step. `update` takes a step in a
    phase and returns the terms of its loss; `undo_steps` makes a context at whose end the steps taken within are undone.
    """

    def __init__(
        self,
        update: Callable[[LabelledBatch, Batch, Phase], dict[str, Tensor]],
        undo_steps: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._update, self._undo_steps = update, undo_steps
        self._inputs: tuple[LabelledBatch, Batch] | None = None
        self._graphs: dict[str, tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}

    def __call__(self, source: LabelledBatch, target: Batch, phase: Phase) -> dict[str, Tensor]:
        """Take a step in a phase; return its terms and total. A method that cannot be captured is a `TrainingError`."""
        if self._inputs is None:
            self._inputs = source, target  # this step's batches become the graph's own
        else:
            for mine, given in zip(self._inputs, (source, target), strict=True):
                for field in fields(mine):
                    getattr(mine, field.name).copy_(getattr(given, field.name), non_blocking=True)
        if phase.name not in self._graphs:
            self._graphs[phase.name] = self._capture(*self._inputs, phase)
        graph, terms = self._graphs[phase.name]
        graph.replay()
        return terms

    def _capture(
        self, source: LabelledBatch, target: Batch, phase: Phase
    ) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with self._undo_steps(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True.*")  # the warm-up is not captured
            try:
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UP):
                        self._update(source, target, phase)
                torch.cuda.current_stream().wait_stream(side)
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the loader works beside it
                    terms = self._update(source, target, phase)
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                raise TrainingError(
                    f"--cuda-graph: the step cannot be captured ({reason}); leave the option out"
                ) from error
        return graph, {name: term.detach() for name, term in terms.items()}
