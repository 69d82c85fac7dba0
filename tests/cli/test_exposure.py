"""Scores on corpora that the features were trained on, or may have been, are marked in each output that marks oracles.

The features are MFCCs that pass for those of an encoder, which has seen EMODB and perhaps RAVDESS.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from emodna.cli import eval as eval_command
from emodna.cli import fit as fit_command
from emodna.cli import prep as prep_command
from emodna.cli.runs import command as runs_command
from emodna.model.inference.onnx_export import _collect_metadata
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import note_exposure
from emodna.model.provenance import read_corpora
from emodna.model.run_folder import RunFolder
from emodna.model.runs.card import render_card
from emodna.pipeline.encoders import exposure
from emodna.pipeline.encoders.known import KNOWN_ENCODERS, Sighting
from emodna.pipeline.features import LogMelSet, MfccSet
from tests.model.small import CommandResult, run_command

SETTINGS = ("batch_size=8", "frames=32", "channels=8")
SEEN = {"ravdess": "unknown", "emodb": "yes"}
ENCODER = replace(
    KNOWN_ENCODERS["wav2vec2-ravdess"],
    seen={"ravdess": Sighting("unknown", "Web et al. 2022"), "emodb": Sighting("yes", "Card & Co")},
)


@pytest.fixture(scope="module", autouse=True)
def _trained_features() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogMelSet, "is_trained", True)
        patch.setattr(exposure, "find_encoder_of", lambda _: ENCODER)
        patch.setattr("emodna.model.runs.card.find_encoder_of", lambda _: ENCODER)
        patch.setattr(MfccSet, "licence", "CC BY-NC 4.0")
        patch.setattr(MfccSet, "citation", "Mel 1980")
        yield


def fit(cache: Path, source: str, target: str, *arguments: object) -> CommandResult:
    settings = [part for value in SETTINGS for part in ("--set", value)]
    corpora = ("--src", source, "--tgt", target, "--cache", cache)
    options = ("--method", "source-only", "--threads", 1, "--steps", 2)
    return run_command(fit_command.main, *corpora, *options, *settings, *arguments)


@pytest.fixture(scope="module")
def trained_run(
    cache: Path, tmp_path_factory: pytest.TempPathFactory, _trained_features: None
) -> tuple[Path, CommandResult]:
    """Return the folder and output of a run whose target the features have seen."""
    folder = tmp_path_factory.mktemp("exposed") / "run"
    return folder, fit(cache, "ravdess", "emodb", "--out", folder)


@pytest.fixture
def run(trained_run: tuple[Path, CommandResult]) -> Path:
    return trained_run[0]


def read_json(main: Any, *arguments: object) -> Any:
    answer = run_command(main, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def find_row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_fit_marks_label_and_explains(trained_run: tuple[Path, CommandResult]) -> None:
    run, answer = trained_run
    assert find_row(answer.out, "source-only").startswith("source-only (exposed)")
    assert "exposed: the model of the features mfcc40-22050hz was trained on emodb" in answer.out
    assert "exposed: the model of the features mfcc40-22050hz was trained on emodb" in answer.err
    for name in ("config.json", "result.json"):
        assert json.loads((run / name).read_text())["exposure"] == SEEN
    assert "exposed" not in json.loads((run / "result.json").read_text())["label"]  # it is of the method
    assert pq.read_schema(run / "predictions.parquet").metadata[b"exposure"] == b"yes"


def test_unknown_exposure_is_no_warning(cache: Path, tmp_path: Path) -> None:
    answer = fit(cache, "emodb", "ravdess", "--out", tmp_path / "run")
    assert find_row(answer.out, "source-only").startswith("source-only (exposure unknown)")
    assert "exposure unknown: the model of the features mfcc40-22050hz may have heard ravdess" in answer.out
    assert "expos" not in answer.err


def test_recordings_of_the_user_have_a_note_of_their_own() -> None:
    notes = note_exposure({"ravdess": "unknown", "calls": "unknown", "emodb": "yes"}, "the encoder tiny")
    assert [note.partition(": ")[0] for note in notes] == ["exposed", "exposure unknown", "exposure unknown"]
    assert ["emodb" in notes[0], "ravdess" in notes[1], "calls" in notes[2]] == [True] * 3
    assert all("the encoder tiny" in note for note in notes)


def test_runs_are_marked(run: Path) -> None:
    label = "source-only (exposed) (channels=8, steps=2, batch_size=8, frames=32)"
    answer = run_command(runs_command.main, "ls", run.parent)
    assert "(exposed)" in "".join(answer.out.split("\n"))
    shown = run_command(runs_command.main, "show", run).out
    assert find_row(shown, "exposure").split() == ["exposure", "ravdess", "unknown,", "emodb", "yes"]
    assert find_row(shown, "label").split()[1:3] == label.split()[:2]
    assert find_row(shown, "source-only").startswith("source-only (exposed)")
    (row,) = read_json(runs_command.main, "ls", run.parent)
    assert row["exposure"] == read_json(runs_command.main, "show", run)["exposure"] == SEEN


def copy_as_earlier_version(run: Path, folder: Path) -> Path:
    """Return a copy of a run without the keys of exposure."""
    old = Path(shutil.copytree(run, folder))
    for name in ("config.json", "result.json"):
        document = json.loads((old / name).read_text())
        del document["exposure"]
        (old / name).write_text(json.dumps(document))
    return old


def test_comparison_of_runs_is_marked(run: Path, tmp_path: Path) -> None:
    other = copy_as_earlier_version(run, tmp_path / "old")
    document = read_json(runs_command.main, "compare", run, other)
    assert [each["exposure"] for each in document["runs"]] == [SEEN, dict.fromkeys(SEEN, "no")]
    assert document["differs"]["exposure"] == ["yes", "no"]
    assert "(exposed)" in run_command(runs_command.main, "compare", run, other).out.replace("\n", "")


def test_evaluation_marks_the_evaluated_corpus(run: Path, cache: Path, tmp_path: Path) -> None:
    options = (run, "--corpus", "ravdess", "--corpus", "emodb", "--cache", cache, "--resamples", 100)
    documents = read_json(eval_command.main, *options, "--out", tmp_path / "out")
    assert {each["corpus"]: each["exposure"] for each in documents} == SEEN
    metadata = pq.read_schema(tmp_path / "out" / "predictions-ravdess.parquet").metadata
    assert metadata[b"exposure"] == b"unknown"
    answer = run_command(eval_command.main, *options)
    assert "exposure unknown: the model of the features mfcc40-22050hz may have heard ravdess" in answer.err
    assert "exposed: the model of the features mfcc40-22050hz was trained on emodb" in answer.err
    rows = [line for line in answer.out.splitlines() if line.startswith("source-only (")]
    assert len(rows) == 2
    assert rows[0].startswith("source-only (exposure unknown)")
    assert rows[1].startswith("source-only (exposed)")


def test_card_tells_origin_and_terms_of_the_features(run: Path) -> None:
    card = render_card(RunFolder(run))
    front, body = card.split("\n---\n", 1)
    assert "exposed" in yaml.safe_load(front)["tags"]
    assert "source-only (exposed)" in body
    for text in (ENCODER.name, ENCODER.source.partition("@")[2], ENCODER.licence, ENCODER.training_data):
        assert text in body
    assert "its training contained emodb: yes (Card" in body
    assert "its training contained ravdess: unknown (Web" in body
    assert "**exposed: the model of the features mfcc40-22050hz was trained on emodb" in body
    assert "terms of their own: CC BY-NC 4.0. Cite: Mel 1980" in body
    assert "by the terms of ravdess and mfcc40-22050hz" in body  # not for commercial use


def test_metadata_of_an_exported_model_tells_exposure_and_terms(run: Path) -> None:
    model = TrainedModel.load(run, torch.device("cpu"))
    metadata = _collect_metadata(model, read_corpora(RunFolder(run)))
    assert json.loads(metadata["exposure"]) == SEEN
    assert (metadata["feature_licence"], metadata["feature_citation"]) == ("CC BY-NC 4.0", "Mel 1980")


def test_runs_of_earlier_versions_are_not_marked(run: Path, tmp_path: Path) -> None:
    old = copy_as_earlier_version(run, tmp_path / "old")
    assert "expos" not in run_command(runs_command.main, "show", old).out
    assert set(read_json(runs_command.main, "show", old)["exposure"].values()) == {"no"}
    assert "exposed" not in yaml.safe_load(render_card(RunFolder(old)).split("\n---\n", 1)[0])["tags"]


class TestListEncoders:
    def test_json_has_every_fact(self) -> None:
        documents = read_json(prep_command.main, "--list-encoders")
        assert [each["encoder"] for each in documents] == list(KNOWN_ENCODERS)
        for each in documents:
            known = KNOWN_ENCODERS[each["encoder"]]
            assert {key: each[key] for key in ("hub", "revision", "sha256", "licence", "training_data")} == {
                key: getattr(known, key) for key in ("hub", "revision", "sha256", "licence", "training_data")
            }
            found = {corpus: (seen["exposure"], seen["citation"]) for corpus, seen in each["seen"].items()}
            assert found == dict(known.seen)

    def test_text_names_sources_and_says_where_a_commit_is_missing(self) -> None:
        answer = run_command(prep_command.main, "--list-encoders")
        assert answer.code == 0
        for each in KNOWN_ENCODERS.values():
            assert each.source in answer.out
            assert each.training_data in answer.out
        assert answer.out.count("no commit is confirmed") == sum(
            each.revision is None for each in KNOWN_ENCODERS.values()
        )

    def test_local_weights_are_found_by_their_hash(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "models" / "renamed.onnx"
        file.parent.mkdir()
        file.write_bytes(b"weights")
        known = replace(KNOWN_ENCODERS["smart-turn-v3.2"], sha256=hashlib.sha256(b"weights").hexdigest())
        monkeypatch.setattr("emodna.pipeline.encoders.known.KNOWN_ENCODERS", {known.name: known})
        monkeypatch.setenv("EMODNA_ENCODERS", str(tmp_path))
        (document,) = read_json(prep_command.main, "--list-encoders")
        assert document["local"] == str(file)
        monkeypatch.delenv("EMODNA_ENCODERS")
        (document,) = read_json(prep_command.main, "--list-encoders")
        assert document["local"] is None
