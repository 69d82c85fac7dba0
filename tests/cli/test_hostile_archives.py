"""Test archives with bad members: good ones are prepared, bad ones listed, nothing is written outside."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.archives.packing import make_tar_file, make_tar_link, make_tar_of, make_zip, patch_zip, read_files
from tests.pipeline.making import noise, wav

GOOD = ["a.wav", "A.wav", "b/c d.wav", "two\nlines.wav", "[red]x[/].wav", "ü.wav"]
OUTSIDE = ["../out.wav", "/tmp/out.wav", "g/../../out.wav", "C:\\out.wav", "\\\\host\\out.wav"]


def make_recording(name: str) -> bytes:
    return wav(noise(0.15, seed=name))


def make_bad_zip() -> bytes:
    members = {name: make_recording(name) for name in (*GOOD, *OUTSIDE, "bad-crc.wav")} | {"bomb.wav": bytes(2**24 + 1)}
    return patch_zip(make_zip(members), "bad-crc.wav", local={}, central={16: bytes(4)})


def make_bad_tar() -> bytes:
    members = [make_tar_file(name, make_recording(name)) for name in (*GOOD, *OUTSIDE)]
    members += [make_tar_link("link.wav", "/etc/passwd"), make_tar_link("pipe.wav", "", tarfile.FIFOTYPE)]
    return make_tar_of([*members, make_tar_file("bad-text.wav", b"no audio")])


@pytest.mark.parametrize(
    ("kind", "skipped", "rejected"),
    [
        ("zip", [], {"bad-crc.wav": "Bad CRC-32", "bomb.wav": "bytes that expand to 16777217"}),
        ("tar", ["link in an archive", "neither a file nor a folder"], {"bad-text.wav": "not readable as audio"}),
    ],
)
def test_good_members_are_prepared_and_bad_ones_listed(
    kind: str, skipped: list[str], rejected: dict[str, str], tmp_path: Path, emodna_prep: Command
) -> None:
    (tmp_path / f"x.{kind}").write_bytes(make_bad_zip() if kind == "zip" else make_bad_tar())
    before = read_files(tmp_path)
    ran = emodna_prep("--folder", tmp_path / f"x.{kind}", "--name", "bad", "--json", "-v")
    assert ran.code == 0, ran.err
    store = FeatureStore(ran.json[0]["store"])
    assert sorted(store.column("path")) == sorted(GOOD)
    assert store.verify() == []

    assert f"{len(OUTSIDE)} files skipped: " in ran.err
    for reason in skipped:
        assert f"1 file skipped: {reason}" in ran.err
    reasons = {each["path"]: each["reason"] for each in store.read_rejected().to_pylist()}
    assert reasons.keys() == rejected.keys()
    for name, reason in rejected.items():
        assert reason in reasons[name]
        assert f"rejected: {name}: " in ran.err

    written = [Path(name) for name in read_files(tmp_path).keys() - before.keys()]
    assert all(name.parts[:3] == ("here", "cache", "bad") for name in written)
    assert before.items() <= read_files(tmp_path).items()
    assert not Path("/tmp/out.wav").exists()
