"""Containers whose header declares the length of the audio: WAV, RF64, AIFF, Wave64, CAF, AU, SPHERE.

libsndfile reads a truncated file of this kind without an error. A writer that cannot seek back, such as a pipe, leaves
a placeholder for the length; the audio then ends with the file.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from emodna.pipeline.audio.mpeg import find_mpeg
from emodna.pipeline.audio.parts import Content, FileBytes, Part
from emodna.pipeline.errors import AudioError, format_count

#: Largest size of the header that a placeholder may leave out, in bytes.
_HEADER_BYTES: Final = 4096
#: Bytes per sample of the encodings of AU that have whole bytes per sample.
_AU_WIDTHS: Final = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
#: WAV formats with whole bytes per sample: integer, float, A-law, mu-law, extensible.
_PLAIN_TAGS: Final = (1, 3, 6, 7, 0xFFFE)
#: WAV formats of MPEG frames: layers 1 and 2, layer 3.
_MPEG_TAGS: Final = (0x50, 0x55)
#: Compression types of AIFC with whole bytes per sample.
_PLAIN_AIFC: Final = (b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64")
_W64_GUID: Final = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


class _Chunk(NamedTuple):
    """Name, start and declared length of the content of a chunk."""

    name: bytes
    start: int
    length: int


def read_wav(file: FileBytes, start: int) -> Content:
    """Return the audio of a WAV or RF64 at a position in a file. Each data chunk becomes a part."""
    order = ">" if file.read(start, start + 4) == b"RIFX" else "<"
    kept, long_length, stop = b"", 2**32 - 1, start
    riff_stop = struct.unpack(order + "I", file.read(start + 4, start + 8))[0] + 8
    is_sound = start == 0 and riff_stop == file.size
    parts: list[Part] = []
    remarks: list[str] = []
    for name, position, declared in _iterate_chunks(file, start + 12, order + "4sI"):
        if parts and not _is_chunk(file, name, position, declared):
            break
        if name == b"ds64":  # holds the 64-bit length of an RF64
            long_length = struct.unpack("<8xQ", file.read(position, position + 16).ljust(16, b"\0"))[0]
        if name in (b"fmt ", b"fact") and declared < 2**17:
            kept += file.read(position - 8, position + declared + declared % 2)
        if name == b"data":
            is_empty = declared == 0 and _holds_only_chunks(file, position, order + "4sI")
            declared = long_length or 2**32 - 1 if declared == 2**32 - 1 else declared
            length = 0 if is_empty else _resolve_length(file, position, declared)
            tag, width = _read_wav_format(kept, order)
            found = find_mpeg(file, position, position + length) if tag in _MPEG_TAGS else None
            if found is not None:
                parts += found.parts
                remarks += found.remarks
            else:
                head = _make_wav_head(order, kept, length)
                parts.append(Part(position - 8, position + length, (head, (position, position + length))))
                remarks += _describe_rest(length % width if tag in _PLAIN_TAGS else 0)
            is_sound &= declared == length and len(parts) == 1
            declared = length
        stop = min(position + declared + declared % 2, file.size)
    if not parts:
        raise AudioError("truncated: a WAV header without audio data")
    if is_sound and stop == file.size and found is None:  # as it is, which is faster
        parts = [Part(0, stop, ((0, stop),))]
    return Content(tuple(parts), stop, tuple(remarks))


def read_aiff(file: FileBytes, start: int) -> Content:
    """Return the audio of an AIFF or AIFC at a position in a file."""
    kept, width, frames, stop = b"", 0, 0, start
    sound: tuple[int, int, int] | None = None
    for name, position, declared in _iterate_chunks(file, start + 12, ">4sI"):
        if sound and not _is_chunk(file, name, position, declared):
            break
        if name == b"SSND":
            is_empty = declared <= 8 and _holds_only_chunks(file, position + declared, ">4sI")
            held = declared if is_empty else _resolve_length(file, position, declared, empty=8)
            sound, declared = (position, held, declared), held
        elif name == b"COMM" and declared >= 18:
            content = file.read(position, position + declared + declared % 2)
            channels, frames, bits = struct.unpack(">hIh", content[:8])
            kind = content[18:22] if file.read(start + 8, start + 12) == b"AIFC" else b"NONE"
            width = channels * ((bits + 7) // 8) if kind in _PLAIN_AIFC else 0
            kept += struct.pack(">4sI", name, declared) + content
        elif name == b"FVER":
            kept += file.read(position - 8, position + declared + declared % 2)
        stop = min(position + declared + declared % 2, file.size)
    if sound is None:
        raise AudioError("truncated: an AIFF header without audio data")
    position, held, declared = sound
    length = max(held - 8, 0)
    remarks: list[str] = []
    if width > 0:
        if frames * width > length and declared == held:
            raise AudioError(f"truncated: the header declares {frames} samples, the file holds {length // width}")
        if frames * width < length and declared == held and length // width > frames:
            remarks.append(f"the header declares {frames} samples; all {length // width} in the file are read")
        remarks += _describe_rest(length % width)
        at = kept.index(b"COMM") + 10
        kept = kept[:at] + struct.pack(">I", length // width) + kept[at + 4 :]
    body = kept + struct.pack(">4sI", b"SSND", held % 2**32)
    head = struct.pack(">4sI", b"FORM", (4 + len(body) + held) % 2**32) + file.read(start + 8, start + 12) + body
    part = Part(position - 8, position + held, (head, (position, position + held)))
    return Content((part,), stop, tuple(remarks))


def read_w64(file: FileBytes, start: int) -> Content:
    """Return the audio of a Sony Wave64 at a position in a file."""
    kept, stop, found = b"", start, None
    for name, position, declared in _iterate_chunks(file, start + 40, "<4s12xQ", align=8, counted=24):
        if found and file.read(position - 20, position - 8) != _W64_GUID:
            break
        if name == b"data":
            declared = _resolve_length(file, position, declared)
            found = (position, position + declared)
        elif name in (b"fmt ", b"fact") and declared < 2**17:
            kept += file.read(position - 24, position + declared + -declared % 8)
        stop = min(position + declared + -declared % 8, file.size)
    if found is None:
        raise AudioError("truncated: a Wave64 header without audio data")
    length = found[1] - found[0]
    body = kept + b"data" + _W64_GUID + struct.pack("<Q", length + 24)
    riff, wave = file.read(start, start + 16), file.read(start + 24, start + 40)
    head = riff + struct.pack("<Q", 40 + len(body) + length) + wave + body
    tag, width = _read_wav_format(kept[24 - 8 :], "<")
    remarks = _describe_rest(length % width if tag in _PLAIN_TAGS else 0)
    return Content((Part(found[0] - 24, found[1], (head, found)),), stop, tuple(remarks))


def read_caf(file: FileBytes, start: int) -> Content:
    """Return the audio of an Apple CAF at a position in a file."""
    stop, found, width = start, None, 0
    for name, position, declared in _iterate_chunks(file, start + 8, ">4sQ"):
        if found and not _is_chunk(file, name, position, declared):
            break
        if name == b"desc":
            width = int.from_bytes(file.read(position + 16, position + 20))  # bytes per packet; 0 if they differ
        if name == b"data":
            held = _resolve_length(file, position, declared, empty=4)
            found, declared = (position, held), held
        stop = min(position + declared, file.size)
    if found is None:
        raise AudioError("truncated: a CAF header without audio data")
    position, held = found
    length = struct.pack(">Q", held)
    part = Part(start, stop, ((start, position - 8), length, (position, stop)))
    return Content((part,), stop, tuple(_describe_rest((held - 4) % width if width else 0)))


def read_au(file: FileBytes, start: int) -> Content:
    """Return the audio of an AU at a position in a file."""
    head = file.read(start, start + 24)
    if len(head) < 24:
        raise AudioError("truncated: an AU header without audio data")
    order = ">" if head[:4] == b".snd" else "<"
    offset, declared, encoding, _rate, channels = struct.unpack(order + "4x5I", head)
    position = start + offset
    length = _resolve_length(file, position, declared)
    width = _AU_WIDTHS.get(encoding, 0) * channels
    pieces = (head[:4] + struct.pack(order + "II", 24, length % 2**32) + head[12:], (position, position + length))
    remarks = _describe_rest(length % width if width else 0)
    return Content((Part(start, position + length, pieces),), position + length, tuple(remarks))


def read_sphere(file: FileBytes, start: int) -> Content:
    """Return the audio of a NIST SPHERE file at a position in a file."""
    header = (
        int(file.read(start + 8, start + 16).strip() or b"0")
        if file.read(start + 8, start + 16).strip().isdigit()
        else 1024
    )
    fields = dict(re.findall(rb"^(\w+) -\w+ (.*?)\s*$", file.read(start, start + header), re.MULTILINE))
    coding = fields.get(b"sample_coding", b"pcm")
    if b"," in coding:
        raise AudioError(f"compressed SPHERE ({coding.decode(errors='replace')}); convert it to WAV")

    def read_number(name: bytes, default: int) -> int:
        value = fields.get(name, b"")
        return int(value) if value.isdigit() else default

    width = read_number(b"sample_n_bytes", 2 if coding == b"pcm" else 1) * read_number(b"channel_count", 1)
    position = start + header
    length = _resolve_length(file, position, read_number(b"sample_count", 0) * width)
    remarks = _describe_rest(length % width if width else 0)
    part = Part(start, position + length, ((start, position + length),))
    return Content((part,), position + length, tuple(remarks))


def _iterate_chunks(
    file: FileBytes, position: int, header: str, *, align: int = 2, counted: int = 0
) -> Iterator[_Chunk]:
    """Yield the chunks from a position on; `counted` bytes of a chunk's header are part of its declared length."""
    header_size = struct.calcsize(header)
    align = 1 if header == ">4sQ" else align
    while len(head := file.read(position, position + header_size)) == header_size:
        name, length = struct.unpack(header, head)
        length = max(length - counted, 0)
        position += header_size
        yield _Chunk(name, position, length)
        position += length
        if -length % align and not (align == 2 and _is_name(file.read(position, position + 4))):  # unpadded by mistake
            position += -length % align


