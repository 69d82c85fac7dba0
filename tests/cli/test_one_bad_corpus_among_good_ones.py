"""A corpus with a wrong root ended the whole command: what was done went unreported, what was to come was not done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Command
from tests.pipeline.making import emodb_names, tiny_emodb


@pytest.mark.parametrize("order", [("emodb", "ravdess"), ("ravdess", "emodb")])
def test_the_others_are_prepared_and_reported(
    emodna_prep: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: tuple[str, str]
) -> None:
    monkeypatch.setenv("EMODNA_DATA", str(tmp_path / "data"))
    tiny_emodb(tmp_path / "data" / "emodb", emodb_names(2))
    (tmp_path / "data" / "ravdess").mkdir()
    ran = emodna_prep("--corpus", order[0], "--corpus", order[1], "--json", "--quiet")
    assert ran.code == 1
    assert [report["corpus"] for report in ran.json] == ["emodb"]
    assert "no .wav file" in ran.err
