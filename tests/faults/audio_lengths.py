"""Recordings of known length, by independent writers: how much of each is read, and which remark comes with it.

`python -m tests.faults.audio_lengths` prints a table. Writers are this module (bytes by hand), soundfile, ffmpeg and
lameenc; those that are not installed are left out. The expected number of samples is that which the writer was given.
MP3 files without the encoder's delay in a header are longer by that delay: their frames are counted here.
"""

from __future__ import annotations

import io
import itertools
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile

from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import AudioError
from tests.pipeline.making import Float32, chunk, noise, pcm16, wav

RATE = 16_000
COUNT = 8000
#: 0.5 s of noise.
SOUND = noise(COUNT / RATE, RATE)
PCM = pcm16(SOUND)


@dataclass(frozen=True)
class Case:
    """A recording and what is expected of it."""

    name: str
    writer: str
    content: bytes
    file: str = "a.wav"
    count: int | None = COUNT
    """Samples to read; None: the file is refused."""
    rate: int = RATE
    remark: bool = False
    """True if a remark must name what is not read, or a wrong length in a header."""


def encode(samples: Float32, rate: int = RATE, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **options)
    return file.getvalue()


def id3(size: int) -> bytes:
    """Return an ID3v2 tag with content of this size."""
    return b"ID3\3\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)


ID3V1 = b"TAG".ljust(128, b" ")
APE = struct.pack("<8s4I8x", b"APETAGEX", 2000, 2000, 0, 1 << 31 | 1 << 29)
APE += bytes(2000 - 32) + struct.pack("<8s4I8x", b"APETAGEX", 2000, 2000, 0, 1 << 31)
JUNK = noise(0.1, seed="junk").tobytes()[:1001]


def riff(*chunks: bytes, size: int | None = None, form: bytes = b"RIFF") -> bytes:
    body = b"".join(chunks)
    return struct.pack("<4sI4s", form, 4 + len(body) if size is None else size, b"WAVE") + body


def fmt(tag: int = 1, channels: int = 1, bits: int = 16) -> bytes:
    align = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, RATE, RATE * align, align, bits))


def make_wavs() -> Iterator[Case]:
    """Yield WAV files with the lengths that pipes leave behind, tags, and other bytes around the audio."""
    for length in (0, 0x7FFFF000, 0x7FFFF024, 0x7FFFFFFF, 0x80000000, 0x7FFFFFDB, 0xFFFFFFFF, 0xFFFFFFDB, 0xFFFFFFD3):
        for size in dict.fromkeys((length, min(length + 36, 2**32 - 1))):
            yield Case(
                f"WAV from a pipe: {length:#x} in {size:#x}", "hand", wav(SOUND, declared=length, riff_size=size)
            )
    listed = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"maker\0")
    yield Case("WAV, chunk before, unknown length", "hand", wav(SOUND, before_data=listed, declared=0xFFFFFFFF))
    yield Case("WAV, chunk behind", "hand", wav(SOUND, after_data=listed))
    yield Case(
        "WAV, odd 8-bit data without padding",
        "hand",
        riff(fmt(bits=8), chunk(b"data", bytes(7999))[:-1], listed),
        count=7999,
    )
    yield Case("WAV without audio, chunk behind", "hand", wav(b"", after_data=listed), count=0)
    yield Case("WAV, ID3 before and behind", "hand", id3(30_000) + wav(SOUND) + ID3V1)
    yield Case("WAV, two ID3 before", "hand", id3(20) + id3(5001) + wav(SOUND))
    yield Case("WAV, APE before", "hand", APE + wav(SOUND))
    yield Case("WAV, zeros behind", "hand", wav(SOUND) + bytes(5000))
    yield Case("WAV, junk behind", "hand", wav(SOUND) + JUNK, remark=True)
    yield Case("WAV, junk before", "hand", JUNK + wav(SOUND), remark=True)
    yield Case("WAV, junk before, named .bin", "hand", JUNK + wav(SOUND), file="a.bin", count=None)
    yield Case("WAV + WAV", "hand", wav(SOUND) + wav(SOUND), count=2 * COUNT)
    yield Case("WAV + WAV of another rate", "hand", wav(SOUND) + wav(SOUND, 8000), remark=True)
    yield Case("WAV + FLAC", "soundfile", wav(SOUND) + encode(SOUND, format="FLAC"), count=2 * COUNT)
    yield Case(
        "WAV with two data chunks", "hand", riff(fmt(), chunk(b"data", PCM), chunk(b"data", PCM)), count=2 * COUNT
    )
    yield Case(
        "WAV that declares half",
        "hand",
        riff(fmt(), struct.pack("<4sI", b"data", COUNT) + PCM),
        count=COUNT // 2,
        remark=True,
    )
    yield Case("WAV, half a sample behind", "hand", wav(PCM + b"\1"), remark=True)
    yield Case("WAV from a pipe, half a sample", "hand", wav(PCM + b"\1", declared=2**32 - 1)[:-1], remark=True)
    yield Case("WAV, one byte missing", "hand", wav(SOUND)[:-1], count=None)
    yield Case("WAV, half missing", "hand", wav(SOUND)[: 44 + COUNT], count=None)
    yield Case("WAV of 2.5 GB, most missing", "hand", wav(SOUND, declared=2_500_000_000), count=None)
    yield Case("RIFX", "soundfile", encode(SOUND, format="WAV", subtype="PCM_16", endian="BIG"))
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"):
        whole = encode(SOUND, format="WAV", subtype=subtype)
        at = whole.index(b"data") + 4
        yield Case(f"WAV {subtype}", "soundfile", id3(77) + whole)
        yield Case(
            f"WAV {subtype} from a pipe",
            "soundfile",
            whole[:at] + b"\xff" * 4 + whole[at + 4 :].removesuffix(b"\0" * 0),
        )
        yield Case(f"WAV {subtype}, cut", "soundfile", whole[:-1000], count=None)
    for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"):
        whole = encode(SOUND, format="WAV", subtype=subtype)
        with soundfile.SoundFile(io.BytesIO(whole)) as file:
            count = file.frames  # whole blocks
        yield Case(f"WAV {subtype}", "soundfile", id3(77) + whole, count=count)
        yield Case(f"WAV {subtype}, cut", "soundfile", whole[:-1000], count=None)
    six = np.tile(SOUND[:, None], 6)
    yield Case("WAVEX, 6 channels of 24 bits", "soundfile", encode(six, format="WAVEX", subtype="PCM_24") + ID3V1)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, 0, 0, 0))
    data = struct.pack("<4sI", b"data", 2**32 - 1) + PCM
    yield Case("RF64 from a pipe", "hand", riff(ds64, fmt(), data, form=b"RF64", size=2**32 - 1))
    yield Case("RF64", "soundfile", encode(SOUND, format="RF64") + JUNK, remark=True)


