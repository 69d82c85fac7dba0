"""A training step as a CUDA graph: launched as a whole instead of kernel by kernel."""

import warnings
from dataclasses import fields

import torch
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import TrainingError
from emodna.model.methods.phases import Phase
from emodna.model.training.finite import FiniteGuard
from emodna.model.training.step import Update

#: Steps before a capture, in which libraries choose their algorithms and allocate what they need.
_WARM_UP = 3


class CapturedUpdate:
    """An update that is captured at the first step of each phase and replayed at every step.

    Batches are copied to where the graph reads them. The optimisers must have been made capturable. The terms and what
    the method monitors lie where the graph writes them: they change with the next step.
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._inputs: tuple[LabelledBatch, Batch] | None = None
        self._graphs: dict[str, tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}

    @property
    def guard(self) -> FiniteGuard:
        """That of the update."""
        return self._update.guard

    def __call__(self, source: LabelledBatch, target: Batch, phase: Phase) -> dict[str, Tensor]:
        """Take a step in a phase; return the terms of the loss, and their total.

        Raises
        ------
        TrainingError
            The method does what cannot be captured.
        """
        if self._inputs is None:
            self._inputs = source, target  # this step's batches become the graph's own
        else:
            for mine, given in zip(self._inputs, (source, target), strict=True):
                for field in fields(mine):
                    getattr(mine, field.name).copy_(getattr(given, field.name), non_blocking=True)
        if phase.name not in self._graphs:
            self._graphs[phase.name] = self._captured(*self._inputs, phase)
        graph, terms = self._graphs[phase.name]
        graph.replay()
        return terms

    def _captured(
        self, source: LabelledBatch, target: Batch, phase: Phase
    ) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with self._update.undone(), warnings.catch_warnings():
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
