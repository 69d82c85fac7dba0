"""Several sources have equal parts of each batch, whatever their sizes and their order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, SourceStream
from emodna.model.data.windows import Framer
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import make_emotion_task
from tests.model.small import (
    InterruptAt,
    Interruption,
    Stores,
    fit_small,
    make_manifest_store,
    read_emotions,
    read_model,
)

EVERY_STEP = {"checkpoint_seconds": "0"}


@pytest.fixture(scope="module")
def third(target: FeatureStore, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return a corpus of five utterances, one of them unlabelled: smaller than a batch."""
    paths = list(read_emotions(target))[:5]
    emotions = dict(zip(paths, ("anger", "sadness", "fear", "boredom", ""), strict=True))
    return make_manifest_store(roots["emodb"], emotions, tmp_path_factory.mktemp("third"), name="third")


def stream(*stores: FeatureStore, batch_size: int = 8) -> SourceStream:
    framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
    corpora = [(CorpusWindows(store, framer, ("de", "en")), store.labels("arousal")) for store in stores]
    return SourceStream(corpora, batch_size=batch_size, seed=0)


class TestBatches:
    @settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(batch_size=st.integers(2, 11), first=st.integers(0, 5))
    def test_sources_take_turns(
        self, batch_size: int, first: int, source: FeatureStore, target: FeatureStore, third: FeatureStore
    ) -> None:
        stores = (source, target, third)
        mixed = stream(*stores, batch_size=batch_size)
        ids = [each for step in range(first, first + 4) for each in mixed.ids(step)]
        owners = [next(n for n, store in enumerate(stores) if each in store.ids) for each in ids]
        assert owners == [(first * batch_size + place) % 3 for place in range(4 * batch_size)]

    def test_the_order_of_a_source_ignores_the_others(self, source: FeatureStore, third: FeatureStore) -> None:
        ids = [each for step in range(4) for each in stream(source, third).ids(step)]
        assert ids[::2] == [each for step in range(2) for each in stream(source).ids(step)]


def test_statistics_give_every_corpus_the_same_weight(source: FeatureStore, third: FeatureStore) -> None:
    rows = [np.arange(len(source)), np.arange(3)]
    mixed = Statistics.of_corpora(list(zip((source, third), rows, strict=True)))
    moments = []
    for store, some in zip((source, third), rows, strict=True):
        frames = np.concatenate([store[int(row)] for row in some]).astype(np.float64)
        moments.append((frames.mean(0), np.square(frames).mean(0)))
    mean, square = (sum(each) / 2 for each in zip(*moments, strict=True))
    np.testing.assert_allclose(mixed.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(mixed.std, np.sqrt(square - mean**2), rtol=1e-4)


class TestRuns:
    def test_a_class_that_a_source_lacks_is_named(
        self, pair: Stores, third: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        options: dict[str, Any] = {"task": make_emotion_task(("anger", "happiness", "sadness")), "steps": 1}
        fit_small([pair[0], third], pair[1], tmp_path / "run", method="source-only", **options)
        missing = [each for each in caplog.messages if "has no utterances" in each]
        assert missing == ["source third has no utterances of happiness"]

    def test_a_run_does_not_depend_on_the_order_of_its_sources(
        self, source: FeatureStore, target: FeatureStore, third: FeatureStore, tmp_path: Path
    ) -> None:
        for name, sources in (("a", [third, source]), ("b", [source, third])):
            result = fit_small(sources, target, tmp_path / name)
            assert result["src"] == "ravdess+third"
        assert read_model(tmp_path / "a") == read_model(tmp_path / "b")
        fit_small(source, target, tmp_path / "one")
        assert read_model(tmp_path / "one") != read_model(tmp_path / "a")
        config = json.loads((tmp_path / "a" / "config.json").read_text())
        assert config["decisive"]["fingerprints"].keys() == {"ravdess", "third", "emodb"}
        assert config["left_out"] == {"ravdess": 0, "third": 1}

    @pytest.mark.parametrize("normalisation", ["per-corpus", pytest.param("source", marks=pytest.mark.slow)])
    def test_a_resumed_run_equals_an_uninterrupted_one(
        self, normalisation: str, source: FeatureStore, target: FeatureStore, third: FeatureStore, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {
            "settings": {**EVERY_STEP, "normalisation": normalisation},
            "resume": True,
            "steps": 3,
        }
        fit_small([source, third], target, tmp_path / "whole", **options)
        with pytest.raises(Interruption):
            fit_small([source, third], target, tmp_path / "run", callback=InterruptAt(2), **options)
        fit_small([third, source], target, tmp_path / "run", **options)
        assert read_model(tmp_path / "run") == read_model(tmp_path / "whole")
        TrainedModel.load(tmp_path / "run" / "model.safetensors", torch.device("cpu"))
