"""Past bugs in reading folders, ZIPs and tars."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import pytest

from emodna.pipeline.archives import FolderTree, open_tree
from emodna.pipeline.errors import CorpusError
from tests.pipeline.archives.packing import (
    COMPRESSORS,
    make_tar,
    make_tar_file,
    make_tar_of,
    make_zip,
    open_archive,
    patch_zip,
    read_all,
)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize(("compression", "first"), [("", True), ("", False), ("gz", True)])
def test_a_tar_of_thousands_of_attribute_headers_is_an_error(
    kind: bytes, compression: str, first: bool, tmp_path: Path
) -> None:
    """tarfile reads each attribute header by recursion, up to Python's limit."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 12
    header = info.tobuf(tarfile.USTAR_FORMAT) + b"12 a=bcdefg\n".ljust(512, b"\0")
    content = (b"" if first else make_tar({"b.wav": b"b"})[:1024]) + header * 3000 + make_tar({"a.wav": b"a"})
    (tmp_path / "x.tar").write_bytes(COMPRESSORS[compression](content))
    with pytest.raises(CorpusError) as caught:
        open_tree(tmp_path / "x.tar", (".wav",))
    assert caught.value.where == tmp_path / "x.tar"


def test_attributes_before_the_first_member_of_a_tar_are_limited(tmp_path: Path) -> None:
    """A tar with half a GB of attributes took 42 s and half a GB of memory."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**31
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT))
    with path.open("r+b") as file:
        file.truncate(2**31 + 1024)
    began = time.process_time()
    with pytest.raises(CorpusError):
        open_tree(path, (".wav",))
    assert time.process_time() - began < 30


def test_headers_of_a_tar_are_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile keeps all headers: a million took 0.6 GB."""
    counts: list[int] = []
    original = tarfile.TarFile.next
    monkeypatch.setattr(tarfile.TarFile, "next", lambda self: (counts.append(len(self.members)), original(self))[1])
    (tmp_path / "x.tar").write_bytes(make_tar_of([make_tar_file(f"{number}.wav", b"") for number in range(50)]))
    assert len(list(open_tree(tmp_path / "x.tar", (".wav",)).list_files((".wav",)))) == 50
    assert max(counts) <= 1


def test_a_zip_member_without_a_name_is_skipped(tmp_path: Path) -> None:
    """Fuzzing found a traceback."""
    content = make_zip({"a": b"x", "b.wav": b"b"})
    content = patch_zip(content, "a", local={26: b"\0\0"}, central={28: b"\0\0", 30: b"\1\0"})
    tree = open_archive(content, tmp_path / "x.zip")
    assert read_all(tree) == {"b.wav": b"b"}
    assert tree.skip_counts == {"name that leads out of the archive": 1}


def test_a_path_through_a_circle_of_links_is_outside_the_root(tmp_path: Path) -> None:
    """Resolving such a path ended in a traceback."""
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "root").mkdir()
    assert FolderTree(tmp_path / "root").make_relative("../circle/a.wav") is None
