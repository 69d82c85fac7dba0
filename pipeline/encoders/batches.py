"""Windows of several threads in one batch, for a GPU."""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.encoders.anatomy import Encoder


@dataclass(slots=True)
class _Request:
    """One window, and its hidden states or the error once they are there."""

    inputs: NDArray[np.float32]
    states: NDArray[np.float32] | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.states is not None or self.error is not None


class BatchedEncoder:
    """An encoder whose windows of several threads are computed together; all inputs have one shape.

    Every batch has `size` windows, if need be with zeros. The rounding of a matrix product depends on its shape, so a
    window has the same hidden states in any company.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self._encoder, self._size = encoder, size
        self._waiting: deque[_Request] = deque()
        self._computing = threading.Lock()

    def encode(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the hidden states (1, frames, dim) of one window (1, ...); raise the errors of the encoder."""
        request = _Request(inputs)
        self._waiting.append(request)
        with self._computing:  # meanwhile, other threads add their windows
            while not request.is_done:
                self._compute()
        if request.states is None:
            raise request.error or RuntimeError("no hidden states")
        return request.states

    def _compute(self) -> None:
        """Compute the windows that have waited longest."""
        requests = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        batch = np.zeros((self._size, *requests[0].inputs.shape[1:]), np.float32)
        for row, request in zip(batch, requests, strict=False):
            row[:] = request.inputs[0]
        try:
            states = self._encoder.encode(batch)
        except Exception as error:
            for request in requests:
                request.error = error
            return
        for row, request in zip(states, requests, strict=False):
            request.states = row[None]
