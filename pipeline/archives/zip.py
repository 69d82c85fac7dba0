"""Read the members of a ZIP file."""

import errno
import stat
import struct
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from emodna.pipeline.archives.base import ArchiveTree, Member, check_size
from emodna.pipeline.errors import AudioError, CorpusError

_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
#: Supported methods. Python also reads bzip2 and LZMA, but does not limit their expansion.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Errors of damaged files. RuntimeError: a member is encrypted by only one of its two headers.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)


class ZipTree(ArchiveTree):
    """Members of a ZIP file, each unpacked into memory when it is opened.

    Raises `CorpusError`: not a ZIP file, incomplete, or with overlapping members, as in a ZIP bomb.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        try:
            self._archive = zipfile.ZipFile(self.root)
        except _BROKEN as error:
            raise CorpusError("not a complete ZIP file", where=root) from error
        self._infos = self._archive.infolist()
        extents = sorted((info.header_offset, info.compress_size) for info in self._infos)
        if any(start + packed > following for (start, packed), (following, _) in pairwise(extents)):
            raise CorpusError("damaged: the members of this ZIP file overlap", where=self.root)
        for number, info in enumerate(self._infos):
            if info.filename.endswith("/"):  # ZipInfo.is_dir() fails on an empty name
                continue
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG):
                self.skip_counts["link in an archive" if mode == stat.S_IFLNK else "neither a file nor a folder"] += 1
                continue
            refusal = check_size(info.file_size, info.compress_size)
            if info.flag_bits & _ENCRYPTED:
                refusal = "encrypted in its archive; unpack it first"
            elif info.compress_type not in _METHODS:
                refusal = f"packed by ZIP method {info.compress_type}, which is not supported; unpack it first"
            self._add(_decode_name(info), Member(info.file_size, number, refusal))

    def _read(self, member: Member) -> bytes:
        info = self._infos[member.position]
        try:
            with self._archive.open(info) as stream:
                return stream.read(member.size)  # also checks its CRC
        except _BROKEN as error:
            raise AudioError(f"damaged in its archive: {error}") from error
        except OSError as error:
            if error.errno in (None, errno.EINVAL):  # from a decompressor, or for a negative offset
                raise AudioError(f"damaged in its archive: {error}") from error
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipTree, (self.root,)


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member. macOS writes UTF-8 names without the UTF-8 flag."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename
