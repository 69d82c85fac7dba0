"""FLAC: count the samples by frame headers, because a streamed file declares none, and find what follows the audio."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from emodna.pipeline.audio.parts import Content, FileBytes, Part, Piece
from emodna.pipeline.errors import AudioError, format_count

MARK: Final = b"fLaC"
#: Bytes of the tail in which the last frame is looked for first, if STREAMINFO has no largest size of a frame.
_TAIL_BYTES: Final = 2**16
_HEADER_BYTES: Final = 16
_SYNC: Final = re.compile(rb"\xff[\xf8\xf9]")


def _make_table(polynomial: int, bits: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc >> bits - 1 else 0)) & (1 << bits) - 1
        table.append(crc)
    return tuple(table)


_CRC8, _CRC16 = _make_table(0x07, 8), _make_table(0x8005, 16)


class _Frame(NamedTuple):
    """Position of a frame, first sample and the sample behind its last one."""

    position: int
    first: int
    stop: int


class _Info(NamedTuple):
    """Content of a STREAMINFO block, and the position behind all metadata."""

    block: int
    """Samples per frame of a stream with a fixed number."""
    least_bytes: int
    largest_bytes: int
    """Sizes of a frame; 0: unknown."""
    samples: int
    """0: unknown."""
    audio: int


def is_flac(head: bytes) -> bool:
    """Return True if bytes begin a FLAC stream: mark, and header of a STREAMINFO block, which may be the last block."""
    return head[:4] == MARK and head[4:5] in (b"\0", b"\x80") and head[5:8] == b"\0\0\x22"


def read_flac(file: FileBytes, start: int) -> Content:
    """Return the FLAC stream that starts at a position; it ends at the next stream or at the end of the file."""
    info = _read_info(file, start)
    stop = info.audio
    while (stop := file.find(MARK, stop, file.audio_stop)) >= 0 and not is_flac(file.read(stop, stop + 8)):
        stop += 1
    stop = file.audio_stop if stop < 0 else stop
    remarks: list[str] = []
    part = make_flac_part(file, Part(start, stop, ((start, stop),)), remarks, start)
    return Content((part,), stop, tuple(remarks))


def make_flac_part(file: FileBytes, part: Part, remarks: list[str], start: int = 0) -> Part:
    """Return a part that declares the number of samples that are there.

    `file` holds the native FLAC stream, from `start` on. Adds remarks on a wrong number and on bytes behind the audio.
    """
    info = _read_info(file, start)
    stop = part.stop if part.pieces == ((part.start, part.stop),) else file.size
    last = _find_last_frame(file, info, stop)
    if last is None:
        return part
    if rest := _measure_rest(file, info, last.position, stop):
        remarks.append(f"about {format_count(rest, 'byte')} behind the FLAC audio not read")
    if info.samples and info.samples >= last.stop:
        return part
    if info.samples:
        remarks.append(f"the header declares {format_count(info.samples, 'sample')}; all {last.stop} are read")
    count = last.stop
    head = bytearray(file.read(start, start + 26))
    head[21] = head[21] & 0xF0 | count >> 32
    head[22:26] = (count & 0xFFFFFFFF).to_bytes(4)
    return Part(part.start, part.stop, (bytes(head), *_drop_bytes(part, len(head))))


def _drop_bytes(part: Part, count: int) -> tuple[Piece, ...]:
    """Return the pieces of a part without its first bytes, which are in its first piece, a byte range."""
    (start, stop), *others = part.pieces  # type: ignore[misc]
    return (start + count, stop), *others


def _read_info(file: FileBytes, start: int) -> _Info:
    head = file.read(start, start + 26)
    if len(head) < 26 or head[4] & 0x7F:
        raise AudioError("damaged: FLAC without STREAMINFO")
    position, is_last = start + 4, False
    while not is_last:
        block = file.read(position, position + 4)
        if len(block) < 4:
            raise AudioError("truncated: a FLAC header without audio data")
        is_last = bool(block[0] & 0x80)
        position += 4 + int.from_bytes(block[1:])
    least, largest = int.from_bytes(head[12:15]), int.from_bytes(head[15:18])
    samples = (head[21] & 15) << 32 | int.from_bytes(head[22:26])
    return _Info(int.from_bytes(head[10:12]), least, largest, samples, position)


def _find_last_frame(file: FileBytes, info: _Info, stop: int) -> _Frame | None:
    """Return the last frame, or None if there is none; reads the whole stream only if the header is wrong."""
    begin = max(info.audio, stop - max(_TAIL_BYTES, 2 * info.largest_bytes))
    if info.samples:
        tail = file.read(begin, stop)
        for match in reversed(list(_SYNC.finditer(tail))):
            frame = _read_frame(tail[match.start() : match.start() + _HEADER_BYTES], begin + match.start(), info.block)
            if frame is not None and frame.stop == info.samples:
                return frame
    last = None
    for last in _iterate_frames(file, info, stop):  # noqa: B007
        pass
    return last


def _iterate_frames(file: FileBytes, info: _Info, stop: int) -> Iterator[_Frame]:
    """Yield the frames in order; bytes that look like a frame header have another number than the next frame."""
    expected, begin, size = 0, info.audio, 2**20
    while begin < stop:
        content = file.read(begin, min(begin + size + _HEADER_BYTES, stop))
        for match in _SYNC.finditer(content, 0, size + 2):
            at = match.start()
            if at >= size:
                break
            frame = _read_frame(content[at : at + _HEADER_BYTES], begin + at, info.block)
            if frame is not None and frame.first == expected:
                yield frame
                expected = frame.stop
        begin += size


def _read_frame(head: bytes, position: int, block: int) -> _Frame | None:
    """Return the frame of a header; None if these bytes are no header."""
    if len(head) < 6 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # UTF-8: leading ones of the first byte
    if ones == 1 or ones > 7:
        return None
    number, at = head[4] & (0x7F >> ones), 5
    for byte in head[at : at + max(ones - 1, 0)]:
        if byte >> 6 != 2:
            return None
        number, at = number << 6 | byte & 0x3F, at + 1
    code = head[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    size = int.from_bytes(head[at : at + extra]) + 1
    if not extra:
        size = 192 if code == 1 else 576 << code - 2 if code <= 5 else 256 << code - 8
    at += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _compute_crc(head[:at], _CRC8, 8) != head[at]:
        return None
    first = number if head[1] & 1 else number * block
    return _Frame(position, first, first + size)


def _compute_crc(content: bytes, table: tuple[int, ...], bits: int) -> int:
    crc, shift, mask = 0, bits - 8, (1 << bits) - 1
    for byte in content:
        crc = crc << 8 & mask ^ table[crc >> shift ^ byte]
    return crc


def _measure_rest(file: FileBytes, info: _Info, start: int, stop: int) -> int:
    """Return about how many bytes follow the last frame, by its checksum; 0 if its end is not found."""
    content = file.read(start, min(stop, start + max(2**18, info.largest_bytes)))
    if start + len(content) == stop and _compute_crc(content, _CRC16, 16) == 0:
        return 0
    crc = 0
    for size, byte in enumerate(content, 1):
        crc = crc << 8 & 0xFFFF ^ _CRC16[crc >> 8 ^ byte]
        if crc == 0 and size >= max(info.least_bytes, 10):
            rest = stop - start - size
            return 0 if file.is_zero(start + size, stop) else rest
    return 0
