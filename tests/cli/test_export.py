"""emodna-export: an ONNX file that predicts like emodna, and the model card."""

import json
import os
import re
import shutil
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from emodna.cli import export as export_command
from emodna.cli import predict as predict_command
from emodna.model.inference.predict import predict_files
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.audio.decode import decode, resample
from tests.model.small import CommandResult, assert_one_line_error, run_command

#: Metadata that are text; all others are JSON.
PLAIN_TEXTS = (
    *("emodna_version", "task", "method", "supervision", "method_reference"),
    *("feature_licence", "feature_citation"),
)
GUIDE = Path(__file__).parents[2] / "docs" / "ONNX.md"


def export(*arguments: object) -> CommandResult:
    return run_command(export_command.main, *arguments)


@pytest.fixture(scope="module")
def run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(run, tmp_path_factory.mktemp("export") / "run"))


@pytest.fixture(scope="module")
def document(run: Path) -> dict[str, Any]:
    answer = export(run, "--to", "onnx", "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


@pytest.fixture(scope="module")
def session(document: dict[str, Any]) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(document["out"], providers=["CPUExecutionProvider"])


def read_waveform(file: Path, rate: int = 22050) -> Any:
    with file.open("rb") as stream:
        recording = decode(stream)
    return resample(recording.samples, recording.sample_rate, rate)


class TestOnnx:
    def test_json_has_exactly_the_documented_keys(self, run: Path, document: dict[str, Any]) -> None:
        assert list(document) == [
            *("run", "to", "out", "bytes", "difference", "tolerance", "compared", "metadata", "wall_seconds")
        ]
        assert (document["run"], document["to"], document["out"]) == (str(run), "onnx", str(run / "model.onnx"))
        assert document["bytes"] == (run / "model.onnx").stat().st_size
        assert 0 <= document["difference"] <= document["tolerance"] == 1e-4
        assert document["compared"] == 5

    def test_onnx_file_predicts_like_the_command(
        self, run: Path, session: onnxruntime.InferenceSession, emodb_root: Path
    ) -> None:
        files = sorted((emodb_root / "wav").glob("*.wav"))
        predicted = json.loads(run_command(predict_command.main, run, *files, "--json", "--threads", 1).out)
        found = [float(session.run(["probability"], {"waveform": read_waveform(file)[None]})[0][0]) for file in files]
        assert found == pytest.approx([each["probability"] for each in predicted], abs=1e-4)
        assert np.ptp(found) > 1e-3
        # Also in a batch with silence.
        speech = read_waveform(files[0])
        probability, logits = session.run(None, {"waveform": np.stack([speech, 0 * speech])})
        assert probability.tolist() == pytest.approx([found[0], np.nan], abs=1e-6, nan_ok=True)
        assert np.isnan(logits).tolist() == [[False] * 2, [True] * 2]

    def test_metadata_describes_the_model(
        self, document: dict[str, Any], session: onnxruntime.InferenceSession
    ) -> None:
        metadata = session.get_modelmeta().custom_metadata_map
        assert metadata == document["metadata"]
        assert (metadata["task"], metadata["method"]) == ("arousal", "emo-dna")
        decoded = {name: json.loads(metadata[name]) for name in metadata if name not in PLAIN_TEXTS}
        assert decoded["class_names"] == ["low", "high"]
        assert (decoded["sample_rate"], decoded["min_samples"]) == (22050, 2048)
        assert decoded["window_seconds"] == pytest.approx(32 * 512 / 22050)
        assert decoded["window"]["padding"] == "silence"
        assert decoded["features"]["n_mels"] == 128
        assert (decoded["source_corpora"], decoded["target_corpora"]) == (["ravdess"], ["emodb"])
        assert decoded["licences"]["ravdess"] == "CC BY-NC-SA 4.0"
        assert list(decoded["citations"]) == ["ravdess", "emodb"]
        assert [each.name for each in session.get_inputs()] == ["waveform"]
        assert session.get_inputs()[0].shape == ["batch", "samples"]
        assert [each.name for each in session.get_outputs()] == ["probability", "logits"]

    def test_file_has_no_local_path_and_only_documented_metadata(self, document: dict[str, Any]) -> None:
        content = Path(document["out"]).read_bytes()
        assert not re.findall(rb"\.py\b|/home|/tmp|site-packages|" + re.escape(os.fsencode(Path.cwd())), content)
        assert onnx.load(document["out"]).producer_name == "emodna"
        assert [name for name in document["metadata"] if f"`{name}`" not in GUIDE.read_text()] == []

    def test_example_of_the_guide_runs(
        self,
        run: Path,
        document: dict[str, Any],
        emodb_root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        file = sorted((emodb_root / "wav").glob("*.wav"))[0]
        (tmp_path / "speech.wav").write_bytes(file.read_bytes())
        (tmp_path / "model.onnx").write_bytes(Path(document["out"]).read_bytes())
        monkeypatch.chdir(tmp_path)
        exec(example, {})
        model = TrainedModel.load(run / "model.safetensors", torch.device("cpu"))
        (prediction,) = predict_files(model, [file])
        assert capsys.readouterr().out == f"arousal: p(high) = {prediction.probability:.3f}\n"

    def test_missing_packages_are_named_with_their_extra(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(util, "find_spec", lambda name: None if name.startswith("onnx") else object())
        answer = export(run, "--to", "onnx", "--out", tmp_path / "model.onnx")
        assert_one_line_error(answer, "onnx, onnxruntime, onnxscript", "pip install 'emodna[onnx]'")

    def test_existing_file_is_refused_before_any_work(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        assert_one_line_error(export(run, "--to", "onnx", "--out", tmp_path / "mine"), "mine", "--force")
        assert_one_line_error(export(run, "--to", "onnx", "--out", tmp_path / "no" / "mine"), "not found")
        assert (tmp_path / "mine").read_text() == "mine"


class TestCard:
    def test_card_is_rewritten_in_place_or_elsewhere(self, run: Path, tmp_path: Path) -> None:
        first, place = (run / "MODEL_CARD.md").read_text(), tmp_path / "README.md"
        (run / "MODEL_CARD.md").write_text("lost")
        answer = export(run, "--to", "card")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == f"{run / 'MODEL_CARD.md'}: {len(first.encode())} bytes\n"
        document = json.loads(export(run, "--to", "card", "--out", place, "--json").out)
        assert list(document) == ["run", "to", "out", "bytes", "wall_seconds"]
        assert place.read_text() == (run / "MODEL_CARD.md").read_text() == first

    def test_card_replaces_a_file_only_with_force(self, run: Path, tmp_path: Path) -> None:
        place = tmp_path / "README.md"
        place.write_text("mine")
        assert_one_line_error(export(run, "--to", "card", "--out", place), "README.md", "--force")
        assert export(run, "--to", "card", "--out", place, "--force").code == 0


def test_errors_are_one_line(tmp_path: Path) -> None:
    for kind in ("onnx", "card"):
        assert_one_line_error(export(tmp_path / "[red]none", "--to", kind), "[red]none: not found", "emodna-runs ls")
    assert list(tmp_path.iterdir()) == []
    answer = export("run")
    assert answer.code == 2
    assert "--to" in answer.err
