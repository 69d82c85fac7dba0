"""MPEG audio (MP3): find the frames, because headers and bit rates only estimate the length."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from emodna.pipeline.audio.parts import Content, FileBytes, Part
from emodna.pipeline.audio.tags import skip_tags
from emodna.pipeline.errors import AudioError, format_count

#: Frames in a row that tell audio from bytes that look like a frame header.
_FRAMES_IN_A_ROW: Final = 4
#: Bytes that are read at once.
_READ_BYTES: Final = 2**20
#: kbit/s by MPEG version 1 and layer, then of versions 2 and 2.5.
_BIT_RATES: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES: Final = (44_100, 48_000, 32_000)
#: Flags of a Xing header: it has the number of frames, the number of bytes.
_HAS_FRAMES, _HAS_BYTES = 1, 2


class Header(NamedTuple):
    """Content of the header of an MPEG frame."""

    sample_rate: int
    samples: int
    """Samples per channel in the frame."""
    size: int
    """Bytes of the frame."""
    stream: tuple[int, int, int, int]
    """Version, layer, rate and channels, which all frames of one stream share."""
    tag_offset: int
    """Offset of a Xing header in its frame: behind the side information."""


@dataclass(slots=True)
class _Stream:
    """Frames of one stream, and the frame before them that an encoder writes about them."""

    header: Header
    tag: tuple[int, int] | None = None
    """Byte range of the encoder's frame."""
    frames: int = 0
    largest: int = 0
    """Bytes of the largest frame."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Byte ranges of consecutive frames."""

    def add(self, start: int, size: int) -> None:
        """Add a frame."""
        self.frames += 1
        self.largest = max(self.largest, size)
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], start + size)
        else:
            self.ranges.append((start, start + size))


def find_mpeg(file: FileBytes, start: int, stop: int) -> Content | None:
    """Return the MPEG audio that starts at a position; None if there is none.

    A part begins at each change of rate or channels and at each header of an encoder, as in concatenated files.
    Raises `AudioError` if an encoder's header declares more frames.
    """
    if not _starts_stream(file, start, stop):
        return None
    streams: list[_Stream] = []
    remarks: list[str] = []
    position = end = start
    while True:
        end = position = _collect_frames(file, position, stop, streams)
        position = skip_tags(file, position, stop)
        header = read_header(file.read(position, position + 4))
        if header is not None and header.stream == streams[-1].header.stream and position + header.size > stop:
            duration = header.samples / header.sample_rate
            remarks.append(f"the last MPEG frame is incomplete: {duration:.3f} s not read")
            end = stop
            break
        resumed = find_stream(file, position, stop)
        if resumed is None:
            break
        if resumed > position and not file.is_zero(position, resumed):
            remarks.append(
                f"{format_count(resumed - position, 'byte')} at {position} between MPEG frames are not audio"
            )
        position = resumed
    parts = tuple(_make_part(file, stream, remarks) for stream in streams if stream.frames)
    return Content(parts, end, tuple(remarks))


def find_stream(file: FileBytes, start: int, stop: int) -> int | None:
    """Return the first position from `start` on where several MPEG frames of one stream follow each other, or None."""
    position = start
    while (position := file.find(b"\xff", position, stop)) >= 0:
        if _starts_stream(file, position, stop):
            return position
        position += 1
    return None


def read_header(head: bytes) -> Header | None:
    """Return the content of a frame header of 4 bytes; None if it is none, or of a free bit rate."""
    return _parse_header(head) if head[:1] == b"\xff" else None


@lru_cache(1024)
def _parse_header(head: bytes) -> Header | None:
    if len(head) < 4 or head[1] < 0xE0:
        return None
    version = {3: 1, 2: 2, 0: 3}.get(head[1] >> 3 & 3)
    layer = 4 - (head[1] >> 1 & 3)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version is None or layer == 4 or not 0 < bit_rate < 15 or rate == 3:
        return None
    sample_rate = _SAMPLE_RATES[rate] // (1, 2, 4)[version - 1]
    samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
    slot = 4 if layer == 1 else 1
    slots = samples // 8 // slot * _BIT_RATES[min(version, 2), layer][bit_rate - 1] * 1000 // sample_rate
    channels = 1 if head[3] >> 6 == 3 else 2
    tag_offset = 4 + {(1, 2): 32, (1, 1): 17, (2, 2): 17, (2, 1): 9}[min(version, 2), channels]
    size = (slots + (head[2] >> 1 & 1)) * slot
    return Header(sample_rate, samples, size, (version, layer, sample_rate, channels), tag_offset)


def _starts_stream(file: FileBytes, position: int, stop: int) -> bool:
    """Return True if several frames of one stream follow each other at a position, or fewer up to `stop`."""
    first = header = read_header(file.read(position, position + 4))
    for _ in range(_FRAMES_IN_A_ROW):
        if first is None or header is None or header.stream != first.stream:
            return False
        position += header.size
        if position >= stop:
            return position == stop
        header = read_header(file.read(position, position + 4))
    return True


def _collect_frames(file: FileBytes, position: int, stop: int, streams: list[_Stream]) -> int:
    """Add the consecutive frames from a position on to the streams; return the end of the last one."""
    buffer, base = b"", position
    while position + 4 <= stop:
        if position - base + 64 > len(buffer):
            buffer, base = file.read(position, min(position + _READ_BYTES, stop)), position
        at = position - base
        header = read_header(buffer[at : at + 4])
        if header is None or position + header.size > stop:
            break
        if not streams or streams[-1].header.stream != header.stream:
            if not _starts_stream(file, position, stop):
                break
            streams.append(_Stream(header))
        tag = at + header.tag_offset
        if buffer[tag : tag + 4] in (b"Xing", b"Info") or buffer[at + 36 : at + 40] == b"VBRI":
            if streams[-1].frames:
                streams.append(_Stream(header))
            streams[-1].tag = position, position + header.size
        else:
            streams[-1].add(position, header.size)
        position += header.size
    return position


def _make_part(file: FileBytes, stream: _Stream, remarks: list[str]) -> Part:
    """Return the part of a stream, which makes the decoder read all of its frames."""
    header, frames = stream.header, stream.frames
    size = sum(stop - start for start, stop in stream.ranges)
    start, stop = stream.ranges[0][0], stream.ranges[-1][1]
    if stream.tag is not None:
        start = stream.tag[0]
        tag, at = file.read(*stream.tag), header.tag_offset
        is_xing = tag[at : at + 4] in (b"Xing", b"Info")
        flags = tag[at + 7] if is_xing else 0
        declared = int.from_bytes(tag[at + 8 : at + 12] if flags & _HAS_FRAMES else tag[50:54] * (not is_xing))
        if declared > frames + 1:  # some encoders count the frame of their header
            raise AudioError(f"truncated: the header declares {declared} MPEG frames, the file holds {frames}")
        if 0 < declared < frames:
            remarks.append(f"the header declares {format_count(declared, 'MPEG frame')}; all {frames} are read")
        if flags & _HAS_FRAMES:
            counts = frames.to_bytes(4) + ((len(tag) + size).to_bytes(4) if flags & _HAS_BYTES else b"")
            corrected = tag[: at + 8] + counts + tag[at + 8 + len(counts) :]
            if corrected == tag and stream.ranges == [(stream.tag[1], stop)]:
                return Part(start, stop, ((start, stop),))
            return Part(start, stop, (corrected, *stream.ranges))
    # Without a count, the decoder estimates it from the size. Zeros behind the audio make the estimate large enough.
    zeros = (frames + 2) * stream.largest - size
    return Part(start, stop, (*stream.ranges, zeros), length=frames * header.samples)
