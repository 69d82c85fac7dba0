"""Prediction by models with normalisation by speaker."""

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from numpy.typing import NDArray

from emodna.model.data.normalisation import MIN_STD, Statistics
from emodna.model.data.pooling import pool_over_time
from emodna.model.inference import bulk, speakers
from emodna.model.inference.inputs import Input, find_inputs
from emodna.model.inference.predict import predict
from emodna.model.inference.speakers import group_by_speaker, split_by_speaker
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import DeadWorkerError
from emodna.pipeline.features import make_feature_set
from tests.model.bulk import ThreadWorkers, make_request, predict_at_once, predict_in_bulk
from tests.model.test_waveform_model import make_model

RATE = 22050
#: Fewest utterances of a speaker with statistics of its own, in these tests.
ENOUGH = 8
#: Speakers of the recordings: a has 9, b 9, c 2; one is unknown.
SPEAKERS = (*("abac" * 2), *("ab" * 4), None, *("bbba"))


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speakers, "MIN_UTTERANCES", ENOUGH)


def make_speaker_model(*, pooled: bool) -> TrainedModel:
    features = make_feature_set("mfcc40")
    base = dataclasses.replace(make_model(features), per_speaker=True)
    if not pooled:
        return base
    dim = 2 * features.dim
    config = dataclasses.replace(SourceOnly.defaults, channels=8, network="statistics")
    draw = np.random.default_rng(0)
    statistics = Statistics(draw.normal(size=dim).astype(np.float32), draw.uniform(10, 30, dim).astype(np.float32))
    framer = dataclasses.replace(base.framer, frames=1, statistics=statistics)
    method = SourceOnly(dim, config, 0).eval()
    settings = dataclasses.asdict(config)
    return dataclasses.replace(
        base, method=method, method_config=settings, dim=dim, framer=framer, reads_statistics=True
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    for number in range(len(SPEAKERS)):
        draw = np.random.default_rng(number)
        time = np.arange(int(draw.uniform(0.3, 1.2) * RATE)) / RATE
        tone = 0.3 * np.sin(2 * np.pi * draw.uniform(100, 400) * time) + 0.02 * draw.standard_normal(len(time))
        soundfile.write(folder / f"{number:02}.wav", tone, RATE)
    return folder


@pytest.fixture
def inputs(folder: Path) -> list[Input]:
    found = find_inputs([str(folder)])
    return [dataclasses.replace(each, number=row, speaker=SPEAKERS[row]) for row, each in enumerate(found)]


def predict_naively(model: TrainedModel, utterances: list[tuple[NDArray[np.float32], float]]) -> list[float]:
    """Return the probabilities of the utterances of one speaker, normalised by the statistics of all their frames."""
    given = None
    if len(utterances) >= ENOUGH:
        frames = [pool_over_time(each) if model.reads_statistics else each for each, _ in utterances]
        every = np.concatenate(frames, dtype=np.float64)
        given = Statistics(every.mean(0).astype(np.float32), np.maximum(every.std(0), MIN_STD).astype(np.float32))
    windows = [model.window(*each, given) for each in utterances]
    probabilities: list[float] = model.classify(windows)[:, 1].tolist()
    return probabilities


@pytest.mark.parametrize("pooled", [True, False])
def test_each_speaker_has_its_statistics_and_the_order_stays(inputs: list[Input], folder: Path, pooled: bool) -> None:
    model = make_speaker_model(pooled=pooled)
    samples = [soundfile.read(folder / f"{row:02}.wav", dtype="float32")[0] for row in range(len(SPEAKERS))]
    utterances = [model.features.extract(each) for each in samples]
    expected = {}
    for group in group_by_speaker(inputs):
        expected |= dict(zip(group, predict_naively(model, [utterances[row] for row in group]), strict=True))
    plain = dataclasses.replace(model, per_speaker=False)
    found = list(predict([model, plain], inputs))
    assert [(given.number, each.model) for given, each in found] == list(product(range(len(SPEAKERS)), range(2)))
    assert [each.probability for _, each in found[::2]] == pytest.approx([expected[row] for row in sorted(expected)])
    assert [each.has_own_statistics for _, each in found[::2]] == [each in ("a", "b") for each in SPEAKERS]
    assert {each.has_own_statistics for _, each in found[1::2]} == {None}
    assert [each.probability for _, each in found[1::2]] == pytest.approx(
        plain.probabilities(utterances)[:, 1].tolist()
    )
    assert list(predict([model, plain], inputs, threads=3)) == found


def test_each_recording_is_a_speaker_without_a_table(folder: Path, tmp_path: Path) -> None:
    model = make_speaker_model(pooled=True)
    long, short = tmp_path / "long.wav", folder / "00.wav"
    names = sorted(folder.glob("*.wav"))[:12]
    soundfile.write(long, np.concatenate([soundfile.read(each)[0] for each in names]), RATE)
    windows = Windows(0.5, 0.5)
    together = [each for _, each in predict([model], find_inputs([str(long), str(short)]), windows=windows)]
    alone = [each for name in (long, short) for _, each in predict([model], find_inputs([str(name)]), windows=windows)]
    assert together == alone
    assert {(Path(each.file).name, each.has_own_statistics) for each in together} == {
        ("long.wav", True),
        ("00.wav", False),
    }


def test_parts_do_not_split_speakers(inputs: list[Input]) -> None:
    starts = split_by_speaker(inputs, 1)
    parts = np.split(np.arange(len(inputs)), starts[1:])
    of_parts = [{inputs[row].speaker for row in part.tolist()} - {None} for part in parts]
    assert sum(map(len, of_parts)) == 3
    assert [row for part in parts for row in part.tolist()] == list(range(len(inputs)))
    by_name = sorted(inputs, key=lambda each: each.speaker or "z")
    assert split_by_speaker(by_name, 4) == [0, 9, 18]
    assert split_by_speaker([], 4) == [0]


def test_bulk_predicts_as_one_process(inputs: list[Input], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_WHOLE_PER_PART", 2)
    run = tmp_path / "run"
    run.mkdir()
    make_speaker_model(pooled=True).save(run / "model.safetensors")
    request = dataclasses.replace(make_request(run), per_speaker=True)
    expected = predict_at_once(request, inputs, tmp_path / "expected.parquet")
    workers = ThreadWorkers()
    predict_in_bulk(request, inputs, tmp_path / "out", workers)
    assert pq.read_table(tmp_path / "out").equals(expected)
    assert [len(batch) for batch in workers.batches] == [len(SPEAKERS)]  # b has the first and the last but one

    def die(names: list[str]) -> None:
        if "03.wav" in names:
            raise DeadWorkerError("killed")

    predict_in_bulk(request, inputs, tmp_path / "again", ThreadWorkers(die))
    rows = pq.read_table(tmp_path / "again").to_pylist()
    assert [row["error"] is None for row in rows] == [speaker != "c" for speaker in SPEAKERS]
    assert [row["probability"] for row in rows if row["error"] is None] == pytest.approx(
        [row["probability"] for row, speaker in zip(expected.to_pylist(), SPEAKERS, strict=True) if speaker != "c"]
    )
