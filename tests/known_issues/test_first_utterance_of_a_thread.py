"""The first utterance that a worker thread extracted had other rounding, on processors where that shows.

torch sets the number of MKL's threads late, in a thread's first parallel loop: its first matrix product used them all.
"""

from __future__ import annotations

import threading

import numpy as np

from emodna.pipeline.extract import extracting_threads
from emodna.pipeline.features import MfccSet
from tests.pipeline.making import noise


def test_every_thread_gives_the_same_bytes_from_its_first_utterance_on() -> None:
    samples = noise(0.15, 22_050)  # of seven frames, where it showed
    workers = 8
    together = threading.Barrier(workers)

    def first_two(_: int) -> list[bytes]:
        together.wait()  # each in a thread of its own
        return [MfccSet().extract(np.copy(samples))[0].tobytes() for _ in range(2)]

    with extracting_threads(workers) as pool:
        pairs = list(pool.map(first_two, range(workers)))
    assert len({each for pair in pairs for each in pair}) == 1
