"""Prediction for segments that a table gives: the same as for those of a store, each recording decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emodna.model.inference import predict as module
from emodna.model.inference.inputs import find_table_inputs
from emodna.model.inference.predict import predict
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows
from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.spans import read_spans
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.layout import SPAN_COLUMNS
from emodna.pipeline.tables import iterate_listed_rows, read_table
from tests.model.test_predict import make_model
from tests.pipeline.making import noise, prepare_corpus

RATE = 16_000


@pytest.fixture
def model() -> TrainedModel:
    return make_model(make_feature_set("mfcc40"))


def write_recordings(folder: Path) -> None:
    for name in ("a", "b"):
        channels = [noise(4.0, RATE, f"{name}{channel}") for channel in range(2)]
        soundfile.write(folder / f"{name}.wav", np.stack(channels, axis=1), RATE)


def predict_rows(model: TrainedModel, folder: Path, rows: Sequence[str], **options: Any) -> list[Prediction]:
    (folder / "t.csv").write_text("\n".join(["path,start,end", *rows]))
    table = read_table(folder / "t.csv", SPAN_COLUMNS)
    listed = iterate_listed_rows(table, table.column_names)
    inputs = find_table_inputs(listed, list(read_spans(table)), FolderTree(folder))
    found = list(predict([model], inputs, **options))
    assert all(given.file == prediction.file for given, prediction in found)
    return [prediction for _, prediction in found]


def list_spans(found: Sequence[Prediction]) -> list[tuple[str, float | None, float | None]]:
    return [(each.file, each.start, each.end) for each in found]


ROWS = ("a.wav,0.5,2", "a.wav,1.25,", "a.wav,0.5,1.5", "b.wav,1,2", "a.wav,1,2")


def test_segments_have_the_probabilities_of_a_store(model: TrainedModel, tmp_path: Path) -> None:
    write_recordings(tmp_path)
    found = predict_rows(model, tmp_path, ROWS)
    assert list_spans(found) == [
        *(("a.wav", 0.5, 2.0), ("a.wav", 1.25, 4.0), ("a.wav", 0.5, 1.5), ("b.wav", 1.0, 2.0), ("a.wav", 1.0, 2.0))
    ]
    assert [each.duration for each in found] == [1.5, 2.75, 1.0, 1.0, 1.0]
    store = FeatureStore(prepare_corpus(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.csv", "t")).store)
    expected = model.probabilities([(store[row], store.peak_db[row]) for row in range(len(store))])[:, 1]
    keys = zip(store.column("path"), store.column("start"), store.column("duration"), strict=True)
    by_span = dict(zip(keys, expected, strict=True))
    assert [each.probability for each in found] == pytest.approx(
        [by_span[each.file, each.start, each.duration] for each in found], abs=1e-6
    )
    assert found == predict_rows(model, tmp_path, ROWS, threads=3)


def test_neighbouring_segments_are_decoded_once(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recordings(tmp_path)
    decoded = []
    monkeypatch.setattr(
        module, "decode", lambda *args, _of=module.decode, **rest: decoded.append(1) or _of(*args, **rest)
    )
    predict_rows(model, tmp_path, ROWS)
    assert len(decoded) == 3
    found = predict_rows(model, tmp_path, ROWS[:2], channel="all")
    assert len(decoded) == 5
    assert [(each.channel, each.start) for each in found] == [(0, 0.5), (1, 0.5), (0, 1.25), (1, 1.25)]
    (tmp_path / "bad.wav").write_bytes(b"words")
    errors = [each.error for each in predict_rows(model, tmp_path, ["bad.wav,0,1", "bad.wav,1,2", "bad.wav,2,3"])]
    assert len(decoded) == 6
    assert errors[0] is not None
    assert errors == errors[:1] * 3


def test_windows_of_a_segment_are_segments(model: TrainedModel, tmp_path: Path) -> None:
    write_recordings(tmp_path)
    windows = predict_rows(model, tmp_path, ["a.wav,1,3.2", "b.wav,3.5,"], windows=Windows(1.0, 0.5))
    spans = [(1, 2), (1.5, 2.5), (2, 3), (2.2, 3.2)]
    segments = predict_rows(model, tmp_path, [*(f"a.wav,{start},{end}" for start, end in spans), "b.wav,3.5,4"])
    assert np.allclose([each.start for each in windows], [each.start for each in segments])
    assert [each.probability for each in windows] == pytest.approx([each.probability for each in segments], abs=1e-6)


def test_unusable_segments_are_errors_and_the_others_predicted(model: TrainedModel, tmp_path: Path) -> None:
    write_recordings(tmp_path)
    rows = ["a.wav,x,", "a.wav,3,5", "a.wav,3,4.02", "no.wav,0,1", ",0,1", ",,", "a.wav,2,1", "../a.wav,0,1", "b.wav,,"]
    found = predict_rows(model, tmp_path, rows)
    assert [each.file for each in found] == ["a.wav", "a.wav", "a.wav", "no.wav", "row 5", "a.wav", "../a.wav", "b.wav"]
    errors = [each.error or "" for each in found]
    parts = ("not a number", "beyond the end", "", "not found", "no path", "not after", "outside the root", "")
    assert all(part in error and bool(part) == bool(error) for part, error in zip(parts, errors, strict=True))
    assert list_spans(found)[2] == ("a.wav", 3.0, 4.0)
    assert [each.has_failed for each in found] == [bool(error) for error in errors]
