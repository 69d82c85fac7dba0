"""A path that no file can have, in a user's table, ended the run with a traceback."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora.manifest import Manifest
from emodna.pipeline.errors import CorpusError
from tests.pipeline.making import noise, prepared, wav


def test_a_nul_outside_the_root_is_refused_with_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["../a\0/b.wav"]}), tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=r"row 1: .* lies outside the root"):
        prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "t"))


def test_a_nul_below_the_root_is_rejected_with_its_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a\0b.wav", "c.wav"]}), tmp_path / "t.parquet")
    (tmp_path / "c.wav").write_bytes(wav(noise()))
    report = prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "t"))
    assert (report.utterances, report.rejections) == (1, [("a\0b.wav", "cannot be read: embedded null byte")])


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "root").mkdir()
    assert FolderTree(tmp_path / "root").relative("../circle/a.wav") is None
