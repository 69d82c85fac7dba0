"""A ZIP file as a root."""

import errno
import stat
import struct
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from emodna.pipeline.archives.base import ArchiveTree, Member, refusal
from emodna.pipeline.errors import AudioError, CorpusError

_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
#: Python reads bzip2 and LZMA, too, but without a limit to what a few bytes of them become.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: RuntimeError: of a member that says it is encrypted in one of its two places only.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)
_LINK: Final = stat.S_IFLNK


class ZipTree(ArchiveTree):
    """The members of a ZIP file, each unpacked into memory when it is opened.

    Raises `CorpusError`: not a ZIP file, incomplete, or one whose members share bytes, to overwhelm their reader.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        try:
            self._archive = zipfile.ZipFile(self.root)
        except _BROKEN as error:
            raise CorpusError(f"root {root}: not readable as a ZIP file ({error}): incomplete?") from error
        self._infos = self._archive.infolist()
        places = sorted((info.header_offset, info.compress_size) for info in self._infos)
        if any(start + packed > following for (start, packed), (following, _) in pairwise(places)):
            raise CorpusError(f"root {self.root}: its members overlap: not a sound ZIP file")
        for number, info in enumerate(self._infos):
            if info.filename.endswith("/"):  # its is_dir() fails at a name of no letters
                continue
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG):
                self._skip_counts["link in an archive" if mode == _LINK else "neither a file nor a folder"] += 1
                continue
            why = refusal(info.file_size, info.compress_size)
            if info.flag_bits & _ENCRYPTED:
                why = "encrypted in its archive: unpack it first"
            elif info.compress_type not in _METHODS:
                why = f"packed by method {info.compress_type} of ZIP, not read here: unpack it first"
            self._add(_decode_name(info), Member(info.file_size, number, why))

    def _read(self, member: Member) -> bytes:
        info = self._infos[member.place]
        try:
            with self._archive.open(info) as stream:
                return stream.read(member.size)  # also checks its CRC
        except _BROKEN as error:
            raise AudioError(f"damaged in its archive: {error}") from error
        except OSError as error:
            if error.errno in (None, errno.EINVAL):  # of a decompressor, or a place before the file's beginning
                raise AudioError(f"damaged in its archive: {error}") from error
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipTree, (self.root,)


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member; macOS writes UTF-8 without saying so."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename
