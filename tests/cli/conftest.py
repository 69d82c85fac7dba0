"""The commands of the feature store, to be called like functions, in a folder of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.cli import corpora as corpora_command
from emodna.cli import prep as prep_command
from emodna.cli.cache import command as cache_command
from tests.cli.running import Command, in_process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that the default places lie in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def emodna_prep(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return in_process("emodna-prep", prep_command.main, monkeypatch, capsys)


@pytest.fixture
def emodna_cache(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return in_process("emodna-cache", cache_command.main, monkeypatch, capsys)


@pytest.fixture
def emodna_corpora(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return in_process("emodna-corpora", corpora_command.main, monkeypatch, capsys)
