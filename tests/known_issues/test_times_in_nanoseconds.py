"""A column of times in ns, as pandas writes them, ended `show` and `plot` in a traceback where pandas is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.corpora.manifest import Manifest
from tests.pipeline.making import noise, prepared, wav

#: A command, in a process where pandas cannot be loaded.
WITHOUT_PANDAS = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name == "pandas":
            raise ImportError(name)


sys.meta_path.insert(0, Missing())
from emodna.cli.cache.command import main
main()
"""


@pytest.mark.parametrize("command", [("show",), ("show", "--json"), ("plot", "--out", "a.png", "--json")])
def test_of_an_utterance_are_told(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(noise(0.5)))
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"path": ["a.wav"], "recorded": times}), tmp_path / "t.parquet")
    prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "own"))
    name, *options = command
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, name, "own", "a.wav", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2023-11-14 22:13:20.123456789" in done.stdout
