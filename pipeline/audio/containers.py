"""Find everything in a file that is audio: libsndfile reads its first recording only, and trusts lengths in headers."""

import re
from collections.abc import Callable
from typing import Final

from emodna.pipeline.audio.flac import read_flac
from emodna.pipeline.audio.headers import read_aiff, read_au, read_caf, read_sphere, read_w64, read_wav
from emodna.pipeline.audio.mpeg import find_mpeg, find_stream
from emodna.pipeline.audio.ogg import read_ogg
from emodna.pipeline.audio.parts import Content, FileBytes, Part
from emodna.pipeline.audio.tags import find_end_tags, skip_tags
from emodna.pipeline.errors import AudioError, format_count

#: First bytes of a container -> its reader. A dot is any byte.
_READERS: Final[dict[bytes, Callable[[FileBytes, int], Content]]] = {
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE": read_wav,
    rb"FORM....AIF[FC]": read_aiff,
    rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb": read_w64,
    rb"caff\x00\x01": read_caf,
    rb"\.snd.{16}|dns\..{16}": read_au,
    rb"NIST_1A\n": read_sphere,
    rb"fLaC[\0\x80]\0\0\x22": read_flac,
    rb"OggS\x00\x02.{12}": read_ogg,
}
_PATTERNS: Final = {re.compile(pattern, re.DOTALL): reader for pattern, reader in _READERS.items()}
#: Suffix -> first bytes of its container, which are looked for behind other bytes.
_SUFFIXES: Final = {
    **dict.fromkeys((".wav", ".wave", ".bwf", ".rf64"), rb"RIFF....WAVE"),
    **dict.fromkeys((".aif", ".aiff", ".aifc"), rb"FORM....AIF[FC]"),
    ".flac": rb"fLaC[\0\x80]\0\0\x22",
    **dict.fromkeys((".ogg", ".oga", ".opus"), rb"OggS\x00\x02\x00{8}.{4}\x00{4}"),
}
_MPEG_SUFFIXES: Final = (".mp3", ".mp2", ".mpga")
#: Number of bytes before a header in which that header is looked for.
_LEADING_BYTES: Final = 2**20
#: Bytes of a frame of GSM 06.10, and the upper half of its first byte.
_GSM_BYTES, _GSM_MARK = 33, 0xD
_HEADERLESS: Final = (".raw", ".pcm", ".vox", ".ul", ".al", ".ulaw", ".alaw", ".sln", ".g722", ".g729")


def find_parts(file: FileBytes, suffix: str) -> tuple[list[Part], list[str]]:
    """Return the recordings in a file, in order, and remarks on other bytes.

    Content decides. The file's suffix, in lower case, decides only if the content is unknown. Raises `AudioError` for
    an empty or truncated file.
    """
    if file.size == 0:
        raise AudioError("empty file (0 bytes)")
    file.audio_stop = find_end_tags(file)
    parts: list[Part] = []
    remarks: list[str] = []
    position = skip_tags(file, 0, file.audio_stop)
    while position < file.audio_stop:
        content = _read_content(file, position)
        if content is None and not parts:
            content = _read_by_suffix(file, position, suffix)
        if content is None:
            if not file.is_zero(position, file.audio_stop):
                count = format_count(file.audio_stop - position, "byte")
                remarks.append(f"{count} behind the audio, from byte {position} on, not read")
            break
        parts += content.parts
        remarks += content.remarks
        position = skip_tags(file, max(content.stop, position + 1), file.audio_stop)
    if not parts:
        raise AudioError("contains no audio")
    return parts, remarks


def _read_content(file: FileBytes, position: int) -> Content | None:
    """Return the audio at a position, or None if the content there is unknown."""
    head = file.read(position, position + 24)
    for pattern, reader in _PATTERNS.items():
        if pattern.match(head):
            return reader(file, position)
    return find_mpeg(file, position, file.audio_stop)


def _read_by_suffix(file: FileBytes, position: int, suffix: str) -> Content:
    """Return the audio of a file of unknown content: by its suffix, or as libsndfile reads it."""
    found = None
    head = file.read(position, position + _LEADING_BYTES)
    if suffix in _MPEG_SUFFIXES:
        found = find_stream(file, position, min(file.audio_stop, position + _LEADING_BYTES))
    elif suffix in _SUFFIXES and (match := re.search(_SUFFIXES[suffix], head, re.DOTALL)) is not None:
        found = position + match.start()
    if found is not None and (content := _read_content(file, found)) is not None:
        remark = f"{format_count(found - position, 'byte')} before the audio are not audio"
        silent = file.is_zero(position, found)
        return Content(content.parts, content.stop, content.remarks if silent else (remark, *content.remarks))
    if (
        suffix == ".gsm"
        and (file.size - position) % _GSM_BYTES == 0
        and all(byte >> 4 == _GSM_MARK for byte in file.read(position, file.size)[::_GSM_BYTES])
    ):
        options = {"format": "RAW", "subtype": "GSM610", "samplerate": 8000, "channels": 1}
        return Content((Part(position, file.size, ((position, file.size),), options=options),), file.size)
    if suffix in _HEADERLESS:
        raise AudioError("audio without a header: rate and format are unknown; convert it to WAV")
    return Content((Part(position, file.size, ((position, file.size),), is_known=False),), file.size)