def _is_chunk(file: FileBytes, name: bytes, start: int, length: int) -> bool:
    """Return True if a header behind the audio is that of another chunk of the same file."""
    is_other_file = name in (b"RIFF", b"RIFX", b"RF64", b"FORM", b"OggS", b"fLaC", b"caff") or name[:3] in (
        b"ID3",
        b"TAG",
    )
    return _is_name(name) and start + length <= file.size and not is_other_file


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _holds_only_chunks(file: FileBytes, position: int, header: str) -> bool:
    """Return True if the file consists of valid chunks from a position to its end."""
    for name, start, length in _iterate_chunks(file, position, header):
        if not _is_chunk(file, name, start, length):
            return False
        position = start + length + length % 2
    return position >= file.size


def _resolve_length(file: FileBytes, start: int, declared: int, *, empty: int = 0) -> int:
    """Return the length in bytes of audio that starts at a position; `empty` is the length of no audio.

    Placeholders are no audio (with bytes behind it), the lengths around 2^31 and 2^32, and negative numbers. A complete
    file may declare them too. Raises `AudioError` if the file is shorter than a real length.
    """
    available = max(file.size - start, 0)
    if empty < declared <= available:
        return declared
    if declared <= empty or _is_placeholder(declared):
        return max(file.audio_stop - start, 0)
    raise AudioError(f"truncated: the header declares {declared - empty} bytes of audio, the file holds {available}")


