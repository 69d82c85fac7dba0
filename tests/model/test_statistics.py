"""Networks of statistics over the utterance: pooling, resume, target labels, terms, saved models, settings."""

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emodna.model.changed_settings import find_non_defaults
from emodna.model.checkpoint import load_tensors, save_tensors
from emodna.model.config import TrainConfig
from emodna.model.data.normalisation import Statistics
from emodna.model.data.pooling import PooledStore, pool_over_time
from emodna.model.data.stream import CorpusWindows, FoldStream, SourceStream
from emodna.model.data.windows import Framer
from emodna.model.errors import ConfigError
from emodna.model.feature_defaults import FEATURE_DEFAULTS, apply_run_settings
from emodna.model.fit import fit
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import METHODS
from emodna.model.methods.base import EncoderConfig
from emodna.model.request import FitRequest
from emodna.model.run_folder import hash_settings, read_json, write_json
from emodna.pipeline.features import FEATURE_SETS, MfccSet
from emodna.pipeline.store import FeatureStore
from tests.model.small import (
    InterruptAt,
    Interruption,
    SilentCallback,
    Stores,
    assert_same_tensors,
    fit_small,
    make_batches,
    make_manifest_store,
    make_noise,
    read_emotions,
)

#: Methods that the shared encoder serves.
SERVED = [name for name, kind in METHODS.items() if isinstance(kind.defaults, EncoderConfig)]
STATISTICS = {"network": "statistics", "batch_size": "8", "channels": "8", "log_every": "1"}
#: Served methods of the quick suite: one with all parts of Emo-DNA, one with several networks.
QUICK: Mapping[str, Any] = {"emo-dna": (), "upper-bound": ()}
VALUES = st.floats(-1e4, 1e4, width=32)


def fit_pooled(pair: Stores, out: Path, method: str = "emo-dna", /, **changes: Any) -> Path:
    """Train a small network of statistics for a few steps; return the run."""
    settings = {**STATISTICS, **changes.pop("settings", {})}
    callback = changes.pop("callback", None)
    request = FitRequest([pair[0]], pair[1], method=method, out=out, settings=settings, **{"steps": 4, **changes})
    fit(request, callback or SilentCallback())
    return out


class TestPooling:
    @given(
        arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=st.floats(-1e4, 1e4, width=32))
    )
    def test_equals_a_loop_over_all_frames(self, features: np.ndarray) -> None:
        means, deviations = [], []
        for column in features.T.tolist():
            mean = math.fsum(column) / len(column)
            means.append(mean)
            deviations.append(math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column)))
        pooled = pool_over_time(features)
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, np.array([means + deviations]), rtol=1e-6, atol=1e-6)

    def test_a_single_frame_has_no_deviation(self) -> None:
        frame = np.arange(3, dtype=np.float32)[None]
        assert pool_over_time(frame).tolist() == [[0, 1, 2, 0, 0, 0]]

    def test_a_store_is_read_once_and_a_large_one_at_each_use(
        self, source: FeatureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows, reads = np.array([5, 2, 5, 9]), []
        original = FeatureStore.gather
        monkeypatch.setattr(
            FeatureStore, "gather", lambda store, rows: reads.append(len(rows)) or original(store, rows)
        )
        for kept_bytes, expected in ((1 << 20, [4]), (0, [4, 4])):
            monkeypatch.setattr("emodna.model.data.pooling._KEPT_BYTES", kept_bytes)
            store = PooledStore(FeatureStore(source.path))
            reads.clear()
            for _ in range(2):
                for row, pooled in zip(rows.tolist(), store.gather(rows), strict=True):
                    assert np.array_equal(pooled, pool_over_time(source[row]))
            assert [each for each in reads if each] == expected

    def test_each_utterance_counts_once_in_the_statistics(self, source: FeatureStore) -> None:
        rows = np.arange(3, 20)
        pooled = np.concatenate([pool_over_time(source[row]) for row in rows.tolist()]).astype(np.float64)
        found = Statistics.of_corpora([(PooledStore(source), rows)])
        np.testing.assert_allclose(found.mean, pooled.mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.std, pooled.std(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=() if each in ("emo-dna", "upper-bound") else pytest.mark.slow) for each in SERVED],
)
def test_a_served_method_trains_resumes_and_predicts_from_statistics(name: str, pair: Stores, tmp_path: Path) -> None:
    once = fit_pooled(pair, tmp_path / "once", name)
    with pytest.raises(Interruption):
        fit_pooled(pair, tmp_path / "twice", name, callback=InterruptAt(2), settings={"checkpoint_seconds": "0"})
    fit_pooled(pair, tmp_path / "twice", name, resume=True, settings={"checkpoint_seconds": "0"}, residency="off")
    assert_same_tensors(*(load_tensors(run / "model.safetensors")[0] for run in (once, tmp_path / "twice")))
    model, store = TrainedModel.load(once), pair[1]
    assert model.seconds == math.inf
    assert model.dim == 2 * store.dim
    utterances = [(store[row], float(store.peak_db[row])) for row in range(4)]
    statistics = model.framer.statistics
    assert statistics is not None
    batch = np.stack([(pool_over_time(features)[0] - statistics.mean) / statistics.std for features, _ in utterances])
    with torch.no_grad():
        logits = model.method.predict(torch.from_numpy(batch)[:, :, None], torch.ones(4, dtype=torch.int64))
    np.testing.assert_allclose(model.probabilities(utterances), logits.double().softmax(1).numpy(), rtol=1e-5)


