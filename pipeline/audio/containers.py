"""Whether a file of audio holds what its header declares: libsndfile reads one that was cut off without a word.

WAV is `audio`'s own. Of compressed formats the decoder tells, but for Ogg: a file that was cut between two of its pages
cannot be told from a broadcast whose recording was stopped.
"""

import struct
from typing import BinaryIO, Final

from emodna.pipeline.errors import AudioError

_UNKNOWN: Final = 2**32 - 1


def check_complete(stream: BinaryIO) -> None:
    """Refuse an AIFF, AU or Wave64 file that holds less audio than its header declares.

    Raises
    ------
    AudioError
        It does.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(24)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        _check_chunks(stream, size, position=12, header=">4sI", audio=b"SSND", align=2, counted=0)
    elif head[:4] == b"riff" and len(head) == 24:
        _check_chunks(stream, size, position=40, header="<4s12xQ", audio=b"data", align=8, counted=24)
    elif head[:4] in (b".snd", b"dns.") and len(head) == 24:
        start, declared = struct.unpack((">" if head[:4] == b".snd" else "<") + "4xII12x", head)
        if declared != _UNKNOWN:
            _compare(declared, size - start)


def _check_chunks(
    stream: BinaryIO, size: int, *, position: int, header: str, audio: bytes, align: int, counted: int
) -> None:
    """Go from chunk to chunk until the one that holds the audio; `counted` bytes of a header count in its length."""
    length = struct.calcsize(header)
    while position + length <= size:
        stream.seek(position)
        name, declared = struct.unpack(header, stream.read(length))
        content = declared - counted
        if name == audio:
            _compare(content, size - position - length)
            return
        position += length + max(content, 0) + -max(content, 0) % align


def _compare(declared: int, held: int) -> None:
    if declared > held:
        raise AudioError(f"truncated: the header declares {declared} bytes of audio, the file holds {max(held, 0)}")
