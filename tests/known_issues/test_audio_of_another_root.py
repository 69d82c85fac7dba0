"""Sizes and times were believed even under another root: a file of the same size passed for the old one."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.making import age, emodb_names, prepared, tiny_emodb

NAMES = emodb_names(3)


def test_a_file_under_another_root_is_looked_at_whatever_its_size_and_time(tmp_path: Path) -> None:
    age(tiny_emodb(tmp_path / "one", NAMES))
    age(tiny_emodb(tmp_path / "two", NAMES, variant="other samples"))
    assert prepared(tmp_path / "one", tmp_path / "cache").extracted == 3
    assert prepared(tmp_path / "two", tmp_path / "cache").extracted == 3


def test_a_root_that_moved_is_hashed_and_its_features_used(tmp_path: Path) -> None:
    age(tiny_emodb(tmp_path / "one", NAMES))
    prepared(tmp_path / "one", tmp_path / "cache")
    (tmp_path / "one").rename(tmp_path / "two")
    report = prepared(tmp_path / "two", tmp_path / "cache")
    assert (report.extracted, report.reused) == (0, 3)
