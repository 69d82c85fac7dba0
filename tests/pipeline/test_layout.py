"""The assignment of utterances to shards is the same on all machines and in all versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.store.layout import UTTERANCES_PER_SHARD, assign_shard, count_shards

SHARDS = st.integers(0, 14).map(lambda exponent: 2**exponent)


@pytest.mark.parametrize(
    ("utterances", "shards"), [(0, 1), (1, 1), (128, 1), (129, 2), (256, 2), (257, 4), (535, 8), (1440, 16)]
)
def test_the_number_of_shards_is_fixed(utterances: int, shards: int) -> None:
    assert count_shards(utterances) == shards


@pytest.mark.parametrize(
    ("utterance", "shard"),
    [("03a01Fa", 5), ("16b10Lb", 6), ("03-01-01-01-01-01-01", 3), ("ümläut/日本.wav", 15), ("", 4)],
)
def test_the_shard_of_an_utterance_is_fixed(utterance: str, shard: int) -> None:
    assert assign_shard(utterance, 16) == shard


@given(st.integers(1, 10**7))
def test_shards_are_at_least_half_full_on_average(utterances: int) -> None:
    count = count_shards(utterances)
    assert count & (count - 1) == 0
    assert utterances / count <= UTTERANCES_PER_SHARD
    assert count == 1 or utterances / count > UTTERANCES_PER_SHARD / 2


@given(st.text(), SHARDS)
def test_doubling_the_number_splits_each_shard_in_two(utterance: str, shards: int) -> None:
    assert 0 <= assign_shard(utterance, shards) < shards
    assert assign_shard(utterance, 2 * shards) % shards == assign_shard(utterance, shards)


def test_invalid_unicode_names_have_a_shard() -> None:
    assert 0 <= assign_shard("caf\udce9.wav", 8) < 8
