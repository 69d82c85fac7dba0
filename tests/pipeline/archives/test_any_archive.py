"""Property tests of archives: files are read unchanged; a damaged member is rejected, a damaged archive an error."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emodna.pipeline.archives import open_tree
from emodna.pipeline.errors import AudioError, CorpusError
from tests.pipeline.archives.packing import PACKERS, make_zip, open_archive, pack, read_all
from tests.pipeline.making import noise

KINDS = list(PACKERS)

_letters = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="/\\\0:"), min_size=1, max_size=20
).filter(lambda text: not text.startswith("."))
names = st.lists(_letters, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".wav")
members = st.dictionaries(names, st.binary(max_size=2000), max_size=5)


@pytest.mark.parametrize("kind", KINDS)
@given(members=members)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_packed_files_are_read_unchanged(kind: str, members: dict[str, bytes], tmp_path: Path) -> None:
    tree = open_tree(pack(tmp_path / f"x{kind}", members), (".wav",))
    visible = {name: each for name, each in members.items() if "__MACOSX" not in name.split("/")}
    assert read_all(tree) == visible
    assert list(tree.list_files((".wav",))) == sorted(visible)
    assert tree.skip_counts == {}
    for name, content in visible.items():
        stamp = tree.read_stamp(name)
        assert stamp is not None
        assert stamp.size == len(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_damaged_zip_never_gives_other_content(method: int, tmp_path: Path) -> None:
    """Checksums of a ZIP cover contents, not names."""
    contents = {"a.wav": noise(0.004, seed=1).tobytes(), "b.wav": bytes(200), "c.wav": b"c"}
    packed = make_zip(contents, method)
    seen = set()
    for damaged in make_damaged_copies(packed, 100):
        try:
            tree = open_archive(damaged, tmp_path / "x.zip", ("",))
        except CorpusError as error:
            assert "\n" not in str(error)  # noqa: PT017
            seen.add("error")
            continue
        for path in tree.list_files(("",)):
            try:
                with tree.open(path) as stream:
                    assert stream.read() in (*contents.values(), b"")
                seen.add("read")
            except AudioError:
                seen.add("rejected")
    assert seen == {"error", "read", "rejected"}


@pytest.mark.parametrize("kind", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_damaged_tar_is_read_or_an_error(kind: str, tmp_path: Path) -> None:
    """The checksums of a plain tar cover its headers only, those of a compressed tar all its bytes."""
    contents = {"a.wav": noise(0.004, seed=1).tobytes(), "d/b.wav": bytes(200), "c.wav": b"other"}
    packed = PACKERS[kind](contents)
    seen = set()
    for damaged in make_damaged_copies(packed, 100):
        try:
            found = read_all(open_archive(damaged, tmp_path / f"x{kind}"))
        except CorpusError as error:
            assert "\n" not in str(error)  # noqa: PT017
            seen.add("error")
            continue
        seen.add("read")
        assert found.keys() == contents.keys()
        assert kind == ".tar" or found == contents
    assert "error" in seen


def make_damaged_copies(content: bytes, count: int) -> list[bytes]:
    """Return copies that are truncated, or have a part changed, removed, doubled or zeroed."""
    rng = random.Random(0)
    copies = []
    for _ in range(count):
        copy, at = bytearray(content), rng.randrange(len(content))
        length = rng.randrange(1, 40)
        match rng.randrange(8):
            case 0:
                del copy[at:]
            case 1:
                del copy[at : at + length]
            case 2:
                copy[at:at] = copy[at : at + length]
            case 3:
                copy[at : at + length] = bytes(len(copy[at : at + length]))
            case 4:
                copy[at] = rng.choice((0, 0x7F, 0x80, 0xFF))
            case _:
                for position in {at, rng.randrange(len(content))}:
                    copy[position] ^= 1 << rng.randrange(8)
        copies.append(bytes(copy))
    return copies