def _is_placeholder(length: int) -> bool:
    """Return True for 0x7f000000 (SoX) to 2^31, 2^32 - 1 and 2^63 - 1 and above, each also less the header."""
    return (
        0x7F000000 - _HEADER_BYTES <= length <= 2**31
        or 2**32 - 1 - _HEADER_BYTES <= length < 2**32
        or length >= 2**63 - 1 - _HEADER_BYTES
    )


def _read_wav_format(chunks: bytes, order: str) -> tuple[int, int]:
    """Return the format tag, and bytes per sample of all channels (at least 1), from a `fmt ` chunk."""
    if chunks[:4].strip() == b"" or len(chunks) < 24:
        return 0, 1
    at = max(chunks.find(b"fmt "), 0) + 8
    tag, channels, _rate, _bytes, _align, bits = struct.unpack(order + "HHIIHH", chunks[at : at + 16].ljust(16, b"\0"))
    return tag, max(channels * ((bits + 7) // 8), 1)


def _make_wav_head(order: str, chunks: bytes, length: int) -> bytes:
    """Return the header of a WAV with these chunks and audio of a length in bytes."""
    size = 4 + len(chunks) + 8 + length
    if size < 2**32 - 1:
        form = {">": b"RIFX", "<": b"RIFF"}[order]
        return struct.pack(order + "4sI4s", form, size, b"WAVE") + chunks + struct.pack(order + "4sI", b"data", length)
    long_size = struct.pack("<4sIQQQI", b"ds64", 28, size + 36, length, 0, 0)
    head = struct.pack("<4sI4s", b"RF64", 2**32 - 1, b"WAVE") + long_size
    return head + chunks + struct.pack("<4sI", b"data", 2**32 - 1)


def _describe_rest(rest: int) -> list[str]:
    return [f"{format_count(rest, 'byte')} at the end of the audio, less than a sample, not read"] if rest else []
