"""Load the batches of both streams to the device ahead of the steps that use them."""

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
from emodna.pipeline.errors import Remedy

Result = TypeVar("Result")

Residency = Literal["auto", "on", "off"]
RESIDENCIES: Final[tuple[Residency, ...]] = get_args(Residency)

#: Largest number of prefetched batches: one for the next step, one to absorb delays of the thread.
_AHEAD: Final = 2
#: Bytes of host memory that `auto` uses: 8900 windows of 188 frames of 40 values.
_HOST_BYTES: Final = 256 * 2**20
#: Share of a GPU's free memory that `auto` uses.
_DEVICE_SHARE: Final = 0.25
#: Utterances per copy to the device.
_CHUNK: Final = 256


class Loader:
    """An iterator over the pairs of batches of a training, on the device; use it as a context manager.

    The batches do not depend on the device, on `residency` (see `choose_resident_streams`) or on the thread. On a GPU,
    copies run on their own CUDA stream in parallel with the steps.

    Raises ConfigError if `residency` is `on` and the windows do not fit, StoreError if an utterance is damaged.
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
        resident = choose_resident_streams(residency, (source, target), len(steps), device)
        with self._use_copy_stream():
            self._source = self._make_batch_function(source, resident)
            self._target = self._make_batch_function(target, resident)
        # Resident batches in host memory need no waiting; a thread would only compete with the step.
        ahead = 0 if self._copies is None and len(resident) == 2 else _AHEAD
        self._pairs = prefetch(self._load_pair, steps, ahead)
        self.blocked_seconds = 0.0
        """Time in s that steps waited for their batches, without the time to make resident windows."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pairs.close()

    def __next__(self) -> tuple[LabelledBatch, Batch]:
        """Return the batches of the next step."""
        start = time.perf_counter()
        source, target, copied = next(self._pairs)
        self.blocked_seconds += time.perf_counter() - start
        if copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(copied)
            for tensor in (*source.tensors.values(), *target.tensors.values()):
                tensor.record_stream(current)  # the copy stream must not reuse its memory before the step is done
        return source, target

    def _make_batch_function(self, stream: Stream[BatchT], resident: Sequence[Stream[Any]]) -> Callable[[int], BatchT]:
        if stream in resident:
            return ResidentWindows(stream, self._device).batch
        pinned = self._copies is not None
        return lambda step: stream.batch(step, pinned=pinned).to(self._device)

    def _load_pair(self, step: int) -> tuple[LabelledBatch, Batch, torch.cuda.Event | None]:
        """Load the batches of a step; on a GPU, an event marks the end of their copies."""
        with self._use_copy_stream():
            source, target = self._source(step), self._target(step)
            return source, target, None if self._copies is None else self._copies.record_event()

    def _use_copy_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._copies is None else torch.cuda.stream(self._copies)


def prefetch(make: Callable[[int], Result], steps: range, ahead: int) -> Generator[Result, None, None]:
    """Yield `make(step)` for each step, in order; a thread makes up to `ahead` results in advance.

    There is no thread if `ahead` is 0. An error of `make` is raised at its own step. Closing the generator waits for
    the result in progress and cancels the rest.
    """
    if not ahead:
        yield from map(make, steps)
        return
    remaining = iter(steps)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        pending = deque(thread.submit(make, step) for step in islice(remaining, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(thread.submit(make, step) for step in islice(remaining, 1))
            yield result
    finally:
        thread.shutdown(cancel_futures=True)


class ResidentWindows(Generic[BatchT]):
    """The windows of a stream on a device, read once; its batches equal the stream's bit for bit."""

    def __init__(self, stream: Stream[BatchT], device: torch.device) -> None:
        self._stream, self._device = stream, device
        self._all = stream.batch_type.empty(len(stream), *stream.window, device)
        for first in range(0, len(stream), _CHUNK):
            numbers = np.arange(first, min(first + _CHUNK, len(stream)))
            for name, part in stream.gather(numbers, pinned=device.type == "cuda").tensors.items():
                self._all.tensors[name][first : first + len(numbers)].copy_(part, non_blocking=True)

    def batch(self, step: int) -> BatchT:
        """Return the batch of a step, counted from 0, on the device."""
        rows = torch.from_numpy(self._stream.numbers(step))
        if self._device.type == "cuda":
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        return self._all.take(rows)


def choose_resident_streams(
    residency: Residency, streams: Sequence[Stream[Any]], steps: int, device: torch.device
) -> list[Stream[Any]]:
    """Choose the streams whose windows stay on the device: all if `on`, none if `off`.

    `auto` chooses the streams that fit and yield every utterance at least once in `steps` steps, the smallest first.
    Raises ConfigError if `residency` is `on` and the windows do not fit.
    """
    if residency == "off" or not steps:
        return []
    free, allowed = _measure_memory(device)
    if residency == "on":
        if (needed := sum(map(_count_bytes, streams))) > free:
            problem = f"the windows need {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB"
            raise ConfigError(problem, field="residency", value=residency, remedy=Remedy("choose {residency=auto}"))
        return list(streams)
    chosen = []
    for stream in sorted((each for each in streams if steps * each.batch_size >= len(each)), key=_count_bytes):
        if (allowed := allowed - _count_bytes(stream)) < 0:
            break
        chosen.append(stream)
    return chosen


def _count_bytes(stream: Stream[Any]) -> int:
    single: Batch = stream.batch_type.empty(1, *stream.window)
    return len(stream) * sum(tensor.nbytes for tensor in single.tensors.values())


def _measure_memory(device: torch.device) -> tuple[int, int]:
    """Return the bytes that a device has for windows, and the bytes that `auto` uses."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free, int(_DEVICE_SHARE * free)
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return pages * size, _HOST_BYTES
