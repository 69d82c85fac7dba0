"""Fixtures that call commands like functions, in an empty working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.cli import corpora as corpora_command
from emodna.cli import prep as prep_command
from emodna.cli.cache import command as cache_command
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command, make_runner
from tests.model.small import SETTINGS, SilentCallback


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def emodna_prep(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_runner("emodna-prep", prep_command.main, monkeypatch, capsys)


@pytest.fixture
def emodna_cache(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_runner("emodna-cache", cache_command.main, monkeypatch, capsys)


@pytest.fixture
def emodna_corpora(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_runner("emodna-corpora", corpora_command.main, monkeypatch, capsys)


@pytest.fixture(scope="session")
def finished_runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a finished run of Emo-DNA from RAVDESS to EMODB for each task; read-only."""
    folder = tmp_path_factory.mktemp("runs")
    source, target = (FeatureStore(next((cache / name).iterdir())) for name in ("ravdess", "emodb"))
    # After 20 steps predictions differ between files. An export is faster with one block.
    settings = {**SETTINGS, "tcn_blocks": "1"}
    for task, steps in (("arousal", 20), ("valence", 2)):
        request = FitRequest([source], target, task=task, steps=steps, threads=1, settings=settings, out=folder / task)
        fit(request, SilentCallback())
    return {task: folder / task for task in ("arousal", "valence")}


@pytest.fixture(scope="session")
def run(finished_runs: dict[str, Path]) -> Path:
    return finished_runs["arousal"]
