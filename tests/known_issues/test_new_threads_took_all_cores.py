"""A new thread's first features came of two threads, and so with other bytes than all later ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from emodna.pipeline.extract import one_thread_each
from emodna.pipeline.features import FEATURE_SETS, FeatureSet
from tests.pipeline.making import noise


@pytest.mark.parametrize("features", FEATURE_SETS.values(), ids=FEATURE_SETS)
def test_a_new_thread_extracts_what_an_old_one_does(features: FeatureSet) -> None:
    # Of several lengths: only some of the matrix products come out otherwise with two threads.
    signals = [noise(seconds, features.sample_rate) for seconds in (0.15, 0.2, 0.3, 0.5, 1.0, 2.0)]
    with one_thread_each():
        expected = [features.extract(samples)[0].tobytes() for samples in signals]
        for samples, bytes_ in zip(signals, expected, strict=True):
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(features.extract, samples).result()[0].tobytes() == bytes_
