"""Each of these met somebody who used the commands for the first time."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.pipeline.corpora.manifest import Manifest
from emodna.pipeline.corpora.own import default_name
from tests.pipeline.making import emodb_names, prepared, tiny_emodb


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_may_be_separated_as_spreadsheets_do(tmp_path: Path, delimiter: str) -> None:
    (root,) = {path.parent for path in tiny_emodb(tmp_path, emodb_names(2))}
    rows = [["path", "emotion"], *([path.name, "fear"] for path in sorted(root.iterdir()))]
    (root / "table.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    report = prepared(root, tmp_path / "cache", Manifest(root / "table.csv", "own"))
    assert (report.utterances, report.skipped) == (2, {})


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Calls.csv", "my-calls"), ("Übung 2.parquet", "bung-2"), ("calls_1.csv", "calls_1"), ("日.csv", "own")],
)
def test_a_corpus_is_named_after_any_table(file: str, name: str) -> None:
    assert default_name(Path(file)) == name


def test_what_is_gone_since_the_last_run_is_told(tmp_path: Path) -> None:
    paths = tiny_emodb(tmp_path / "root", emodb_names(3))
    prepared(tmp_path / "root", tmp_path / "cache")
    paths[0].unlink()
    report = prepared(tmp_path / "root", tmp_path / "cache")
    assert f"1 recordings of the earlier store are gone (the first: {paths[0].stem})" in report.warnings
