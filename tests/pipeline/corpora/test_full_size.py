"""Every corpus at full size, from its files to a store: what is published of it has to be what can be trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emodna.pipeline.corpora import CORPORA, corpus
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.builders import BUILDERS
from tests.pipeline.making import noise, prepared, wav


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_its_store_has_the_published_balance(name: str, tmp_path: Path) -> None:
    published = BUILDERS[name].published
    # One recording under all names: utterances are told apart by their ids, never by their content.
    audio = wav(noise(0.1, published.sample_rate), published.sample_rate)
    report = prepared(BUILDERS[name].build(tmp_path / "root", audio), tmp_path / "cache", corpus(name))
    store = FeatureStore(report.store)
    assert (len(store), report.rejected, report.warnings) == (published.utterances, 0, [])
    for task, ones in {"arousal": published.high, "valence": published.positive}.items():
        assert Counter(store.labels(task).tolist()) == {1: ones, 0: published.utterances - ones}
    speakers = set(zip(store.column("speaker"), store.column("gender"), strict=True))
    assert Counter(gender for _, gender in speakers) == {
        gender: count for gender, count in {"f": published.women, "m": published.men}.items() if count
    }
