"""Both streams' batches on the device, ready when a step wants them."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Final, Generic, Literal, Self, TypeVar, get_args

import numpy as np
import torch

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.stream import BatchT, Stream
from emodna.model.errors import ConfigError

Result = TypeVar("Result")

Residency = Literal["auto", "on", "off"]
RESIDENCIES: Final[tuple[Residency, ...]] = get_args(Residency)

#: Batches that lie ready at most: one to take, one to level out delays of the thread.
_AHEAD: Final = 2
#: Bytes of the host's memory that `auto` takes: the windows of 8900 utterances of 188 frames of 40 values.
_HOST_BYTES: Final = 256 * 2**20
#: Share of a GPU's free memory that `auto` takes.
_DEVICE_SHARE: Final = 0.25
#: Utterances that go to the device at once.
_TOGETHER: Final = 256


class Loader:
    """Gives the two batches of each step, in order, on the device; to be entered, and left, as a context.

    The batches do not depend on the device, on `residency` (see `choose_resident_streams`), or on the thread. On a GPU, copies run on
    a stream of their own, beside the steps.

    Raises ConfigError if windows are to be kept and do not fit, StoreError if an utterance of a batch is damaged.
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
        kept = choose_resident_streams(residency, (source, target), len(steps), device)
        with self._use_copy_stream():
            self._source, self._target = (
                self._make_batch_function(source, kept),
                self._make_batch_function(target, kept),
            )
        # Batches out of the host's memory are there at once; a thread would only take turns with the step.
        ahead = 0 if self._copies is None and len(kept) == 2 else _AHEAD
        self._pairs = prefetch(self._load_pair, steps, ahead)
        self.blocked_seconds = 0.0
        """Time for which steps waited for their batches, apart from that in which windows to keep were made."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pairs.close()

    def __next__(self) -> tuple[LabelledBatch, Batch]:
        """Return the batches of the next step."""
        began = time.perf_counter()
        source, target, arrived = next(self._pairs)
        self.blocked_seconds += time.perf_counter() - began
        if arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(arrived)
            for tensor in (*source.tensors.values(), *target.tensors.values()):
                tensor.record_stream(current)  # its memory is another stream's, to be used again when the step is done
        return source, target

    def _make_batch_function(self, stream: Stream[BatchT], kept: Sequence[Stream[Any]]) -> Callable[[int], BatchT]:
        """Return a function of the step that gives a stream's batch on the device."""
        if stream in kept:
            return ResidentWindows(stream, self._device).batch
        pinned = self._copies is not None
        return lambda step: stream.batch(step, pinned=pinned).to(self._device)

    def _load_pair(self, step: int) -> tuple[LabelledBatch, Batch, torch.cuda.Event | None]:
        """Return the batches of a step, and the event of their arrival on a GPU."""
        with self._use_copy_stream():
            source, target = self._source(step), self._target(step)
            return source, target, None if self._copies is None else self._copies.record_event()

    def _use_copy_stream(self) -> AbstractContextManager[object]:
        """Run a GPU's work beside the steps."""
        return nullcontext() if self._copies is None else torch.cuda.stream(self._copies)


def prefetch(make: Callable[[int], Result], steps: range, ahead: int) -> Generator[Result, None, None]:
    """Yield the results of a function of the step, in order, made by a thread while earlier ones are in use.

    At most `ahead` results lie ready; with 0, each is made when it is asked for, without a thread. An error of the
    function is raised where that step's result is asked for. Closing waits for the result that is being made and
    cancels the rest: no thread stays.
    """
    if not ahead:
        yield from map(make, steps)
        return
    left = iter(steps)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emodna-prefetch")
    try:
        pending = deque(thread.submit(make, step) for step in islice(left, ahead))
        while pending:
            made = pending.popleft().result()
            pending.extend(thread.submit(make, step) for step in islice(left, 1))
            yield made
    finally:
        thread.shutdown(cancel_futures=True)


class ResidentWindows(Generic[BatchT]):
    """All windows of a stream, made once (or a `StoreError`), kept on a device; gives its batches, bit for bit."""

    def __init__(self, stream: Stream[BatchT], device: torch.device) -> None:
        self._stream, self._device = stream, device
        self._all = stream.kind.empty(len(stream), *stream.window, device)
        for first in range(0, len(stream), _TOGETHER):
            numbers = np.arange(first, min(first + _TOGETHER, len(stream)))
            for name, part in stream.gather(numbers, pinned=device.type == "cuda").tensors.items():
                self._all.tensors[name][first : first + len(numbers)].copy_(part, non_blocking=True)

    def batch(self, step: int) -> BatchT:
        """Return the batch of a step, from 0, on the device."""
        rows = torch.from_numpy(self._stream.numbers(step))
        if self._device.type == "cuda":
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        return self._all.take(rows)


def choose_resident_streams(
    residency: Residency, streams: Sequence[Stream[Any]], steps: int, device: torch.device
) -> list[Stream[Any]]:
    """Choose the streams that are to be kept on the device: all if `on`, none if `off`.

    If `auto`, those that fit and give each of their utterances at least once in so many steps, small ones first. `on`
    is a `ConfigError` where they do not fit.
    """
    if residency == "off" or not steps:
        return []
    free, allowed = _measure_memory(device)
    if residency == "on":
        if (needed := sum(map(_count_bytes, streams))) > free:
            raise ConfigError(
                f"--resident on: the windows take {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f}; "
                f"valid: {', '.join(RESIDENCIES)}"
            )
        return list(streams)
    kept = []
    for stream in sorted((each for each in streams if steps * each.batch_size >= len(each)), key=_count_bytes):
        if (allowed := allowed - _count_bytes(stream)) < 0:
            break
        kept.append(stream)
    return kept


def _count_bytes(stream: Stream[Any]) -> int:
    """Bytes of all windows of a stream."""
    one: Batch = stream.kind.empty(1, *stream.window)
    return len(stream) * sum(tensor.nbytes for tensor in one.tensors.values())


def _measure_memory(device: torch.device) -> tuple[int, int]:
    """Bytes that a device has for windows, and those that `auto` takes of them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free, int(_DEVICE_SHARE * free)
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return pages * size, _HOST_BYTES
