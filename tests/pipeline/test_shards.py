"""Shards: the bytes that HDF5 itself would write, in hardly more memory than the features."""

from __future__ import annotations

import errno
import io
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.pipeline import shards
from emodna.pipeline.features import MfccSet
from emodna.pipeline.shards import write_shard
from emodna.pipeline.store import StoredFile, file_sha256, map_shard
from tests.pipeline.making import Float32, noise

PARAMETERS = MfccSet().parameters()

#: Writes a shard of 128 MB, and prints by how many MB that made the peak of the process's memory grow.
MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np
from emodna.pipeline.features import MfccSet
from emodna.pipeline.shards import write_shard

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)

features = [np.full((8000, 40), number, np.float32) for number in range(100)]
write_shard(Path(sys.argv[1]), 0, MfccSet().parameters(), ["small"], [features[0]])
before = peak()
write_shard(Path(sys.argv[1]), 0, MfccSet().parameters(), [f"id {number}" for number in range(100)], features)
print(peak() - before)
"""


def by_hdf5_alone(parameters: Mapping[str, Any], ids: Sequence[str], features: Sequence[Float32]) -> bytes:
    """The file as h5py's documentation would have it made."""
    stored = io.BytesIO()
    with h5py.File(
        "reference", "w", driver="core", backing_store=False, alignment_interval=4096, alignment_threshold=4096
    ) as file:
        for name, value in parameters.items():
            file.attrs[name] = "none" if value is None else value
        file.create_dataset("features", data=np.concatenate(features), dtype="<f4", track_times=False)
        offsets = np.cumsum([0, *map(len, features)])
        file.create_dataset("offsets", data=offsets, dtype="<i8", track_times=False)
        names = [id.encode("utf-8", "surrogateescape") for id in ids]
        dtype = h5py.string_dtype("utf-8", max(map(len, names)))
        file.create_dataset("ids", data=np.array(names, dtype), track_times=False)
        file.flush()
        stored.write(file.id.get_file_image())
    return stored.getvalue()


def utterances(frames: Sequence[int], dim: int) -> list[Float32]:
    return [noise(count * dim / 16_000, seed=number).reshape(count, dim) for number, count in enumerate(frames)]


@settings(max_examples=60)
@given(
    frames=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    longest=st.sampled_from([1, 1023, 1024, 3072, 4095, 4096, 4097, 6000, 10_240]),
    dim=st.sampled_from([1, 3, 40, 41, 64]),
    parameters=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
        st.one_of(
            st.none(), st.booleans(), st.integers(-9, 2**40), st.floats(allow_nan=False), st.just("hann, größer")
        ),
        max_size=40,
    ),
    prefix=st.sampled_from(["", "f03-", "grüße/", "caf\udce9", "x" * 300]),
)
def test_a_shard_has_the_bytes_that_hdf5_would_write(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[int],
    longest: int,
    dim: int,
    parameters: dict[str, Any],
    prefix: str,
) -> None:
    """Also where all but the features is extrapolated from smaller files."""
    features = utterances([*frames, longest], dim)
    ids = [f"{prefix}{number}" for number in range(len(features))]
    folder = tmp_path_factory.mktemp("store")
    file = write_shard(folder, 7, parameters, ids, features)
    content = (folder / file.name).read_bytes()
    assert content == by_hdf5_alone(parameters, ids, features)
    assert file == StoredFile(file.name, len(content), file_sha256(folder / file.name), 7)
    assert [path.name for path in folder.iterdir()] == [file.name]
    assert np.array_equal(map_shard(folder / file.name), np.concatenate(features))


@pytest.mark.parametrize("broken", ["lengths", "numbers"])
def test_where_files_do_not_grow_evenly_the_shard_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """As a later HDF5's might, with checksums."""
    original = shards._around_frames
    features = utterances([9000, 1], 3)
    expected = by_hdf5_alone(PARAMETERS, ["a", "b"], features)

    def uneven(frames: int, *rest: Any) -> tuple[bytes, bytes]:
        before, behind = original(frames, *rest)
        if frames == 9001:
            return before, behind
        return before, behind + (b"\0" * (frames // 1024) if broken == "lengths" else bytes([frames // 1024 == 2]))

    monkeypatch.setattr(shards, "_around_frames", uneven)
    file = write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], features)
    assert (tmp_path / file.name).read_bytes() == expected


def test_features_that_lie_otherwise_in_memory_give_the_same_shard(tmp_path: Path) -> None:
    features = utterances([50, 60], 40)
    first = write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], features)
    turned = [np.asfortranarray(each) for each in features]
    assert write_shard(tmp_path, 0, PARAMETERS, ["a", "b"], turned) == first


def test_a_large_shard_takes_hardly_more_memory_than_its_features(tmp_path: Path) -> None:
    """HDF5 held them a second and its finished file a third time."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(run.stdout) < 32  # of 128 MB


def test_a_shard_that_is_there_is_not_written_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    features = utterances([50], 40)
    path = tmp_path / write_shard(tmp_path, 0, PARAMETERS, ["a"], features).name
    content, inode = path.read_bytes(), path.stat().st_ino
    write_shard(tmp_path, 0, PARAMETERS, ["a"], features)
    assert path.stat().st_ino == inode
    for damaged in (content[:-1], content[:-1] + b"!"):
        path.write_bytes(damaged)
        write_shard(tmp_path, 0, PARAMETERS, ["a"], features)
        assert path.read_bytes() == content


@pytest.mark.parametrize("room", [0, 100, 5000, 1_000_000])
def test_a_full_disk_is_an_error_that_names_the_shard_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    """HDF5 must not notice: after a failed write it crashes when the process ends."""
    features = utterances([4000, 4000], 40)
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
