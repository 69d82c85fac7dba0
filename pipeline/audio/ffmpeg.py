"""Decode formats that libsndfile cannot read by the program ffmpeg."""

import functools
import os
import re
import selectors
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, EmodnaError, Remedy

#: Time in s without a sample after which ffmpeg is stopped.
_STALL_SECONDS: Final = 60.0
#: Bytes that are read from ffmpeg at once.
_BLOCK_BYTES: Final = 1 << 20
#: Bytes of ffmpeg's messages that are kept.
_MESSAGE_BYTES: Final = 4096
#: Largest single allocation of ffmpeg in bytes, because headers may declare tables of any size.
_MAX_ALLOCATION: Final = 1 << 28
#: Header of AU, in which ffmpeg writes the samples: magic, offset of the samples, size, encoding, rate, channels.
_AU_HEADER: Final = struct.Struct(">4s5I")
_ID3_HEADER: Final = 10


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """A format for ffmpeg, recognised by the first bytes of a file."""

    name: str
    demuxer: str
    """Name of ffmpeg's reader of this format. ffmpeg tries no other, such as one that opens further files."""
    signature: re.Pattern[bytes]
    only_ffmpeg: bool = True
    """False for containers that libsndfile reads with some codecs, and ffmpeg with others."""


_FORMATS: Final = tuple(
    ForeignFormat(name, demuxer, re.compile(signature, re.DOTALL), only_ffmpeg)
    for name, demuxer, signature, only_ffmpeg in (
        ("MPEG-4 (such as .m4a, .mp4, .3gp)", "mov", rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)", True),
        ("WebM or Matroska", "matroska", rb"\x1aE\xdf\xa3", True),
        ("AMR", "amr", rb"#!AMR", True),
        ("AAC", "aac", rb"\xff[\xf0\xf1\xf8\xf9]", True),
        ("Windows Media", "asf", rb"0&\xb2u\x8ef\xcf\x11", True),
        ("AVI", "avi", rb"RIFF.{4}AVI ", True),
        ("WAV", "wav", rb"RIFF.{4}WAVE", False),
        ("AIFF", "aiff", rb"FORM.{4}AIF", False),
        ("CAF", "caf", rb"caff", False),
        ("Ogg", "ogg", rb"OggS", False),
    )
)


def recognise_format(stream: BinaryIO) -> ForeignFormat | None:
    """Return the format of a seekable stream by its first bytes, behind an ID3 tag; None if ffmpeg is no help."""
    stream.seek(0)
    start = stream.read(16)
    if start.startswith(b"ID3") and len(start) == 16:
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, start[6:_ID3_HEADER], 0)
        stream.seek(_ID3_HEADER + size)
        start = stream.read(16)
    return next((each for each in _FORMATS if each.signature.match(start)), None)


def make_format_error(found: ForeignFormat) -> AudioError:
    """Return the error for a file that only ffmpeg can decode, where it is not allowed."""
    problem = f"in the format {found.name}, which only ffmpeg reads"
    return AudioError(problem, remedy=Remedy("decode it with {ffmpeg}, or convert it to WAV"))


