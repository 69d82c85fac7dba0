"""Accelerate training steps by the memory allocator, torch.compile and CUDA graphs."""

import ctypes
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.methods.base import Phase

#: Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: glibc's largest M_MMAP_THRESHOLD on 64 bits. Larger tensors are still allocated by the system each time.
_LARGEST_MMAP_THRESHOLD: Final = 32 << 20
_NEVER: Final = (1 << 31) - 1

#: Steps before a capture, in which libraries choose algorithms and allocate memory.
_WARM_UP: Final = 3

Losses = Callable[..., dict[str, Tensor]]
_Graph = tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the rest of the process; does nothing with another C library.

    A step frees and reallocates the same few hundred tensors. By default glibc returns their memory to the system,
    which then maps thousands of zeroed pages per step, up to a tenth of the step's time. The memory kept never exceeds
    the process's peak.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _NEVER)


def compile_losses(losses: Losses, device: torch.device) -> Losses:
    """Return `losses`, compiled at its first call; raise a ConfigError if that fails or there is no compiler."""
    from torch._dynamo.exc import TorchDynamoException

    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            remedy = "install it, or set the environment variable CXX to another one"
            raise ConfigError(f"C++ compiler {compiler!r} not found", field="compile", remedy=remedy)
    compiled: Losses = torch.compile(losses, dynamic=False)

    def run(*args: Any) -> dict[str, Tensor]:
        try:
            return compiled(*args)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0].rstrip()
            problem = f"torch.compile failed: {reason:.200}"
            raise ConfigError(problem, field="compile", remedy="leave it out") from error

    return run


class CapturedUpdate:
    """A training step as a CUDA graph: captured at the first step of each phase, then replayed.

    Batches are copied into the graph's input tensors. The optimisers must be capturable. The returned terms and the
    monitored values are the graph's output tensors: the next step overwrites them. `update` takes a step in a phase
    and returns its terms; `undo_steps` returns a context that undoes the steps within it when it ends.
    """

    def __init__(
        self,
        update: Callable[[LabelledBatch, Batch, Phase], dict[str, Tensor]],
        undo_steps: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._update, self._undo_steps = update, undo_steps
        self._inputs: tuple[LabelledBatch, Batch] | None = None
        self._graphs: dict[str, _Graph] = {}

    def __call__(self, source: LabelledBatch, target: Batch, phase: Phase) -> dict[str, Tensor]:
        """Take a step in a phase; return its terms and total. Raise a TrainingError if it cannot be captured."""
        if self._inputs is None:
            self._inputs = source, target  # these become the graph's input tensors
        else:
            for own, batch in zip(self._inputs, (source, target), strict=True):
                for name, tensor in own.tensors.items():
                    tensor.copy_(batch.tensors[name], non_blocking=True)
        if phase.name not in self._graphs:
            self._graphs[phase.name] = self._capture(*self._inputs, phase)
        graph, terms = self._graphs[phase.name]
        graph.replay()
        return terms

    def _capture(self, source: LabelledBatch, target: Batch, phase: Phase) -> _Graph:
        graph = torch.cuda.CUDAGraph()
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with self._undo_steps(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True.*")  # the warm-up is not captured
            try:
                with torch.cuda.stream(side_stream):
                    for _ in range(_WARM_UP):
                        self._update(source, target, phase)
                torch.cuda.current_stream().wait_stream(side_stream)
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the loader's thread uses CUDA, too
                    terms = self._update(source, target, phase)
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                problem = f"the step cannot be captured: {reason}"
                raise TrainingError(problem, field="cuda_graph", remedy="leave it out") from error
        return graph, {name: term.detach() for name, term in terms.items()}
