"""One archive with everything bad at once: what is good is prepared, the rest is named, nothing leads outside."""

from __future__ import annotations

import gzip
import struct
import tarfile
from pathlib import Path

import pytest

from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.archives.packing import files_below, patched, tar_file, tar_link, tar_of, zipped
from tests.pipeline.making import noise, wav

GOOD = [
    "a.wav",
    "A.wav",
    "b/c d.wav",
    "b\\e.wav",
    "two\nlines.wav",
    "[red]x[/].wav",
    "ü.wav",
    "con.wav",
    "f" * 200 + ".wav",
]
LEADING_OUT = ["../out.wav", "/tmp/out.wav", "g/../../out.wav", "C:\\out.wav", "..\\out.wav", "\\\\host\\out.wav"]


def sound(name: str) -> bytes:
    return wav(noise(0.15, seed=name))


def nasty_zip() -> bytes:
    """Good members among bad ones, something before the first and behind the last."""
    members = [(name, sound(name)) for name in GOOD]
    members += [(name, sound("out")) for name in [*LEADING_OUT, "nul\0.wav"]]
    members += [("a.wav", sound("a.wav"))]  # once more
    members += [("bomb.wav", bytes(2**24 + 1)), ("inner.zip", zipped({"h.wav": sound("h")}))]
    members += [(f"bad-{kind}.wav", sound(kind)) for kind in ("crypt", "method", "crc", "size", "link", "device")]
    packed = zipped(members)
    for name, local, central in (
        ("bad-crypt.wav", {6: b"\1\0"}, {8: b"\1\0"}),
        ("bad-method.wav", {8: b"\x0c\0"}, {10: b"\x0c\0"}),
        ("bad-crc.wav", {}, {16: bytes(4)}),
        ("bad-size.wav", {}, {24: struct.pack("<I", 9)}),
        ("bad-link.wav", {}, {38: struct.pack("<I", 0o120777 << 16)}),
        ("bad-device.wav", {}, {38: struct.pack("<I", 0o020666 << 16)}),
    ):
        packed = patched(packed, name, local=local, central=central)
    return b"%PDF-1.4 of sorts\n" + packed + b"\n%%EOF"


def nasty_tar() -> bytes:
    members = [tar_file(name, sound(name)) for name in GOOD]
    members += [tar_file(name, sound("out")) for name in LEADING_OUT]
    members += [tar_link("link.wav", "/etc/passwd"), tar_link("hard.wav", "../out.wav", tarfile.LNKTYPE)]
    members += [tar_link("pipe.wav", "", tarfile.FIFOTYPE), tar_link("device.wav", "", tarfile.CHRTYPE)]
    members += [tar_link("folder.wav", "", tarfile.DIRTYPE), tar_file("a.wav", sound("a.wav"))]
    members += [tar_file("inner.zip", zipped({"h.wav": sound("h")})), tar_file("bad-text.wav", b"no audio")]
    return tar_of(members)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_the_good_ones_are_prepared_and_the_others_are_named(kind: str, tmp_path: Path, emodna_prep: Command) -> None:
    content = nasty_zip() if kind == "zip" else nasty_tar()
    (tmp_path / f"x.{kind}").write_bytes(gzip.compress(content) if kind == "tar.gz" else content)
    before = files_below(tmp_path)
    ran = emodna_prep("--folder", tmp_path / f"x.{kind}", "--name", "nasty", "--json", "-v")
    assert ran.code == 0, ran.err
    (report,) = ran.json
    assert report["utterances"] == len(GOOD)
    store = FeatureStore(report["store"])
    assert sorted(store.column("path")) == sorted(name.replace("\\", "/") for name in GOOD)
    assert store.verify() == []

    assert f"{len(LEADING_OUT) + (kind == 'zip')} files left out: name that leads out of the archive" in ran.err
    assert "1 files left out: earlier member of the same name" in ran.err
    assert f"{1 if kind == 'zip' else 2} files left out: link in an archive" in ran.err
    assert f"{1 if kind == 'zip' else 2} files left out: neither a file nor a folder" in ran.err
    reasons = {each["path"]: each["reason"] for each in store.rejected().to_pylist()}
    expected = {
        "bad-crypt.wav": "encrypted",
        "bad-method.wav": "packed by method 12",
        "bad-crc.wav": "Bad CRC-32",
        "bad-size.wav": "damaged in its archive",
        "bomb.wav": "bytes that expand to 16777217",
    }
    expected = expected if kind == "zip" else {"bad-text.wav": "not readable as audio"}
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name]
        assert f"rejected: {name}: " in ran.err

    written = [Path(name) for name in files_below(tmp_path).keys() - before.keys()]
    assert all(name.parts[:3] == ("here", "cache", "nasty") for name in written)
    assert {name.suffix for name in written} == {".h5", ".parquet", ".json", ".sealed", ""}
    assert before.items() <= files_below(tmp_path).items()
    assert not Path("/tmp/out.wav").exists()
