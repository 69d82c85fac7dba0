"""The network of pooled statistics: pooling, training, resume, target labels, saved models; and balanced classes."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emodna.model.checkpoint import load_tensors
from emodna.model.data.normalisation import Statistics
from emodna.model.data.pooling import PooledStore, pool_over_time
from emodna.model.fit import fit
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import METHODS
from emodna.model.methods.base import EncoderConfig
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore
from tests.model.small import InterruptAt, Interruption, SilentCallback, Stores, assert_same_tensors

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
            monkeypatch.setattr("emodna.model.data.vectors._KEPT_BYTES", kept_bytes)
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
    np.testing.assert_allclose(model.probabilities(utterances), logits.double().softmax(1)[:, 1].numpy(), rtol=1e-5)
