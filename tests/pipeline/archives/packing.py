"""Make archives of all kinds, including damaged and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from emodna.pipeline.archives import Tree, open_tree

#: Compression -> function. The archives have no times, so that equal content gives equal bytes.
COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": partial(gzip.compress, mtime=0),
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}

Members = Mapping[str, bytes] | Iterable[tuple[str, bytes]]


def make_zip(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in _list_pairs(members):
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo ends a name at its first NUL
            info.compress_type = method
            archive.writestr(info, content)
    return packed.getvalue()


def make_tar(members: Members, compression: str = "", kind: int = tarfile.PAX_FORMAT) -> bytes:
    return make_tar_of([make_tar_file(*member) for member in _list_pairs(members)], compression, kind)


def make_tar_of(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], compression: str = "", kind: int = tarfile.PAX_FORMAT
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return COMPRESSORS[compression](packed.getvalue())


def make_tar_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def make_tar_file(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def patch_zip(archive: bytes, name: str, *, local: Mapping[int, bytes], central: Mapping[int, bytes]) -> bytes:
    """Replace bytes in the two headers of a ZIP member (ASCII names only): offset in the header -> bytes."""
    patched = bytearray(archive)
    for magic, length_at, name_at, changes in ((b"PK\3\4", 26, 30, local), (b"PK\1\2", 28, 46, central)):
        start = -1
        while (start := archive.find(magic, start + 1)) >= 0:
            (length,) = struct.unpack_from("<H", archive, start + length_at)
            if archive[start + name_at : start + name_at + length] == name.encode():
                for offset, new in changes.items():
                    patched[start + offset : start + offset + len(new)] = new
    return bytes(patched)


PACKERS: Mapping[str, Callable[[Members], bytes]] = {
    ".zip": make_zip,
    "-stored.zip": lambda members: make_zip(members, zipfile.ZIP_STORED),
    ".tar": make_tar,
    ".tar.gz": lambda members: make_tar(members, "gz"),
    ".tar.bz2": lambda members: make_tar(members, "bz2"),
    ".tar.xz": lambda members: make_tar(members, "xz"),
}


def pack(path: Path, members: Members) -> Path:
    """Write an archive of the kind that its suffix names."""
    ending = max((each for each in PACKERS if path.name.endswith(each)), key=len)
    path.write_bytes(PACKERS[ending](members))
    return path


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder: relative path -> content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def open_archive(content: bytes, path: Path, suffixes: tuple[str, ...] = (".wav",)) -> Tree:
    path.write_bytes(content)
    return open_tree(path, suffixes)


def read_all(tree: Tree, suffixes: tuple[str, ...] = (".wav",)) -> dict[str, bytes]:
    """Read all files of a tree: path -> content."""
    found = {}
    for path in tree.list_files(suffixes):
        with tree.open(path) as stream:
            found[path] = stream.read()
    return found


def _list_pairs(members: Members) -> Iterable[tuple[str, bytes]]:
    return members.items() if isinstance(members, Mapping) else members
