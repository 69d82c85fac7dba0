"""Tests of damaged and hostile archives: intact members are read; others are skipped, rejected or an error."""

from __future__ import annotations

import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from emodna.pipeline.archives import TarTree, Tree, base, open_tree
from emodna.pipeline.errors import AudioError, CorpusError
from tests.pipeline.archives.packing import (
    COMPRESSORS,
    make_tar,
    make_tar_file,
    make_tar_link,
    make_tar_of,
    make_zip,
    open_archive,
    pack,
    patch_zip,
    read_all,
)
from tests.pipeline.making import noise, wav

KINDS = (".zip", ".tar", ".tar.gz")
COMPRESSIONS = ("", "gz")
OUTSIDE = "name that leads out of the archive"


def get_problem(root: Path, suffixes: tuple[str, ...] = (".wav",)) -> str:
    """Open a root, and return the problem of its one-line error."""
    with pytest.raises(CorpusError) as caught:
        open_tree(root, suffixes)
    assert caught.value.where == root
    assert "\n" not in str(caught.value)
    return caught.value.problem


def get_reason(tree: Tree, path: str = "a.wav") -> str:
    """Open a member, and return why it is rejected."""
    with pytest.raises(AudioError) as rejected:
        tree.open(path)
    return str(rejected.value)


class TestNames:
    @pytest.mark.parametrize("kind", KINDS)
    def test_names_outside_the_archive_are_skipped_and_counted(self, kind: str, tmp_path: Path) -> None:
        hostile = ["../a.wav", "/etc/a.wav", "b/../../a.wav", "C:\\a.wav", "c:a.wav", "\\\\host\\share\\a.wav"]
        hostile += ["..\\..\\a.wav", "//a.wav", "b\\..\\..\\a.wav"]
        tree = open_tree(pack(tmp_path / f"x{kind}", {**dict.fromkeys(hostile, b"bad"), "a.wav": b"good"}), (".wav",))
        assert read_all(tree) == {"a.wav": b"good"}
        assert tree.skip_counts == {OUTSIDE: len(hostile)}
        for name in hostile:
            assert tree.read_stamp(name) is None
            with pytest.raises(FileNotFoundError):
                tree.open(name)

    @pytest.mark.parametrize("kind", KINDS)
    def test_names_are_normalised(self, kind: str, tmp_path: Path) -> None:
        members = {"./a.wav": b"a", "b\\c.wav": b"b", "d//e/./f.wav": b"c", "g/../h.wav": b"d"}
        tree = open_tree(pack(tmp_path / f"x{kind}", members), (".wav",))
        assert read_all(tree) == {"a.wav": b"a", "b/c.wav": b"b", "d/e/f.wav": b"c", "h.wav": b"d"}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_the_last_member_of_a_name_is_read_and_earlier_ones_are_counted(self, kind: str, tmp_path: Path) -> None:
        members = [("a.wav", b"first"), ("b.wav", b"b"), ("./a.wav", b"second"), ("a.wav", b"third")]
        tree = open_tree(pack(tmp_path / f"x{kind}", members), (".wav",))
        assert read_all(tree) == {"a.wav": b"third", "b.wav": b"b"}
        assert tree.skip_counts == {"earlier member of the same name": 2}


@pytest.mark.parametrize("compression", COMPRESSIONS)
class TestSpecialTarMembers:
    def test_symbolic_links_are_skipped(self, compression: str, tmp_path: Path) -> None:
        (tmp_path / "secret.wav").write_bytes(b"secret")
        targets = {"b.wav": "a.wav", "c.wav": str(tmp_path / "secret.wav"), "d": "/"}
        links = [make_tar_link(name, target) for name, target in targets.items()]
        content = make_tar_of([make_tar_file("a.wav", b"a"), *links, make_tar_file("d/e.wav", b"e")], compression)
        tree = open_archive(content, tmp_path / "x.tar")
        assert read_all(tree) == {"a.wav": b"a", "d/e.wav": b"e"}
        assert tree.skip_counts == {"link in an archive": 3}

    @pytest.mark.parametrize("spelling", ["a.wav", "./a.wav"])
    def test_a_hard_link_is_a_second_name_of_an_earlier_member(
        self, spelling: str, compression: str, tmp_path: Path
    ) -> None:
        """Tar stores the second name of a file as a hard link; `tar cf x.tar .` writes ./ before all names."""
        members = [make_tar_file(spelling, b"a"), make_tar_link("b.wav", spelling, tarfile.LNKTYPE)]
        tree = open_archive(make_tar_of(members, compression), tmp_path / "x.tar")
        assert read_all(tree) == {"a.wav": b"a", "b.wav": b"a"}
        assert tree.skip_counts == {}

    def test_a_hard_link_to_anything_else_is_skipped(self, compression: str, tmp_path: Path) -> None:
        (tmp_path / "secret.wav").write_bytes(b"secret")
        targets = ["later.wav", str(tmp_path / "secret.wav"), "../secret.wav", "absent.wav"]
        links = [make_tar_link(f"{number}.wav", target, tarfile.LNKTYPE) for number, target in enumerate(targets)]
        tree = open_archive(make_tar_of([*links, make_tar_file("later.wav", b"a")], compression), tmp_path / "x.tar")
        assert read_all(tree) == {"later.wav": b"a"}
        assert tree.skip_counts == {"link in an archive": 4}

    def test_devices_and_pipes_are_skipped(self, compression: str, tmp_path: Path) -> None:
        kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
        devices = [make_tar_link(f"{number}.wav", "", kind) for number, kind in enumerate(kinds)]
        tree = open_archive(make_tar_of([*devices, make_tar_file("a.wav", b"a")], compression), tmp_path / "x.tar")
        assert read_all(tree) == {"a.wav": b"a"}
        assert tree.skip_counts == {"neither a file nor a folder": 3}

    def test_sparse_files_are_skipped(self, compression: str, tmp_path: Path) -> None:
        """Their stored content is not the content of the file."""
        info, _ = make_tar_file("sparse.wav", b"12345678")
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.name": "sparse.wav",
            "GNU.sparse.size": str(2**50),
            "GNU.sparse.numblocks": "1",
            "GNU.sparse.map": f"{2**50 - 8},8",
        }
        content = make_tar_of([(info, b"12345678"), make_tar_file("a.wav", b"a")], compression)
        tree = open_archive(content, tmp_path / "x.tar")
        assert read_all(tree) == {"a.wav": b"a"}
        assert tree.skip_counts == {"neither a file nor a folder": 1}


