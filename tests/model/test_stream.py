"""Batches: their content and order; the target's labels are not in them."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.data.batch import SOURCE, TARGET, Batch
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, Sampler, SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore
from tests.model.small import assert_same_tensors, make_manifest_store, read_emotions

FRAMES = 24
LANGUAGES = ("de", "en")


def windows(store: FeatureStore) -> CorpusWindows:
    return CorpusWindows(store, Framer(FRAMES, "silence", Statistics.identity(40), MfccSet().silence), LANGUAGES)


def source_stream(store: FeatureStore, batch_size: int = 8, seed: int = 0) -> SourceStream:
    return SourceStream([(windows(store), store.labels("arousal"))], batch_size=batch_size, seed=seed)


def target_stream(store: FeatureStore, batch_size: int = 8, seed: int = 0) -> TargetStream:
    return TargetStream(windows(store), batch_size=batch_size, seed=seed)


def find_rows(batch: Batch, store: FeatureStore) -> list[int]:
    """Return the rows of a batch's utterances in a store."""
    everything = target_stream(store).gather(np.arange(len(store))).features
    distances = [[torch.equal(mine, each) for each in everything] for mine in batch.features]
    return [row.index(True) for row in distances]


def assert_same(a: Batch, b: Batch) -> None:
    assert type(a) is type(b)
    assert_same_tensors(a.tensors, b.tensors)


class TestSampler:
    @settings(deadline=None)
    @given(n=st.integers(1, 20), epochs=st.integers(1, 4), seed=st.integers(0, 2**62))
    def test_a_permutation_contains_every_utterance_once(self, n: int, epochs: int, seed: int) -> None:
        drawn = Sampler(n, seed)(0, n * epochs)
        for epoch in range(epochs):
            assert sorted(drawn[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))

    @settings(deadline=None)
    @given(n=st.integers(1, 20), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
    def test_a_batch_continues_where_the_last_one_ended(self, n: int, cuts: list[int], seed: int) -> None:
        whole = Sampler(n, seed)(0, sum(cuts)).tolist()
        sampler, starts = Sampler(n, seed), np.cumsum([0, *cuts]).tolist()
        assert [i for start, count in zip(starts, cuts, strict=False) for i in sampler(start, count).tolist()] == whole


class TestStreams:
    def test_a_batch_is_a_function_of_the_step_alone(self, source: FeatureStore, target: FeatureStore) -> None:
        used = source_stream(source), target_stream(target)
        for step in (0, 1, 9, 2):
            for stream in used:
                stream.batch(step)
        for mine, fresh in zip(used, (source_stream(source), target_stream(target)), strict=True):
            assert_same(mine.batch(7), fresh.batch(7))

    def test_another_seed_gives_another_order(self, source: FeatureStore, target: FeatureStore) -> None:
        for make, store in ((source_stream, source), (target_stream, target)):
            assert not torch.equal(make(store, seed=0).batch(0).features, make(store, seed=1).batch(0).features)

    def test_source_and_target_are_shuffled_independently(self, source: FeatureStore) -> None:
        mine, other = source_stream(source).batch(0), target_stream(source).batch(0)
        assert find_rows(mine, source) != find_rows(other, source)


class TestBatchContent:
    def test_target_batches_have_no_labels(self, target: FeatureStore) -> None:
        batch = target_stream(target).batch(0)
        assert not hasattr(batch, "labels")
        assert [field.name for field in fields(batch)] == ["features", "lengths", "corpus", "gender", "language"]
        with pytest.raises((AttributeError, TypeError)):
            batch.labels = torch.zeros(8)  # type: ignore[attr-defined]

    def test_gender_is_0_for_women_and_1_for_men(self, target: FeatureStore) -> None:
        batch = target_stream(target).batch(0)
        genders = np.array(target.column("gender"))[find_rows(batch, target)]
        assert batch.gender.tolist() == [{"f": 0, "m": 1}[gender] for gender in genders]
        assert set(genders) == {"f", "m"}

    def test_corpus_and_language_are_numbers(self, source: FeatureStore, target: FeatureStore) -> None:
        batches = source_stream(source).batch(0), target_stream(target).batch(0)
        assert [set(batch.corpus.tolist()) for batch in batches] == [{SOURCE}, {TARGET}]
        assert [set(batch.language.tolist()) for batch in batches] == [{LANGUAGES.index(each)} for each in ("en", "de")]

    def test_unknown_values_are_minus_1(self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = dict(list(read_emotions(target).items())[:4])
        gender = dict(zip(emotions, ["m", "", "female", "?"], strict=True))
        language = dict(zip(emotions, ["de", "", "en", "xx"], strict=True))
        store = make_manifest_store(roots["emodb"], emotions, tmp_path, gender=gender, language=language)
        batch = target_stream(store).gather(np.array([store.ids.index(path) for path in emotions]))
        assert batch.gender.tolist() == [1, -1, 0, -1]
        assert batch.language.tolist() == [0, -1, 1, -1]


@pytest.fixture(scope="module")
def partly_labelled(
    target: FeatureStore, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> FeatureStore:
    """Return a corpus in which every third utterance is unlabelled."""
    emotions = {path: "" if i % 3 == 0 else emotion for i, (path, emotion) in enumerate(read_emotions(target).items())}
    return make_manifest_store(roots["emodb"], emotions, tmp_path_factory.mktemp("cache"))


def test_unlabelled_source_utterances_are_not_drawn(partly_labelled: FeatureStore) -> None:
    stream = source_stream(partly_labelled, batch_size=7)
    rows = [row for step in range(6) for row in find_rows(stream.batch(step), partly_labelled)]
    labelled = set(np.flatnonzero(partly_labelled.labels("arousal") >= 0).tolist())
    assert set(rows) == labelled
    assert sorted(rows[: len(labelled)]) == sorted(labelled)
    labels = torch.cat([stream.batch(step).labels for step in range(6)])
    assert labels.tolist() == partly_labelled.labels("arousal")[rows].tolist()
