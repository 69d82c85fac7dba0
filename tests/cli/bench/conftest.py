"""Fixtures of the tests of emodna-bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.cli.bench import command
from tests.cli.running import Command, make_runner


@pytest.fixture
def emodna_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return make_runner("emodna-bench", command.main, monkeypatch, capsys)
