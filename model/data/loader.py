"""Both streams' batches on the device, ready when a step wants them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import torch

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.prefetch import Prefetched
from emodna.model.data.resident import Residency, Resident, residents
from emodna.model.data.stream import Kind, Stream

#: Batches that lie ready at most: one to take, one to level out what the thread is late.
_AHEAD: Final = 2


class _Made(NamedTuple):
    """The batches of a step, and the event of their being on the GPU."""

    source: LabelledBatch
    target: Batch
    there: torch.cuda.Event | None


class Loader:
    """Gives the two batches of each step, in order, on the device; to be entered, and left, as a context.

    The batches do not depend on the device, on `residency`, or on the thread. On a GPU, copies run on a stream of their
    own, beside the steps.

    Parameters
    ----------
    residency
        Whether windows are made once and kept on the device: `on`, `off`, or `auto`, where they fit.

    Raises
    ------
    ConfigError
        They are to be kept, and do not fit.
    StoreError
        An utterance is damaged: of all those that are kept, or of the batch that is asked for.
    """

    def __init__(
        self,
        source: Stream[LabelledBatch],
        target: Stream[Batch],
        steps: range,
        device: torch.device,
        residency: Residency = "auto",
    ) -> None:
        self._device = device
        self._copies: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        kept = residents(residency, (source, target), len(steps), device)
        with self._beside():
            self._source, self._target = self._of(source, kept), self._of(target, kept)
        # What lies in the host's memory is there at once; a thread would only take turns with the step.
        ahead = 0 if self._copies is None and len(kept) == 2 else _AHEAD
        self._prefetched = Prefetched(self._make, steps, ahead)

    def __enter__(self) -> Self:
        self._prefetched.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._prefetched.__exit__(kind, error, trace)

    def __next__(self) -> tuple[LabelledBatch, Batch]:
        """The batches of the next step."""
        source, target, there = next(self._prefetched)
        if there is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(there)
            for tensor in (*source.tensors.values(), *target.tensors.values()):
                tensor.record_stream(current)  # its memory is another stream's, to be used again when the step is done
        return source, target

    @property
    def blocked_seconds(self) -> float:
        """Time for which steps waited for their batches, apart from that in which windows to keep were made."""
        return self._prefetched.blocked_seconds

    def _of(self, stream: Stream[Kind], kept: Sequence[Stream[Any]]) -> Callable[[int], Kind]:
        """What gives a stream's batch of a step on the device."""
        if stream in kept:
            return Resident(stream, self._device).batch
        pinned = self._copies is not None
        return lambda step: stream.batch(step, pinned=pinned).to(self._device)

    def _make(self, step: int) -> _Made:
        with self._beside():
            source, target = self._source(step), self._target(step)
            return _Made(source, target, None if self._copies is None else self._copies.record_event())

    def _beside(self) -> AbstractContextManager[object]:
        """Run a GPU's work beside the steps."""
        return nullcontext() if self._copies is None else torch.cuda.stream(self._copies)