class TestSpecialZipMembers:
    @pytest.mark.parametrize(
        ("mode", "why"),
        [(0o120777, "link in an archive"), (0o010644, "neither a file nor a folder"), (0o100644, None), (0, None)],
    )
    def test_links_and_devices_are_skipped(self, mode: int, why: str | None, tmp_path: Path) -> None:
        content = make_zip({"a.wav": b"/etc/passwd", "b.wav": b"b"})
        content = patch_zip(content, "a.wav", local={}, central={38: struct.pack("<I", mode << 16)})
        tree = open_archive(content, tmp_path / "x.zip")
        assert sorted(read_all(tree)) == (["b.wav"] if why else ["a.wav", "b.wav"])
        assert tree.skip_counts == ({why: 1} if why else {})

    @pytest.mark.parametrize("where", ["both", "central", "local"])
    def test_encrypted_members_are_rejected_and_the_rest_is_read(self, where: str, tmp_path: Path) -> None:
        flag = b"\1\0"
        local, central = ({6: flag} if where != "central" else {}), ({8: flag} if where != "local" else {})
        content = patch_zip(make_zip({"a.wav": bytes(99), "b.wav": b"b"}), "a.wav", local=local, central=central)
        tree = open_archive(content, tmp_path / "x.zip")
        if where != "local":  # readers use the central directory
            assert "encrypted" in get_reason(tree)
        with tree.open("b.wav") as stream:
            assert stream.read() == b"b"

    @pytest.mark.parametrize("method", [9, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_members_of_unsupported_methods_are_rejected_with_their_number(self, method: int, tmp_path: Path) -> None:
        """Windows packs files over 2 GB with Deflate64 (9); zipfile does not limit the expansion of bzip2 and LZMA."""
        code = struct.pack("<H", method)
        content = patch_zip(make_zip({"a.wav": bytes(99), "b.wav": b"b"}), "a.wav", local={8: code}, central={10: code})
        assert f"ZIP method {method}," in get_reason(open_archive(content, tmp_path / "x.zip"))

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize("size", [1, 98, 100, 2**20])
    def test_members_with_a_wrong_size_are_rejected(self, method: int, size: int, tmp_path: Path) -> None:
        content = make_zip({"a.wav": noise(0.1).tobytes()[:99]}, method)
        declared = struct.pack("<I", size)
        patched = patch_zip(content, "a.wav", local={22: declared}, central={24: declared})
        tree = open_archive(patched, tmp_path / "x.zip")
        assert "damaged in its archive: " in get_reason(tree)

    def test_overlapping_members_are_an_error(self, tmp_path: Path) -> None:
        """Thousands of members could expand the same bytes."""
        content = make_zip({"a.wav": bytes(99), "b.wav": bytes(99)})
        (tmp_path / "x.zip").write_bytes(patch_zip(content, "b.wav", local={}, central={42: bytes(4)}))
        assert "overlap" in get_problem(tmp_path / "x.zip")


class TestBombs:
    @pytest.fixture(autouse=True)
    def _small_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "MAX_MEMBER_BYTES", 2**22)
        monkeypatch.setattr(base, "_SMALL_BYTES", 2**18)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_member_too_large_for_memory_is_rejected_without_reading_it(self, kind: str, tmp_path: Path) -> None:
        tree = open_tree(pack(tmp_path / f"x{kind}", {"a.wav": bytes(2**22 + 1), "b.wav": b"b"}), (".wav",))
        tracemalloc.start()
        why = get_reason(tree)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "4194305 bytes" in why
        assert peak < 2**20
        with tree.open("b.wav") as stream:
            assert stream.read() == b"b"

    def test_a_zip_member_that_expands_too_far_is_rejected(self, tmp_path: Path) -> None:
        tree = open_archive(make_zip({"a.wav": bytes(2**20), "b.wav": bytes(2**18)}), tmp_path / "x.zip")
        assert "bytes that expand to 1048576" in get_reason(tree)
        with tree.open("b.wav") as stream:  # small enough to be harmless
            assert len(stream.read()) == 2**18

    @pytest.mark.parametrize(
        ("where", "compression"), [("a.wav", "gz"), ("a.wav", "bz2"), ("a.txt", "xz"), ("after the end", "gz")]
    )
    def test_a_tar_that_expands_too_far_is_an_error(self, compression: str, where: str, tmp_path: Path) -> None:
        content = make_tar({} if where == "after the end" else {where: bytes(2**24)}) + bytes(2**24)
        (tmp_path / "x.tar").write_bytes(COMPRESSORS[compression](content))
        assert "bytes that expand to more than " in get_problem(tmp_path / "x.tar")

    @pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
    @pytest.mark.parametrize("compression", ["", "gz"])
    def test_a_huge_name_is_an_error_before_it_is_read(self, kind: bytes, compression: str, tmp_path: Path) -> None:
        name, content = make_tar_file("@LongLink", bytes(2**22))
        name.type = kind
        members = [make_tar_file("a.wav", b"a"), (name, content), make_tar_file("b.wav", b"b")]
        (tmp_path / "x.tar").write_bytes(make_tar_of(members, compression))
        assert "a header of 4194304 bytes" in get_problem(tmp_path / "x.tar")


class TestDamage:
    WHOLE: Mapping[str, bytes] = MappingProxyType({f"{name}.wav": noise(0.05, seed=name).tobytes() for name in "ab"})

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
    def test_a_truncated_archive_is_an_error(self, kind: str, part: float, tmp_path: Path) -> None:
        """Some members could be read, but nobody wants half a corpus."""
        path = pack(tmp_path / f"x{kind}", self.WHOLE)
        content = path.read_bytes().rstrip(b"\0") if kind == ".tar" else path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])
        assert "not a complete" in get_problem(path)

    @pytest.mark.parametrize("compression", COMPRESSIONS)
    @pytest.mark.parametrize("members", [1, 2])
    def test_a_tar_that_ends_between_two_members_is_an_error(
        self, compression: str, members: int, tmp_path: Path
    ) -> None:
        """Only the end marker is missing."""
        size = 512 + -(-len(self.WHOLE["a.wav"]) // 512) * 512
        cut = make_tar(self.WHOLE)[: members * size]
        (tmp_path / "x.tar").write_bytes(COMPRESSORS[compression](cut))
        assert "not a complete" in get_problem(tmp_path / "x.tar")

    @pytest.mark.parametrize("compression", COMPRESSIONS)
    def test_a_damaged_header_is_not_the_end_of_the_archive(self, compression: str, tmp_path: Path) -> None:
        content = bytearray(make_tar(self.WHOLE))
        content[content.index(b"b.wav")] ^= 1
        (tmp_path / "x.tar").write_bytes(COMPRESSORS[compression](bytes(content)))
        assert "bad checksum" in get_problem(tmp_path / "x.tar")

    @pytest.mark.parametrize("field", [124, 136], ids=["size", "time"])
    def test_a_tar_header_of_negative_size_is_an_error(self, field: int, tmp_path: Path) -> None:
        """tarfile would read the same headers forever."""
        header = bytearray(make_tar({"b.wav": b""})[:512])
        header[field : field + 12] = b"\xff" * 10 + b"\xfc\0"  # -1024 in base 256
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "x.tar").write_bytes(make_tar({"a.wav": b"a"})[:1024] + header + bytes(1024))
        if field == 124:
            assert "-1024" in get_problem(tmp_path / "x.tar")
        else:
            assert read_all(open_tree(tmp_path / "x.tar", (".wav",))) == {"a.wav": b"a", "b.wav": b""}

    def test_a_negative_size_in_an_extended_header_is_an_error(self, tmp_path: Path) -> None:
        info, content = make_tar_file("b.wav", b"b")
        info.pax_headers = {"size": "-2048"}
        (tmp_path / "x.tar").write_bytes(make_tar_of([make_tar_file("a.wav", b"a"), (info, content)]))
        assert "-2048" in get_problem(tmp_path / "x.tar")

    @pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.TAR.XZ"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"<html>404</html>", b"\x1f\x8b", b"PK\3\4", b"BZh91AY", b"\xfd7zXZ\0", noise(0.5).tobytes()],
        ids=["empty", "html", "gzip", "zip", "bzip2", "xz", "noise"],
    )
    def test_another_file_with_the_suffix_of_an_archive_is_an_error(
        self, name: str, content: bytes, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert "not a complete" in get_problem(tmp_path / name)

    @pytest.mark.parametrize(
        "content",
        [b"", b"text", b"\x1f\x8b\x08", wav(noise()), COMPRESSORS["gz"](b"no tar" * 999)],
        ids=["empty", "text", "cut", "wav", "gzip"],
    )
    def test_another_file_without_the_suffix_of_an_archive_is_an_error(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.dat").write_bytes(content)
        assert "neither a folder nor a ZIP or tar file" in get_problem(tmp_path / "x.dat")


class TestUnusualButValid:
    @pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
    def test_a_compressed_tar_may_have_several_streams(self, compression: str, tmp_path: Path) -> None:
        """Parallel compressors such as pbzip2 write one stream per part."""
        content = make_tar({f"{number}.wav": noise(0.05, seed=number).tobytes() for number in range(9)})
        parts = [COMPRESSORS[compression](content[start : start + 5000]) for start in range(0, len(content), 5000)]
        tree = open_archive(b"".join(parts), tmp_path / "x.tar.any")
        assert read_all(tree) == {f"{number}.wav": noise(0.05, seed=number).tobytes() for number in range(9)}

    def test_a_tar_that_ends_with_a_zip_is_a_tar(self, tmp_path: Path) -> None:
        """A ZIP is recognised by its end."""
        tree = open_archive(make_tar({"a.wav": b"a", "more.zip": make_zip({"b.wav": b"b"}, 0)}), tmp_path / "x.tar")
        assert isinstance(tree, TarTree)
        assert read_all(tree) == {"a.wav": b"a"}

    @pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_all_formats_of_tar_are_read(self, kind: int, tmp_path: Path) -> None:
        name = "/".join(["directory" * 5] * 4) + "/a.wav"
        assert read_all(open_archive(make_tar({name: b"a"}, "", kind), tmp_path / "x.tar")) == {name: b"a"}