@pytest.fixture(scope="module")
def relabelled(pair: Stores, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[FeatureStore]:
    """Return stores of the target with its labels, with permuted ones, and without."""
    emotions = read_emotions(pair[1])
    values = list(emotions.values())
    stores = []
    for number, each in enumerate((values, random.Random(0).sample(values, len(values)), [""] * len(values))):
        labels = dict(zip(emotions, each, strict=True))
        stores.append(make_manifest_store(roots["emodb"], labels, tmp_path_factory.mktemp(f"target-{number}")))
    return stores


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each == "emo-dna" else pytest.mark.slow) for each in SERVED[:-1]]
)
def test_weights_do_not_depend_on_target_labels(
    name: str, source: FeatureStore, relabelled: list[FeatureStore], tmp_path: Path
) -> None:
    settings = {"normalisation": "per-corpus", "class_weights": "balanced"}
    runs = [
        fit_pooled((source, target), tmp_path / str(number), name, settings=settings)
        for number, target in enumerate(relabelled)
    ]
    first, *others = (load_tensors(run / "model.safetensors")[0] for run in runs)
    for other in others:
        assert_same_tensors(first, other)


def test_all_methods_begin_with_the_weights_of_source_only() -> None:
    def make(name: str) -> Mapping[str, torch.Tensor]:
        kind = METHODS[name]
        return kind(6, dataclasses.replace(kind.defaults, network="statistics"), 3).state_dict()

    floor = make("source-only")
    for name in set(SERVED) - {"upper-bound"}:
        state = make(name)
        assert_same_tensors(floor, {key: state[key] for key in floor})


@pytest.mark.parametrize("weight", ["corpus_weight", "mmd_weight", "decouple_weight", "scl_weight"])
def test_a_term_that_is_switched_off_changes_no_other_term(weight: str) -> None:
    terms = []
    for changes in ({}, {weight: 0.0}):
        config = dataclasses.replace(METHODS["emo-dna"].defaults, network="statistics", prototype_temperature=1.0)
        method = METHODS["emo-dna"](12, dataclasses.replace(config, **changes), 0).train()
        torch.manual_seed(0)
        terms.append(method.losses(*make_batches(dim=12, frames=1), torch.tensor(0)))
    every, others = terms
    assert every.keys() - others.keys() == {weight.removesuffix("_weight")}
    assert_same_tensors({name: every[name] for name in others}, others)


