"""predictions.parquet contains the metadata of the corpus and the columns of the user's own table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from emodna.model.inference.predictions import write_predictions
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, make_emotion_task
from tests.model.small import fit_small, make_manifest_store, read_emotions

FIRST = ["id", "probability", "label"]
METADATA = ["path", "duration", "speaker", "gender", "language", "text", "intensity", "emotion_code", "emotion"]


def test_a_run_writes_the_metadata_of_its_corpus(trained_run: Path, target: FeatureStore) -> None:
    table = pq.read_table(trained_run / "predictions.parquet")
    assert table.column_names == [*FIRST, *METADATA]
    for name in ("id", *METADATA):
        assert table[name].to_pylist() == target.table[name].to_pylist()


def test_a_run_writes_the_columns_of_the_users_table(
    source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
) -> None:
    paths = read_emotions(target)
    columns = {name: {path: f"{name} of {path}" for path in paths} for name in ("call", "label", "own_label", "Wer?")}
    store = make_manifest_store(roots["emodb"], dict.fromkeys(paths, ""), tmp_path, **columns)
    fit_small(source, store, tmp_path / "run", steps=1)
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    assert table.column_names == [*FIRST, *METADATA, "call", "own_label", "own_own_label", "Wer?"]
    for row in table.to_pylist():
        assert row["label"] == int(row["probability"] >= 0.5)
        assert row["own_label"] == f"label of {row['path']}"
        assert row["own_own_label"] == f"own_label of {row['path']}"
        assert (row["call"], row["Wer?"]) == (f"call of {row['path']}", f"Wer? of {row['path']}")
        assert row["emotion"] is None


def test_predictions_are_in_the_order_of_the_store(target: FeatureStore, tmp_path: Path) -> None:
    probabilities = np.linspace(0, 1, len(target))
    of_both = np.stack([1 - probabilities, probabilities], axis=1)
    write_predictions(tmp_path / "p.parquet", target, of_both, AROUSAL, "oracle-labels", "unknown")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.metadata[b"supervision"] == b"oracle-labels"
    assert table.schema.metadata[b"exposure"] == b"unknown"
    assert table["id"].to_pylist() == target.ids
    assert table["probability"].to_pylist() == probabilities.tolist()
    assert str(table.schema.field("label").type) == "int8"


def test_a_column_per_class_of_more_than_two(target: FeatureStore, tmp_path: Path) -> None:
    task = make_emotion_task(["emobox4"])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), len(target))
    write_predictions(tmp_path / "p.parquet", target, probabilities, task, "source", "no")
    table = pq.read_table(tmp_path / "p.parquet")
    names = [f"probability_{name}" for name in ("anger", "happiness", "neutral", "sadness")]
    assert table.column_names[:6] == ["id", *names, "label"]
    for number, name in enumerate(names):
        assert table[name].to_pylist() == probabilities[:, number].tolist()
    assert table["label"].to_pylist() == probabilities.argmax(axis=1).tolist()
