"""Normalisation by speaker: statistics of each speaker's utterances, in training, evaluation and predictions."""

import json
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodna.model.data.normalisation import Statistics
from emodna.model.data.speakers import MIN_UTTERANCES, SpeakerStatistics, count_speakers
from emodna.model.data.stream import CorpusWindows
from emodna.model.data.windows import Framer
from emodna.model.evaluation.evaluate import evaluate_run
from emodna.model.evaluation.intervals import Resampling
from emodna.model.evaluation.selection import select
from emodna.model.inference.finished_run import FinishedRun
from emodna.pipeline.store import FeatureStore
from tests.model.small import Stores, fit_small, make_manifest_store, read_emotions

Float32 = NDArray[np.float32]

DIM, FRAMES = 3, 12
FEW = Resampling(resamples=100)


class MemoryStore:
    """Features and speakers in memory, with the members of a store that normalisation reads."""

    fingerprint = "memory"

    def __init__(self, features: list[Float32], speakers: list[str | None]) -> None:
        self._features = features
        self._table = pa.table(
            {"speaker": pa.array(speakers, pa.string()), "gender": pa.nulls(len(speakers), pa.string())}
        )
        self._table = self._table.append_column("language", self._table["gender"])
        self.frames = np.array([len(each) for each in features], np.int32)
        self.peak_db = np.zeros(len(features), np.float32)
        self.dim = features[0].shape[1]

    def __len__(self) -> int:
        return len(self._features)

    def gather(self, rows: NDArray[np.int64]) -> list[Float32]:
        return [self._features[row] for row in rows.tolist()]

    def columns(self, names: list[str]) -> pa.Table:
        return self._table.select(names)


def make_store(speakers: list[str | None], seed: int = 0) -> MemoryStore:
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(rng.integers(2, 2 * FRAMES), DIM)).astype(np.float32) for _ in speakers]
    return MemoryStore(features, speakers)


def make_windows(memory: MemoryStore) -> CorpusWindows:
    store = cast("FeatureStore", memory)
    shared = Statistics.of_corpora([(store, np.arange(len(store)))])
    framer = Framer(FRAMES, "zero", shared, lambda _peak: np.zeros(DIM, np.float32))
    return CorpusWindows(store, framer, [], SpeakerStatistics.of_corpus(store, shared))


def normalise(windows: CorpusWindows) -> Float32:
    out = np.empty((len(windows.store), FRAMES, DIM), np.float32)
    for each, (features, peak_db, own) in zip(out, windows.read(np.arange(len(windows.store))), strict=True):
        windows.framer(features, peak_db, each, own)
    return out


def test_each_utterance_has_the_statistics_of_its_speaker_or_else_of_the_corpus() -> None:
    speakers = [*["a", "b", None] * MIN_UTTERANCES, *["few"] * (MIN_UTTERANCES - 1)]
    memory = make_store(speakers)
    features = memory.gather(np.arange(len(memory)))
    windows = make_windows(memory)
    assert windows.speakers is not None
    for row, (speaker, found) in enumerate(
        zip(speakers, windows.speakers.select(np.arange(len(speakers))), strict=True)
    ):
        same = features if speaker == "few" else [f for f, s in zip(features, speakers, strict=True) if s == speaker]
        frames = np.concatenate(same).astype(np.float64)
        np.testing.assert_allclose(found.mean, frames.mean(axis=0), atol=1e-6, err_msg=str(row))
        np.testing.assert_allclose(found.std, frames.std(axis=0), rtol=1e-5, err_msg=str(row))
    counts = count_speakers(cast("FeatureStore", memory))
    assert (counts.utterances, counts.speakers, counts.few, counts.unknown) == (len(speakers), 3, 1, MIN_UTTERANCES)
    assert "1 of 3 speakers" in str(counts.remark)


@pytest.mark.parametrize(
    ("speakers", "part"),
    [
        (["a"] * MIN_UTTERANCES, None),
        ([None] * 20, "no utterance has a speaker"),
        ([*["a"] * MIN_UTTERANCES, None], "1 utterance has no speaker and uses the statistics of the corpus"),
        ([*["a", None] * MIN_UTTERANCES], f"{MIN_UTTERANCES} utterances have no speaker and are normalised together"),
        (["a"] * 7, f"1 of 1 speakers has fewer than {MIN_UTTERANCES}"),
    ],
)
def test_remark_names_what_has_no_statistics_of_a_speaker(speakers: list[str | None], part: str | None) -> None:
    remark = count_speakers(cast("FeatureStore", make_store(speakers))).remark
    assert remark is None if part is None else part in str(remark)


