"""Runs of corpora whose features come from different channels or bands. A model only needs the same features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emodna.model import checkpoint
from emodna.model.evaluation.evaluate import evaluate_run
from emodna.model.evaluation.intervals import Resampling
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.provenance import read_corpora
from emodna.model.run_folder import RunFolder, read_target_channel
from emodna.model.runs.card import render_card
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from tests.model.small import fit_small
from tests.pipeline.making import prepare_corpus


@pytest.fixture(scope="module")
def second(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return a store of the second channel up to 4 kHz of eight stereo recordings of EMODB."""
    root = tmp_path_factory.mktemp("stereo")
    for path in sorted((roots["emodb"] / "wav").glob("*.wav"))[::4]:
        samples, rate = soundfile.read(path)
        soundfile.write(root / path.name, np.stack([samples[::-1], samples], axis=1), rate)
    corpus = load_corpus("emodb")
    corpus.name = "emodb-channel1-4000hz"
    return FeatureStore(prepare_corpus(root, root / "cache", corpus, channel=1, bandwidth=4000).store)


@pytest.fixture(scope="module")
def adapted_run(source: FeatureStore, second: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    fit_small(source, second, run, method="source-only", steps=1)
    return run


def test_a_run_adapts_to_another_channel_and_records_it(adapted_run: Path) -> None:
    source, target = read_corpora(RunFolder(adapted_run))
    assert (source.channel, source.bandwidth) == (0, None)
    assert (target.channel, target.bandwidth) == (1, 4000.0)
    assert read_target_channel(adapted_run) == 1
    card = render_card(RunFolder(adapted_run))
    assert "From channel 1 of the recordings. Without the frequencies above 4000 Hz." in card


def test_a_model_of_one_channel_is_evaluated_on_another(trained_run: Path, second: FeatureStore) -> None:
    finished = FinishedRun.load(trained_run, torch.device("cpu"))
    document, probabilities = evaluate_run(finished, second, Resampling(resamples=10))
    assert document["corpus"] == "emodb-channel1-4000hz"
    assert np.isfinite(probabilities).all()
    assert read_target_channel(trained_run) == 0


@pytest.mark.parametrize("channel", [0, 1])
def test_a_model_of_an_earlier_version_is_read(channel: int, trained_run: Path, tmp_path: Path) -> None:
    """Its features have a channel, which is ignored, and its corpora have neither channel nor bandwidth."""
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    tensors, metadata = checkpoint.load_tensors(run / "model.safetensors")
    assert "channel" not in metadata["features"]
    metadata["features"]["channel"] = channel
    checkpoint.save_tensors(run / "model.safetensors", tensors, metadata)
    document = json.loads((run / "corpora.json").read_text())
    for corpus in document["corpora"]:
        del corpus["channel"], corpus["bandwidth"]
    (run / "corpora.json").write_text(json.dumps(document))
    assert TrainedModel.load(run).features == make_feature_set("mfcc40")
    assert read_corpora(RunFolder(run)) == read_corpora(RunFolder(trained_run))
    assert render_card(RunFolder(run)) == render_card(RunFolder(trained_run))


def test_the_channel_of_an_unreadable_run_is_the_first(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"decisive": []}')
    assert [read_target_channel(path) for path in (tmp_path, tmp_path / "absent")] == [0, 0]
