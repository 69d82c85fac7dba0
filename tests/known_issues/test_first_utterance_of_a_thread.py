"""The first utterance that a worker thread extracted had other rounding, on processors where that shows.

torch sets the number of MKL's threads late, in a thread's first parallel loop: its first matrix product used them all.
"""

from __future__ import annotations

import pytest

from emodna.pipeline.features import FEATURE_SETS, FeatureSet
from emodna.pipeline.threads import extracting_threads
from tests.pipeline.making import noise


@pytest.mark.parametrize("features", FEATURE_SETS.values(), ids=FEATURE_SETS)
def test_a_new_thread_extracts_what_an_old_one_does(features: FeatureSet) -> None:
    # Of several lengths: only some of the matrix products come out otherwise with two threads.
    for seconds in (0.15, 0.2, 0.3, 0.5, 1.0, 2.0):
        samples = noise(seconds, features.sample_rate)
        with extracting_threads(1) as pool:
            first, second = (pool.submit(features.extract, samples).result()[0] for _ in range(2))
        assert first.tobytes() == second.tobytes()
