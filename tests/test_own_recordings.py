"""End-to-end test: from a user's unlabelled recordings to predictions with the user's own columns."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from emodna.cli import fit, predict, prep
from tests.cli.running import Command, make_runner
from tests.model.small import SETTINGS
from tests.synthesis import make_emodb

#: Suffix and subtype of libsndfile.
FORMATS = [("wav", "PCM_16"), ("flac", "PCM_24"), ("mp3", "MPEG_LAYER_III")]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a call of four utterances in each format, and a table of the calls."""
    speech = tmp_path_factory.mktemp("speech")
    voices = sorted(make_emodb(speech, speakers=("03", "08"), texts=("a01", "b03"), syllables=3))
    folder = tmp_path_factory.mktemp("calls")
    rows = []
    for number, (suffix, subtype) in enumerate(FORMATS):
        parts = []
        for path in voices[4 * number :][:4]:
            samples, rate = soundfile.read(path, dtype="float32")
            parts += [np.zeros(rate), samples]
        call = np.concatenate(parts)
        name = f"week 1/call {number}.{suffix}"
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, np.stack([call, 0.5 * call], 1) if number % 2 else call, rate, subtype=subtype)
        rows.append({"path": name, "agent": f"A{number}", "label": "[bold]open"})
    with (folder / "calls.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["path", "agent", "label"])
        table.writeheader()
        table.writerows(rows)
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Command]:
    entry_points = {"prep": prep.main, "fit": fit.main, "predict": predict.main}
    return {name: make_runner(f"emodna-{name}", main, monkeypatch, capsys) for name, main in entry_points.items()}


@pytest.mark.slow
def test_from_a_folder_of_recordings_to_predictions(
    commands: dict[str, Command], calls: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(cache / "ravdess", tmp_path / "cache" / "ravdess")
    table = calls / "calls.csv"

    (folder_report,) = commands["prep"]("--folder", calls, "--name", "mine", "--json").json
    assert folder_report["utterances"] == len(FORMATS)
    (report,) = commands["prep"]("--manifest", table, "--segment", "energy", "--json").json
    assert (report["corpus"], report["rejected"], report["utterances"]) == ("calls", 0, 12)

    settings = [option for key, value in SETTINGS.items() for option in ("--set", f"{key}={value}")]
    fitted = commands["fit"]("--src", "ravdess", "--tgt", "calls", "--steps", 2, "--threads", 1, *settings, "--json")
    assert fitted.json["uar"] is None  # the target is unlabelled
    run = Path(fitted.json["run"])

    predictions = pq.read_table(run / "predictions.parquet").to_pylist()
    assert len(predictions) == report["utterances"]
    for row in predictions:
        number = int(row["path"].split("call ")[1][0])
        assert (row["agent"], row["own_label"], row["label"]) == (f"A{number}", "[bold]open", row["probability"] >= 0.5)
        assert row["id"].startswith(row["path"])

    result = commands["predict"](run, "--manifest", table, "--threads", 1, "--json")
    assert result.code == 0
    assert [(each["agent"], each["own_label"]) for each in result.json] == [(f"A{n}", "[bold]open") for n in range(3)]
    assert all(0 <= each["probability"] <= 1 for each in result.json)