@settings(deadline=None, max_examples=25)
@given(
    scales=st.lists(st.floats(0.1, 10), min_size=2, max_size=2),
    offsets=st.lists(st.floats(-100, 100), min_size=2, max_size=2),
    seed=st.integers(0, 99),
)
def test_an_affine_change_of_a_speaker_changes_no_window(scales: list[float], offsets: list[float], seed: int) -> None:
    speakers = [str(number % 2) for number in range(2 * MIN_UTTERANCES)]
    plain = make_store(list(speakers), seed)
    changed = [
        (each * scales[int(speaker)] + offsets[int(speaker)]).astype(np.float32)
        for each, speaker in zip(plain.gather(np.arange(len(plain))), speakers, strict=True)
    ]
    # Zeros as padding stand for raw values, so only frames of speech are compared.
    spoken = np.arange(FRAMES) < np.minimum(plain.frames, FRAMES)[:, None]
    shift = (FRAMES - np.minimum(plain.frames, FRAMES)) // 2
    spoken = np.stack([np.roll(mask, by) for mask, by in zip(spoken, shift, strict=True)])
    expected, found = normalise(make_windows(plain)), normalise(make_windows(MemoryStore(changed, list(speakers))))
    np.testing.assert_allclose(found[spoken], expected[spoken], atol=2e-3)


@pytest.fixture(scope="module")
def run(pair: Stores, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a run that was normalised by speaker, with selection and oracle analysis, and its `Sources`."""
    folder = tmp_path_factory.mktemp("run") / "run"
    spy = mock.Mock(wraps=select)
    changed = {"normalisation": "per-speaker", "validation": "0.5", "snapshot_every": "4"}
    with mock.patch("emodna.model.fit.select", spy):
        fit_small(*pair, folder, method="source-only", settings=changed, select="source-accuracy", oracle_analysis=True)
    return folder, spy.call_args.args[4]


def test_predictions_of_fit_evaluation_and_oracle_analysis_are_equal(run: tuple[Path, Any], pair: Stores) -> None:
    folder, sources = run
    finished, result = FinishedRun.load(folder, torch.device("cpu")), json.loads((folder / "result.json").read_text())
    evaluation, probabilities = evaluate_run(finished, pair[1], FEW)
    assert probabilities[:, 1].tolist() == pq.read_table(folder / "predictions.parquet")["probability"].to_pylist()
    assert evaluation["uar"] == result["uar"]
    assert evaluation["speakers"] == {"utterances": len(pair[1]), "speakers": 2, "few": 0, "unknown": 0}
    assert json.loads((folder / "oracle.json").read_text())["oracle"]["last"]["uar"] == result["uar"]
    # Held-out utterances of the source have the statistics of their speakers, as in an evaluation on the source.
    ((split, windows),) = sources
    held_out = finished.model.probabilities(windows.read(split.held_out))
    expected = evaluate_run(finished, pair[0], FEW)[1][split.held_out]
    np.testing.assert_allclose(held_out, expected, rtol=1e-6)


def test_an_unknown_speaker_is_normalised_by_the_whole_target(run: tuple[Path, Any], pair: Stores) -> None:
    model = FinishedRun.load(run[0], torch.device("cpu")).model
    assert model.per_speaker
    found, expected = model.framer.statistics, Statistics.of_corpora([(pair[1], np.arange(len(pair[1])))])
    assert found is not None
    assert np.array_equal(found.mean, expected.mean)
    assert np.array_equal(found.std, expected.std)


def test_a_corpus_without_speakers_has_its_own_statistics_and_one_line_says_so(
    run: tuple[Path, Any], pair: Stores, roots: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    anonymous = make_manifest_store(roots["emodb"], read_emotions(pair[1]), tmp_path)
    for normalisation in ("per-speaker", "per-corpus"):
        changed = {"normalisation": normalisation}
        fit_small(pair[0], anonymous, tmp_path / normalisation, method="source-only", settings=changed, steps=1)
        finished = FinishedRun.load(tmp_path / normalisation, torch.device("cpu"))
        adapted = finished.adapt_model(anonymous)
        assert adapted.framer.statistics is not None
        expected = Statistics.of_corpora([(anonymous, np.arange(len(anonymous)))])
        assert np.array_equal(adapted.framer.statistics.mean, expected.mean)
    (warning,) = [message for message in caplog.messages if "speaker" in message]
    assert "own: no utterance has a speaker" in warning
    remark = evaluate_run(FinishedRun.load(run[0], torch.device("cpu")), anonymous, FEW)[0]["speakers"]
    assert (remark["speakers"], remark["unknown"]) == (0, len(anonymous))
