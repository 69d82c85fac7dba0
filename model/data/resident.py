"""Windows that are made once and stay on the device, where they take less than a share of its memory."""

import os
from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, get_args

import numpy as np
import torch

from emodna.model.data.stream import Kind, Stream
from emodna.model.errors import ConfigError

Residency = Literal["auto", "on", "off"]
RESIDENCIES: Final[tuple[Residency, ...]] = get_args(Residency)

#: What `auto` takes of the host's memory: the windows of 8900 utterances of 188 frames of 40 values.
_HOST_BYTES: Final = 256 * 2**20
#: What `auto` takes of a GPU's free memory.
_DEVICE_SHARE: Final = 0.25
#: Utterances that go to the device at once.
_TOGETHER: Final = 256


class Resident(Generic[Kind]):
    """All of a stream's utterances on a device; gives the stream's batches, bit for bit."""

    def __init__(self, stream: Stream[Kind], device: torch.device) -> None:
        """Make the windows.

        Raises
        ------
        StoreError
            An utterance is damaged.
        """
        self._stream, self._device = stream, device
        self._all = stream.kind.empty(len(stream), *stream.window, device)
        for first in range(0, len(stream), _TOGETHER):
            numbers = np.arange(first, min(first + _TOGETHER, len(stream)))
            for name, part in stream.gather(numbers, pinned=device.type == "cuda").tensors.items():
                self._all.tensors[name][first : first + len(numbers)].copy_(part, non_blocking=True)

    def batch(self, step: int) -> Kind:
        """The batch of a step, from 0, on the device."""
        rows = torch.from_numpy(self._stream.numbers(step))
        if self._device.type == "cuda":
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        return self._all.take(rows)


def residents(
    residency: Residency, streams: Sequence[Stream[Any]], steps: int, device: torch.device
) -> list[Stream[Any]]:
    """Which streams are to be kept on the device.

    Parameters
    ----------
    residency
        `auto`: those that fit and give each of their utterances at least once in so many steps, small ones first.

    Raises
    ------
    ConfigError
        `on`, where they do not fit.
    """
    if residency == "off" or not steps:
        return []
    free, allowed = _memory(device)
    if residency == "on":
        if (needed := sum(map(_size, streams))) > free:
            raise ConfigError(
                f"--resident on: the windows take {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f}; "
                f"valid: {', '.join(RESIDENCIES)}"
            )
        return list(streams)
    kept = []
    for stream in sorted((each for each in streams if steps * each.batch_size >= len(each)), key=_size):
        if (allowed := allowed - _size(stream)) < 0:
            break
        kept.append(stream)
    return kept


def _size(stream: Stream[Any]) -> int:
    """Bytes of all of a stream's windows."""
    each: list[int] = [tensor.nbytes for tensor in stream.kind.empty(1, *stream.window).tensors.values()]
    return len(stream) * sum(each)


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes that a device has for windows, and those that `auto` takes of them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free, int(_DEVICE_SHARE * free)
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return pages * size, _HOST_BYTES
