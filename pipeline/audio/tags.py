"""Tags (ID3, APE, Lyrics3) before, between and behind the audio of a file."""

import struct
from typing import Final

from emodna.pipeline.audio.parts import FileBytes

_ID3V1_BYTES, _ID3V1_EXTENDED_BYTES, _APE_HEADER_BYTES, _LYRICS_END_BYTES = 128, 227, 32, 15
#: Largest size of a Lyrics3 v1 tag.
_LYRICS_BYTES: Final = 5120


def skip_tags(file: FileBytes, position: int, stop: int) -> int:
    """Return the position behind all tags that start at a position, at most `stop`."""
    while position < stop:
        head = file.read(position, position + _APE_HEADER_BYTES)
        if (size := measure_id3v2(head)) is not None:
            position += size
        elif head[:8] == b"APETAGEX" and len(head) == _APE_HEADER_BYTES:
            _version, size, _items, flags = struct.unpack("<8x4I8x", head)
            position += size + (_APE_HEADER_BYTES if flags >> 29 & 1 else 0)
        elif head[:4] == b"TAG+":
            position += _ID3V1_EXTENDED_BYTES
        elif head[:3] == b"TAG":
            position += _ID3V1_BYTES
        elif head[:11] == b"LYRICSBEGIN":
            end = max(file.find(mark, position, min(stop, position + 2**20)) for mark in (b"LYRICSEND", b"LYRICS200"))
            if end < 0:
                break
            position = end + 9
        else:
            break
    return min(position, stop)


def measure_id3v2(head: bytes) -> int | None:
    """Return the size in bytes of an ID3v2 tag that starts with these bytes; None if it is none."""
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 127 or 0xFF in head[3:5]:
        return None
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def find_end_tags(file: FileBytes) -> int:
    """Return the position of the tags at the end of a file; its size if there are none."""
    stop = file.size
    while True:
        tail = file.read(max(stop - _ID3V1_EXTENDED_BYTES - _ID3V1_BYTES, 0), stop)
        if tail[-_ID3V1_BYTES:][:3] == b"TAG" and len(tail) >= _ID3V1_BYTES:
            stop -= _ID3V1_BYTES
        elif tail[-_ID3V1_EXTENDED_BYTES:][:4] == b"TAG+":
            stop -= _ID3V1_EXTENDED_BYTES
        elif tail[-_APE_HEADER_BYTES:][:8] == b"APETAGEX":
            _version, size, _items, flags = struct.unpack("<8x4I8x", tail[-_APE_HEADER_BYTES:])
            stop -= min(stop, size + (_APE_HEADER_BYTES if flags >> 31 else 0))
        elif tail[-9:] == b"LYRICS200" and tail[-_LYRICS_END_BYTES:-9].isdigit():
            stop -= min(stop, int(tail[-_LYRICS_END_BYTES:-9]) + _LYRICS_END_BYTES)
        elif tail[-9:] == b"LYRICSEND":
            begin = file.read(max(stop - _LYRICS_BYTES, 0), stop).rfind(b"LYRICSBEGIN")
            if begin < 0:
                return stop
            stop = max(stop - _LYRICS_BYTES, 0) + begin
        else:
            return stop
