"""Ogg: find the links of a chain, because libsndfile reads the first one only, and unpack FLAC."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Final, NamedTuple

from emodna.pipeline.audio.flac import make_flac_part
from emodna.pipeline.audio.parts import Content, FileBytes, Part, PartStream
from emodna.pipeline.errors import AudioError

#: First bytes of a page that begins a logical stream.
_FIRST_PAGE: Final = b"OggS\0\2"
_HEADER_BYTES: Final = 27
#: Size of the largest page in bytes.
_PAGE_BYTES: Final = _HEADER_BYTES + 255 + 255 * 255
_CONTINUED, _LAST = 1, 4
#: Bytes before the native FLAC stream in the first packet.
_FLAC_BYTES: Final = 9


class _Page(NamedTuple):
    """Flags, serial number and byte range of the content of a page."""

    flags: int
    serial: int
    start: int
    stop: int


def read_ogg(file: FileBytes, start: int) -> Content:
    """Return the links of the Ogg chain that starts at a position.

    Raises `AudioError` if the last page is incomplete. A chain that ends between two pages gets a remark.
    """
    starts = list(_find_links(file, start))
    last_stop, is_ended = _find_end(file, starts[-1], file.audio_stop)
    remarks = [] if is_ended else ["no last page of the Ogg stream: the end may be missing"]
    parts = []
    for begin, stop in zip(starts, [*starts[1:], last_stop], strict=True):
        first = _read_page(file, begin)
        if first is not None and file.read(first.start, first.start + 5) == b"\x7fFLAC":
            pages = [page for page in _iterate_pages(file, begin, stop) if page.serial == first.serial]
            pieces = tuple((page.start, page.stop) for page in pages)
            pieces = ((first.start + _FLAC_BYTES, first.stop), *pieces[1:])
            part = Part(begin, stop, pieces)
            parts.append(make_flac_part(FileBytes(BytesIO(PartStream(file, part).read())), part, remarks))
        else:
            parts.append(Part(begin, stop, ((begin, stop),)))
    return Content(tuple(parts), last_stop, tuple(remarks))


def _find_links(file: FileBytes, start: int) -> Iterator[int]:
    """Yield the start of each link: a group of first pages, of which several are multiplexed streams."""
    position, behind = start, -1
    while position >= 0:
        page = _read_page(file, position)
        is_first = page is not None and file.read(position + 18, position + 22) == bytes(4)
        if page is not None and is_first:
            if position != behind:
                yield position
            behind = page.stop
        position = file.find(_FIRST_PAGE, position + 1, file.audio_stop)


def _find_end(file: FileBytes, start: int, stop: int) -> tuple[int, bool]:
    """Return the end of the last page of a link, and True if that page is marked as the last."""
    begin = max(start, stop - 2 * _PAGE_BYTES)
    tail = file.read(begin, stop)
    at = len(tail)
    while (at := tail.rfind(b"OggS\0", 0, at)) >= 0:
        page = _read_page(file, begin + at)
        if page is None or page.stop > stop:
            raise AudioError("truncated: its last Ogg page is incomplete")
        return page.stop, bool(page.flags & _LAST)
    raise AudioError("damaged: no Ogg page at its end")


def _iterate_pages(file: FileBytes, start: int, stop: int) -> Iterator[_Page]:
    position = start
    while position < stop:
        page = _read_page(file, position)
        if page is None:
            raise AudioError(f"damaged: no Ogg page at byte {position}")
        yield page
        position = page.stop


def _read_page(file: FileBytes, position: int) -> _Page | None:
    head = file.read(position, position + _HEADER_BYTES + 255)
    if head[:5] != b"OggS\0" or len(head) < _HEADER_BYTES + head[26]:
        return None
    flags, serial = struct.unpack("<5xB8xI", head[:18])
    start = position + _HEADER_BYTES + head[26]
    return _Page(flags, serial, start, start + sum(head[_HEADER_BYTES : _HEADER_BYTES + head[26]]))