@functools.cache
def read_ffmpeg_version() -> str:
    """Return the version of the program on the PATH. Raise an `EmodnaError` if it is missing or does not run."""
    program = shutil.which("ffmpeg")
    remedy = "install it, or convert the recordings to WAV"
    if program is None:
        raise EmodnaError("no program ffmpeg on the PATH", field="ffmpeg", remedy=remedy)
    try:
        done = subprocess.run(  # noqa: S603 (the user allows it)
            [program, "-version"], capture_output=True, check=True, timeout=_STALL_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmodnaError(f"{program} does not run: {error}", field="ffmpeg", remedy=remedy) from error
    words = done.stdout.decode(errors="replace").split(maxsplit=3)
    if words[:2] != ["ffmpeg", "version"]:
        raise EmodnaError(f"{program} is another program", field="ffmpeg", remedy=remedy)
    return words[2]


class FfmpegReader:
    """The first audio track of a file, decoded by ffmpeg block by block through a pipe.

    Reads from the file itself or, if `stream` has none, from memory. Raises `AudioError`: the track cannot be decoded
    to its end, or ffmpeg gives no samples for a minute.
    """

    def __init__(self, stream: BinaryIO, found: ForeignFormat) -> None:
        self._messages = b""
        self._output = self._run(stream, found.demuxer)
        content = b""
        length = _AU_HEADER.size
        while len(content) < length:
            content += next(self._output, None) or self._fail("no samples")
            if len(content) >= _AU_HEADER.size:
                magic, length, _, _, self.sample_rate, self.channels = _AU_HEADER.unpack_from(content)
                if magic != b".snd":
                    self._fail("no samples")
        self._rest = content[length:]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks (n, channels), at the rate of the file; works once."""
        frame = 4 * self.channels
        rest = self._rest
        for content in self._output:
            rest += content
            whole = len(rest) // frame * frame
            yield self._convert(rest[:whole])
            rest = rest[whole:]
        yield self._convert(rest)

    def _convert(self, content: bytes) -> NDArray[np.float32]:
        return np.frombuffer(content, ">f4").astype(np.float32).reshape(-1, self.channels)

    def _run(self, stream: BinaryIO, demuxer: str) -> Iterator[bytes]:
        """Run ffmpeg and yield its output; it ends with this generator."""
        command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-max_alloc", str(_MAX_ALLOCATION), "-threads", "1"]
        # Not a pipe: the index of an MPEG-4 file may be at its end, so ffmpeg must seek.
        command += ["-protocol_whitelist", "file", "-f", demuxer, "-i", "/dev/fd/0", "-map", "0:a:0"]
        command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        with ExitStack() as stack:
            try:
                process = subprocess.Popen(  # noqa: S603 (the command holds no text from outside)
                    command,
                    stdin=_open_file(stream, stack),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is handled here
                )
            except FileNotFoundError as error:
                raise AudioError("no program ffmpeg on the PATH") from error
            stack.enter_context(process)
            stack.callback(process.kill)
            yield from self._read(process)
            if process.wait() or self._messages:
                self._fail(f"exit status {process.returncode}")

    def _read(self, process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
        with selectors.DefaultSelector() as selector:
            for pipe in filter(None, (process.stdout, process.stderr)):
                selector.register(pipe, selectors.EVENT_READ)
            deadline = time.monotonic() + _STALL_SECONDS
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise AudioError(f"ffmpeg gave no samples for {_STALL_SECONDS:g} s")
                for key, _ in ready:
                    content = os.read(key.fd, _BLOCK_BYTES)
                    if not content:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        self._messages += content[: _MESSAGE_BYTES - len(self._messages)]
                    else:
                        yield content
                        deadline = time.monotonic() + _STALL_SECONDS

    def _fail(self, problem: str) -> bytes:
        lines = self._messages.decode(errors="replace").splitlines()
        text = re.sub(r"^(\[[^]]*\] *)+", "", lines[0]) if lines else problem  # ffmpeg's parts name themselves
        if "matches no streams" in text:
            raise AudioError("no audio track")
        raise AudioError(f"ffmpeg cannot decode all of it: {text}")


def _open_file(stream: BinaryIO, stack: ExitStack) -> int:
    """Return the descriptor of a stream's file, or of a copy in memory if it has none."""
    try:
        file = stream.fileno()
    except OSError:
        stream.seek(0)
        is_linux = hasattr(os, "memfd_create")
        copy = stack.enter_context(os.fdopen(os.memfd_create("recording"), "w+b") if is_linux else TemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(stream, copy)
        copy.flush()
        file = copy.fileno()
    os.lseek(file, 0, os.SEEK_SET)
    return file
