"""What a reader of the whole change found, each with what it led to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.manifest import Manifest
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.store import FeatureStore
from tests.pipeline.archives.packing import files_below, pack
from tests.pipeline.corpora.builders import BUILDERS
from tests.pipeline.making import age, noise, prepared, wav
from tests.pipeline.test_segment import bursts


def test_a_tables_columns_keep_their_types(tmp_path: Path) -> None:
    """They went through Python: times in ns and numbers from 2^63 on ended the run after all had been extracted."""
    columns = {
        "path": ["b.wav", "a.wav"],
        "hash": pa.array([2**64 - 1, 1], pa.uint64()),
        "at": pa.array([1, 10**18], pa.timestamp("ns")),
        "tags": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
        "share": pa.array([0.5, None], pa.float32()),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "t.parquet")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(noise(seed=name)))
    report = prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "t"))
    stored = FeatureStore(report.store).table
    for row, path in enumerate(stored["path"].to_pylist()):
        expected = table.filter(pa.array([each == path for each in columns["path"]]))
        for name in ("hash", "at", "tags", "share"):
            assert stored.schema.field(name).type == table.schema.field(name).type
            assert stored[name][row] == expected[name][0]


def test_cutting_otherwise_is_told(tmp_path: Path) -> None:
    """A forgotten --segment replaced a store of pieces without a word."""
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "a.wav").write_bytes(wav(bursts(4, [(0.8, 1.6), (2.6, 3.2)], rate=16_000)))
    calls, cache = Recordings(tmp_path / "calls", "calls"), tmp_path / "cache"
    cut = prepared(tmp_path / "calls", cache, calls, segmenter=EnergySegmenter())
    assert (cut.utterances, cut.warnings) == (2, [])
    whole = prepared(tmp_path / "calls", cache, calls)
    assert whole.utterances == 1
    assert whole.warnings == ["the earlier store was cut into utterances otherwise (--segment): it was replaced"]
    assert FeatureStore(cut.store).snapshot.segmentation is None


def test_a_readme_beside_an_archive_does_not_hide_it(tmp_path: Path) -> None:
    """IEMOCAP's label files are text files, too."""
    builder = BUILDERS["iemocap"]
    builder.add(tmp_path / "unpacked", builder.example)
    (tmp_path / "root").mkdir()
    pack(tmp_path / "root" / "release.tar.gz", files_below(tmp_path / "unpacked"))
    (tmp_path / "root" / "README.txt").write_text("Read me.")
    iemocap = corpus("iemocap")
    assert len(iemocap.scan(iemocap.open(tmp_path / "root")).utterances) == 1


def test_a_label_file_without_end_is_not_read(tmp_path: Path) -> None:
    """It took seven times its size in memory."""
    builder = BUILDERS["iemocap"]
    builder.add(tmp_path, builder.example)
    other = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro99.txt"
    with other.open("wb") as file:
        file.truncate(5_000_000)
    age([other])
    iemocap = corpus("iemocap")
    scan = iemocap.scan(iemocap.open(tmp_path))
    assert (len(scan.utterances), scan.skipped) == (1, {"label file larger than 4 MB": 1})


def test_a_run_with_nothing_to_do_loads_no_heavy_library() -> None:
    """The rule that cuts had each run load scipy, which made such a run half as long again."""
    heavy = {"scipy", "torch", "librosa", "dask", "pooch"}
    code = f"import sys, emodna.pipeline.prepare.run; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert loaded.split() == []