def make_others() -> Iterator[Case]:
    """Yield files of other containers with a declared length."""
    aiff = encode(SOUND, format="AIFF", subtype="PCM_16")
    at, common = aiff.index(b"SSND") + 4, aiff.index(b"COMM") + 10
    for length, frames in ((0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7F000008, 0x3F800000), (8, 0)):
        content = bytearray(aiff)
        content[at : at + 4], content[common : common + 4] = struct.pack(">I", length), struct.pack(">I", frames)
        yield Case(f"AIFF from a pipe: {length:#x}", "soundfile", bytes(content), "a.aiff")
    content = bytearray(aiff)
    content[common : common + 4] = struct.pack(">I", COUNT // 2)
    yield Case("AIFF that declares half its samples", "soundfile", bytes(content), "a.aiff", remark=True)
    content[common : common + 4] = struct.pack(">I", COUNT + 1)
    yield Case("AIFF that declares a sample more", "soundfile", bytes(content), "a.aiff", count=None)
    yield Case("AIFF, ID3 before", "soundfile", id3(3001) + aiff, "a.aiff")
    yield Case("AIFF + AIFF", "soundfile", aiff + aiff, "a.aiff", count=2 * COUNT)
    yield Case("AIFF, junk behind", "soundfile", aiff + JUNK, "a.aiff", remark=True)
    yield Case("AIFF, cut", "soundfile", aiff[:-100], "a.aiff", count=None)
    yield Case("AIFC", "soundfile", encode(SOUND, format="AIFF", subtype="ULAW"), "a.aifc")
    au = encode(SOUND, format="AU", subtype="PCM_16")
    for length in (0, 0xFFFFFFFF, 0x7FFFF000):
        yield Case(f"AU from a pipe: {length:#x}", "soundfile", au[:8] + struct.pack(">I", length) + au[12:], "a.au")
    yield Case("AU, junk behind", "soundfile", au + JUNK, "a.au", remark=True)
    yield Case("AU + AU", "soundfile", au + au, "a.au", count=2 * COUNT)
    yield Case("AU, cut", "soundfile", au[:-1], "a.au", count=None)
    little = encode(SOUND, format="AU", subtype="ULAW", endian="LITTLE")
    yield Case("AU, little-endian mu-law, ID3 before", "soundfile", id3(9) + little, "a.snd")
    yield Case("AU without a header", "hand", PCM, "a.au", count=None)
    w64 = encode(SOUND, format="W64", subtype="PCM_16")
    at = w64.index(b"data\xf3\xac") + 16
    for length in (0, 24, 2**63 - 1, 2**64 - 1):
        yield Case(
            f"W64 from a pipe: {length:#x}", "soundfile", w64[:at] + struct.pack("<Q", length) + w64[at + 8 :], "a.w64"
        )
    yield Case("W64, junk behind", "soundfile", w64 + JUNK, "a.w64", remark=True)
    yield Case("W64, cut", "soundfile", w64[:-9], "a.w64", count=None)
    caf = encode(SOUND, format="CAF", subtype="PCM_16")
    at = caf.index(b"data") + 4
    yield Case("CAF from a pipe: -1", "soundfile", caf[:at] + b"\xff" * 8 + caf[at + 8 :], "a.caf")
    yield Case("CAF, junk behind", "soundfile", caf + JUNK, "a.caf", remark=True)
    yield Case("CAF, cut", "soundfile", caf[:-9], "a.caf", count=None)
    yield Case("CAF ALAC", "soundfile", encode(SOUND, format="CAF", subtype="ALAC_16"), "a.caf")
    sphere = encode(SOUND, format="NIST", subtype="PCM_16")
    declared = b"sample_count -i 8000\n"
    yield Case("SPHERE", "soundfile", sphere, "a.sph")
    yield Case("SPHERE, cut", "soundfile", sphere[:-2], "a.sph", count=None)
    half = sphere.replace(declared, b"sample_count -i 4000\n")
    yield Case("SPHERE that declares half", "soundfile", half, "a.sph", count=COUNT // 2, remark=True)
    more = sphere.replace(declared, b"sample_count -i 9000\n")
    yield Case("SPHERE that declares more", "soundfile", more, "a.sph", count=None)
    without = sphere.replace(declared, b"sample_cnote -i 8000\n")
    yield Case("SPHERE without a count", "soundfile", without, "a.sph")
    shorten = sphere.replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    yield Case("SPHERE of Shorten", "soundfile", shorten, "a.sph", count=None)
    gsm = encode(SOUND, format="RAW", subtype="GSM610")
    yield Case("GSM without a header", "soundfile", gsm, "a.gsm", rate=8000, count=len(gsm) // 33 * 160)
    yield Case("GSM that is none", "hand", JUNK[:990], "a.gsm", count=None)
    yield Case("VOX", "hand", JUNK, "a.vox", count=None)
    for format in ("VOC", "SVX"):
        whole = encode(SOUND, format=format)
        yield Case(format, "soundfile", whole, "a.snd")
        yield Case(f"{format}, cut", "soundfile", whole[:-1000], "a.snd", count=None)


def make_flacs() -> Iterator[Case]:
    """Yield FLAC files with and without a number of samples."""
    for samples in (SOUND, noise(3.1), np.stack([SOUND, -SOUND], axis=1)):
        count = len(samples)
        flac = encode(samples, format="FLAC")
        streamed = bytearray(flac)
        streamed[21] &= 0xF0
        streamed[22:26] = bytes(4)
        half = bytearray(flac)
        half[22:26] = struct.pack(">I", count // 2)
        for name, content, factor in (
            ("", flac + ID3V1, 1),
            (" of unknown length", bytes(streamed), 1),
            (" of unknown length + FLAC", bytes(streamed) + flac, 2),
            (" + FLAC", flac + flac, 2),
            (", ID3 before and behind", id3(1234) + flac + APE + ID3V1, 1),
        ):
            yield Case(f"FLAC{name}", "soundfile", content, "a.flac", count=factor * count)
        yield Case("FLAC that declares half", "soundfile", bytes(half), "a.flac", count=count, remark=True)
        yield Case("FLAC, junk behind", "soundfile", flac + JUNK, "a.flac", count=count, remark=True)
        yield Case(
            "FLAC of unknown length, junk behind",
            "soundfile",
            bytes(streamed) + JUNK,
            "a.flac",
            count=count,
            remark=True,
        )
        yield Case("FLAC, cut", "soundfile", flac[: len(flac) // 2], "a.flac", count=None)
    other = encode(SOUND, 8000, format="FLAC")
    yield Case("FLAC + FLAC of another rate", "soundfile", encode(SOUND, format="FLAC") + other, "a.flac", remark=True)


def make_oggs() -> Iterator[Case]:
    """Yield Ogg files: one link, chains, cut ones."""
    sound, other = noise(2.0), noise(1.0, seed="other")
    for subtype in ("VORBIS", "OPUS"):
        ogg = encode(sound, format="OGG", subtype=subtype)
        more = encode(other, format="OGG", subtype=subtype)
        stereo = encode(np.stack([other, other], axis=1), format="OGG", subtype=subtype)
        yield Case(f"Ogg {subtype}", "soundfile", ogg, "a.ogg", count=32_000)
        yield Case(f"Ogg {subtype}, chain of 3", "soundfile", ogg + more + ogg, "a.ogg", count=80_000)
        yield Case(f"Ogg {subtype} + stereo", "soundfile", ogg + stereo, "a.ogg", count=32_000, remark=True)
        yield Case(f"Ogg {subtype}, ID3 before and behind", "soundfile", id3(99) + ogg + ID3V1, "a.ogg", count=32_000)
        yield Case(f"Ogg {subtype}, junk behind", "soundfile", ogg + JUNK, "a.ogg", count=32_000, remark=True)
        yield Case(f"Ogg {subtype}, junk before", "soundfile", JUNK + ogg, "a.ogg", count=32_000, remark=True)
        yield Case(f"Ogg {subtype}, cut", "soundfile", ogg[:-500], "a.ogg", count=None)


def split_mp3(content: bytes) -> list[bytes]:
    """Return the frames of an MP3 of layer 3 without tags; an independent count of its samples."""
    rates = {
        1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    frames, at = [], 0
    while at + 4 <= len(content) and content[at] == 0xFF:
        version = content[at + 1] >> 3 & 3
        hertz = (44_100, 48_000, 32_000)[content[at + 2] >> 2 & 3] // {3: 1, 2: 2, 0: 4}[version]
        size = (144 if version == 3 else 72) * rates[version == 3][content[at + 2] >> 4] * 1000 // hertz
        size += content[at + 2] >> 1 & 1
        frames.append(content[at : at + size])
        at += size
    return frames


def make_mp3s() -> Iterator[Case]:
    """Yield MP3 files with and without the header of the encoder, and several in one file."""
    sound = np.concatenate([noise(1.0, level=0.3), np.zeros(5 * RATE, np.float32), noise(1.0, level=0.01)])
    for mode, level in (("CONSTANT", 0.5), ("VARIABLE", 0.3)):
        mp3 = encode(sound, format="MP3", bitrate_mode=mode, compression_level=level)
        frames, count = split_mp3(mp3), len(sound)
        bare, length = b"".join(frames[1:]), 576 * (len(frames) - 1)
        yield Case(f"MP3 {mode}", "soundfile", mp3, "a.mp3", count=count)
        yield Case(f"MP3 {mode} without Xing", "soundfile", bare, "a.mp3", count=length)
        yield Case(
            f"MP3 {mode} without Xing, tags around", "soundfile", id3(5000) + bare + APE + ID3V1, "a.mp3", count=length
        )
        yield Case(f"MP3 {mode} + MP3", "soundfile", mp3 + mp3, "a.mp3", count=2 * count)
        yield Case(f"MP3 {mode} + tags + MP3", "soundfile", mp3 + ID3V1 + id3(700) + mp3, "a.mp3", count=2 * count)
        yield Case(f"MP3 {mode} without Xing, twice", "soundfile", bare + bare, "a.mp3", count=2 * length)
        yield Case(f"MP3 {mode}, frames behind", "soundfile", mp3 + bare, "a.mp3", count=count + length, remark=True)
        yield Case(f"MP3 {mode}, junk before", "soundfile", bytes(3000) + JUNK + mp3, "a.mp3", count=count, remark=True)
        yield Case(f"MP3 {mode}, junk behind", "soundfile", mp3 + JUNK, "a.mp3", count=count, remark=True)
        yield Case(f"MP3 {mode}, zeros around", "soundfile", bytes(999) + mp3 + bytes(999), "a.mp3", count=count)
        yield Case(f"MP3 {mode}, cut", "soundfile", mp3[: len(mp3) // 2], "a.mp3", count=None)
        cut = bare[: len(bare) - len(frames[-1]) // 2]
        yield Case(
            f"MP3 {mode} without Xing, last frame cut", "soundfile", cut, "a.mp3", count=length - 576, remark=True
        )
        broken = b"".join([*frames[1:60], JUNK, *frames[60:]])
        yield Case(f"MP3 {mode} without Xing, junk inside", "soundfile", broken, "a.mp3", count=length, remark=True)
        other = encode(noise(1.0), 22_050, format="MP3", bitrate_mode=mode)
        yield Case(f"MP3 {mode} + MP3 of 22050 Hz", "soundfile", mp3 + other, "a.mp3", count=count, remark=True)
        inside = fmt(0x55, bits=0) + chunk(b"data", bare)
        yield Case(f"MP3 {mode} in WAV", "soundfile", riff(inside), count=length)
    for rate in (8000, 11_025, 22_050, 44_100, 48_000):
        mp3 = encode(noise(1.0, rate), rate, format="MP3")
        frames = split_mp3(mp3)
        yield Case(f"MP3 of {rate} Hz", "soundfile", mp3, "a.mp3", count=rate, rate=rate)
        length = (1152 if rate >= 32_000 else 576) * (len(frames) - 1)
        yield Case(
            f"MP3 of {rate} Hz without Xing", "soundfile", b"".join(frames[1:]), "a.mp3", count=length, rate=rate
        )


@cache
def find_ffmpeg() -> str | None:
    return shutil.which("ffmpeg")


def encode_by_ffmpeg(samples: Float32, rate: int, *options: str) -> bytes:
    """Return what ffmpeg writes to a pipe."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    source = ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-i", "-"]
    command = [str(find_ffmpeg()), "-v", "error", *source, *options, "-"]
    return subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True).stdout


def make_by_ffmpeg() -> Iterator[Case]:
    """Yield what ffmpeg writes to a pipe."""
    if find_ffmpeg() is None:
        return
    formats = {
        **{
            f"wav {codec}": ("-f", "wav", "-c:a", codec)
            for codec in ("pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_mulaw")
        },
        "rf64": ("-f", "wav", "-rf64", "always"),
        "aiff": ("-f", "aiff"),
        "au": ("-f", "au"),
        "caf": ("-f", "caf"),
        "w64": ("-f", "w64"),
        "flac": ("-f", "flac"),
        "ogg flac": ("-f", "ogg", "-c:a", "flac"),
        "ogg flac 16 bits": ("-f", "ogg", "-c:a", "flac", "-sample_fmt", "s16"),
        "ogg vorbis": ("-f", "ogg", "-c:a", "libvorbis"),
    }
    stereo = np.stack([noise(2.0), noise(2.0, seed="right")], axis=1)
    for (name, options), samples in itertools.product(formats.items(), (noise(2.0), stereo)):
        content = encode_by_ffmpeg(samples, RATE, *options)
        kind = name.split()[0]
        yield Case(f"{name}, {samples.ndim} channels", "ffmpeg", content, f"a.{kind}", count=32_000)
        if kind in ("flac", "ogg"):
            yield Case(f"{name}, twice, {samples.ndim} channels", "ffmpeg", 2 * content, f"a.{kind}", count=64_000)
    opus = encode_by_ffmpeg(noise(2.0), RATE, "-f", "ogg", "-c:a", "libopus")
    yield Case("ogg opus", "ffmpeg", opus, "a.opus", count=32_000)
    for rate in (16_000, 22_050, 44_100):
        for quality in (("-b:a", "64k"), ("-q:a", "4"), ("-q:a", "9")):
            tagged = encode_by_ffmpeg(noise(2.0, rate), rate, "-f", "mp3", *quality)
            content = tagged[10 + (tagged[8] << 7 | tagged[9]) :]
            length = (1152 if rate >= 32_000 else 576) * len(split_mp3(content))
            yield Case(f"mp3 {rate} Hz {' '.join(quality)}", "ffmpeg", tagged, "a.mp3", count=length, rate=rate)
        layer2 = encode_by_ffmpeg(noise(2.0, rate), rate, "-f", "mp2", "-b:a", "64k")
        yield Case(f"mp2 {rate} Hz", "ffmpeg", layer2, "a.mp2", count=-(-2 * rate // 1152) * 1152, rate=rate)
    inside = encode_by_ffmpeg(noise(2.0), RATE, "-f", "wav", "-c:a", "libmp3lame")
    yield Case("wav with mp3", "ffmpeg", inside, count=576 * len(split_mp3(inside[inside.index(b"data") + 8 :])))


def make_by_lameenc() -> Iterator[Case]:
    """Yield what lameenc writes."""
    try:
        import lameenc
    except ImportError:
        return
    for rate, bit_rate in itertools.product((16_000, 22_050, 44_100), (None, 64)):
        encoder = lameenc.Encoder()
        encoder.silence()
        encoder.set_channels(1)
        encoder.set_in_sample_rate(rate)
        if bit_rate is None:
            encoder.set_vbr(4)
            encoder.set_vbr_quality(4)
        else:
            encoder.set_bit_rate(bit_rate)
        content = bytes(encoder.encode(pcm16(noise(2.0, rate))) + encoder.flush())
        length = (1152 if rate >= 32_000 else 576) * len(split_mp3(content))
        yield Case(f"MP3 {rate} Hz, {bit_rate or 'VBR'}", "lameenc", content, "a.mp3", count=length, rate=rate)


#: Cases without further programs.
QUICK: tuple[Callable[[], Iterator[Case]], ...] = (make_wavs, make_others, make_flacs, make_oggs, make_mp3s)
ALL = (*QUICK, make_by_ffmpeg, make_by_lameenc)


def read(case: Case) -> tuple[int | None, str]:
    """Return the number of samples that are read, None if the file is refused, and the remarks or the reason."""
    try:
        recording = decode(io.BytesIO(case.content), name=case.file)
    except AudioError as error:
        return None, str(error)
    return len(recording.samples), "; ".join(recording.remarks)


def main() -> None:
    wrong = 0
    print("| input | writer | expected s | read s | remark or reason |\n|---|---|---|---|---|")
    cases = [case for make in ALL for case in make()]
    for case in cases:
        count, text = read(case)
        is_right = count == case.count and (bool(text) == case.remark or count is None)
        wrong += not is_right
        expected, found = ("refused" if each is None else f"{each / case.rate:.4f}" for each in (case.count, count))
        print(f"| {case.name} | {case.writer} | {expected} | {found}{'' if is_right else ' (wrong)'} | {text} |")
    print(f"\n{len(cases)} inputs, {wrong} wrong")


if __name__ == "__main__":
    main()