class TestSettings:
    @pytest.mark.parametrize(
        ("method", "field", "settings"),
        [
            ("emo-dna", "tcn_blocks", {"network": "statistics", "tcn_blocks": "3"}),
            ("emo-dna", "lstm_pooling", {"network": "statistics", "lstm_pooling": "last"}),
            ("dan", "batch_norm", {"network": "statistics", "batch_norm": "source"}),
            ("source-only", "target_bn", {"network": "statistics", "target_bn": "true"}),
            ("dann", "frames", {"network": "statistics", "frames": "94"}),
            ("dann", "padding", {"network": "statistics", "padding": "zero"}),
            ("jan", "normalisation", {"network": "statistics", "normalisation": "per-utterance"}),
            *((name, "network", {"network": "statistics"}) for name in ("clstm", "addi", "saddi", "difl", "caam")),
        ],
    )
    def test_a_setting_without_effect_is_an_error(self, method: str, field: str, settings: dict[str, str]) -> None:
        with pytest.raises(ConfigError) as raised:
            apply_run_settings(settings, METHODS[method], FEATURE_SETS["mfcc40"].name)
        assert raised.value.field == field

    def test_the_defaults_follow_from_the_features_and_the_user_comes_first(self) -> None:
        for features in FEATURE_SETS.values():
            if features.kind in FEATURE_DEFAULTS:
                train, config, _ = apply_run_settings({}, METHODS["dan"], features.name)
                assert (train, config) == (TrainConfig(), METHODS["dan"].defaults)
        # Names of plug-ins may begin like those of spectra.
        others = ("studio-00000000", "mfcc-x-00000000", "wave_x-16000hz-00000000", "logmels-00000000")
        for name in ("encoder-any-l4.6-25hz-00000000", "egemaps-00000000", *others):
            train, config, _ = apply_run_settings({"class_weights": "none"}, METHODS["dan"], name)
            assert (config.network, train.class_weights, train.normalisation) == ("statistics", "none", "per-corpus")
            assert find_non_defaults(METHODS["dan"], {}, None, name).keys() == {"feature_set"}
            changed = find_non_defaults(METHODS["dan"], {"network": "paper", "frames": "90"}, 7, name)
            assert {**changed, "feature_set": ""} == {"network": "paper", "steps": 7, "frames": 90, "feature_set": ""}
            assert apply_run_settings({}, METHODS["clstm"], name)[0].padding == "mask"

    def test_a_run_records_its_resolved_settings(self, pair: Stores, tmp_path: Path) -> None:
        config = read_json(fit_pooled(pair, tmp_path / "run", "dan") / "config.json")
        assert config["decisive"]["method_config"]["network"] == "statistics"
        assert config["defaults"]["method_config"]["network"] == "paper"
        assert config["defaults"]["steps"] == 1000
        assert config["decisive"]["train"]["frames"] == config["defaults"]["train"]["frames"] == 1
        assert "mean and the standard deviation" in (tmp_path / "run" / "MODEL_CARD.md").read_text()


class TestEarlierRuns:
    def test_names_and_hashes_stay_and_a_run_can_be_resumed(self, pair: Stores, tmp_path: Path) -> None:
        fit_small(*pair, tmp_path / "once")
        with pytest.raises(Interruption):
            fit_small(*pair, tmp_path / "run", callback=InterruptAt(2), settings={"checkpoint_seconds": "0"})
        config = read_json(tmp_path / "run" / "config.json")
        now = config["decisive"]
        earlier = {
            **now,
            "train": {
                key: value for key, value in now["train"].items() if key not in ("class_weights", "target_labels")
            },
            "method_config": {key: value for key, value in now["method_config"].items() if key != "network"},
        }
        assert hash_settings(now) == hash_settings(earlier)
        for changed in ({"class_weights": "balanced"}, {"target_labels": 1}):
            assert hash_settings({**now, "train": {**now["train"], **changed}}) != hash_settings(now)
        write_json(tmp_path / "run" / "config.json", {**config, "decisive": earlier})
        fit_small(*pair, tmp_path / "run", resume=True)
        assert_same_tensors(*(load_tensors(tmp_path / run / "model.safetensors")[0] for run in ("once", "run")))

    def test_a_model_file_without_the_new_keys_predicts_the_same(self, trained_run: Path, tmp_path: Path) -> None:
        tensors, metadata = load_tensors(trained_run / "model.safetensors")
        del metadata["reads_statistics"], metadata["method_config"]["network"]
        save_tensors(tmp_path / "model.safetensors", tensors, metadata)
        utterance = make_noise(50, 40).numpy(), 0.0
        now, earlier = (TrainedModel.load(path) for path in (trained_run, tmp_path / "model.safetensors"))
        assert np.array_equal(now.probabilities([utterance]), earlier.probabilities([utterance]))
        assert dict(earlier.method_config) | {"network": "paper"} == dict(now.method_config)


class TestBalancedClasses:
    @staticmethod
    def make(*stores: FeatureStore, batch_size: int = 8, labels: str = "valence") -> SourceStream:
        framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
        corpora = [(CorpusWindows(store, framer, ("de", "en")), store.labels(labels)) for store in stores]
        return SourceStream(corpora, batch_size=batch_size, seed=0, class_weights="balanced")

    def test_each_class_of_each_source_has_an_equal_part_of_a_batch(
        self, source: FeatureStore, target: FeatureStore
    ) -> None:
        stream, steps = self.make(source, target), range(6)
        rows = [stream.ids(step) for step in steps]
        for step in (5, 0, 3):  # any order: a batch is a function of the step
            assert stream.ids(step) == rows[step]
            assert self.make(source, target).ids(step) == rows[step]
        for ids, step in zip(rows, steps, strict=True):
            labels = stream.batch(step).labels.tolist()
            parts = Counter((each in source.ids, label) for each, label in zip(ids, labels, strict=True))
            assert set(parts.values()) == {2}
        drawn = Counter(each for ids in rows for each in ids)
        assert max(drawn.values()) - min(drawn.values()) <= 1 + len(steps) * 2 // 8

    def test_the_weights_of_a_batch_do_not_depend_on_how_often_a_class_occurs(self, source: FeatureStore) -> None:
        labels = source.labels("arousal").copy()
        labels[np.flatnonzero(labels == 1)[2:]] = -1
        framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
        options = {"batch_size": 10, "seed": 0}
        corpora = [(CorpusWindows(source, framer, ()), labels)]
        balanced, plain = (SourceStream(corpora, **options, class_weights=word) for word in ("balanced", "none"))
        assert [int(balanced.batch(step).labels.sum()) for step in range(4)] == [5] * 4
        assert sum(int(plain.batch(step).labels.sum()) for step in range(4)) < 10
        assert len(balanced) == len(plain) == int((labels >= 0).sum())

    def test_every_class_takes_turns_if_a_batch_is_smaller_than_their_number(self, source: FeatureStore) -> None:
        labels = [(np.arange(len(source)) % classes).astype(np.int8) for classes in (4, 3)]
        framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
        corpora = [(CorpusWindows(source, framer, ()), each) for each in labels]  # the second lacks class 3
        stream = SourceStream(corpora, batch_size=2, seed=0, class_weights="balanced")
        drawn = [label for step in range(14) for label in stream.batch(step).labels.tolist()]
        assert drawn == [0, 0, 1, 1, 2, 2, 3] * 4
        shares = {label: stream.weights[stream.gather(np.arange(64)).labels.numpy() == label].sum() for label in (0, 3)}
        assert shares[0] == pytest.approx(2 * shares[3])

    def test_each_fold_of_an_oracle_is_balanced(self, source: FeatureStore) -> None:
        labels = [source.labels("valence").copy() for _ in range(3)]
        for fold, each in enumerate(labels):
            each[fold::3] = -1
        framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
        windows = CorpusWindows(source, framer, ())
        stream = FoldStream(windows, labels, batch_size=4, seed=0, class_weights="balanced")
        for step in range(3):
            found = stream.batch(step).labels
            assert [found[fold::3].tolist() for fold in range(3)] == [[0, 1, 0, 1]] * 3
            rows = [source.ids.index(each) for each in stream.ids(step)]
            assert all(labels[place % 3][row] >= 0 for place, row in enumerate(rows))
