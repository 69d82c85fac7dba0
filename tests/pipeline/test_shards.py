"""Shards: the same features give the same file. Errors name the file."""

from __future__ import annotations

import errno
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from emodna.pipeline.features import MfccSet
from emodna.pipeline.files import write_atomically
from emodna.pipeline.store.shards import write_shard
from tests.pipeline.making import Float32, noise

PARAMETERS = MfccSet().parameters()


def make_features(frames: Sequence[int], dim: int) -> list[Float32]:
    return [noise(count * dim / 16_000, seed=number).reshape(count, dim) for number, count in enumerate(frames)]


def test_the_memory_order_of_features_does_not_change_the_shard(tmp_path: Path) -> None:
    features = make_features([50, 60], 40)
    first = write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], features)
    transposed = [np.asfortranarray(each) for each in features]
    assert write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], transposed) == first


def test_only_a_damaged_shard_is_written_again(tmp_path: Path) -> None:
    features = make_features([50], 40)
    path = tmp_path / write_shard(tmp_path, 0, PARAMETERS, ["a"], features).name
    content, inode = path.read_bytes(), path.stat().st_ino
    write_shard(tmp_path, 0, PARAMETERS, ["a"], features)
    assert path.stat().st_ino == inode
    for damaged in (content[:-1], content[:-1] + b"!"):
        path.write_bytes(damaged)
        write_shard(tmp_path, 0, PARAMETERS, ["a"], features)
        assert path.read_bytes() == content


@pytest.mark.parametrize("room", [0, 100, 5000, 1_000_000])
def test_a_full_disk_is_an_error_with_the_name_of_the_shard_and_leaves_no_file(tmp_path: Path, room: int) -> None:
    """HDF5 itself must not write to the disk: after a failed write it crashes at the end of the process."""
    features = make_features([4000, 4000], 40)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as full:
            write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], features)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.errno == errno.EFBIG
    assert Path(full.value.filename).parent == tmp_path
    assert Path(full.value.filename).suffix == ".h5"
    assert list(tmp_path.iterdir()) == []
    assert write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], features).size > 1_280_000


def test_an_error_names_the_requested_file(tmp_path: Path) -> None:
    wanted = tmp_path / "gone" / "table.md"
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(wanted, b"")
    assert raised.value.filename == str(wanted)
