"""Two workers that wrote their shards at the same moment got in each other's way.

HDF5 knows a file in memory by its name, and all had the same one: "unable to truncate a file which is already open".
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emodna.pipeline.features import MfccSet
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.shards import write_shard
from emodna.pipeline.store.snapshot import file_sha256
from tests.pipeline.making import noise


def test_workers_may_write_their_shards_at_the_same_time(tmp_path: Path) -> None:
    features = noise(4.0, 40_000).reshape(-1, 40)

    def write(number: int) -> StoredFile:
        return write_shard(tmp_path, number, MfccSet().parameters(), [f"utterance {number}"], [features + number])

    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(write, range(48)))
    assert len({file.name for file in files}) == 48
    assert all(file_sha256(tmp_path / file.name) == file.sha256 for file in files)
