"""Examine recordings with false headers, damage or extreme samples, in one process of limited memory and time.

`python -m tests.faults.hostile_audio FOLDER` writes each into the folder, examines it like emodna-prep, and prints a
JSON line: name, rejection or None, whether the features are finite, frames, CPU seconds.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig, Job, examine
from tests.pipeline.making import Float32, chunk, noise, pcm16, wav

#: Memory limit in bytes beyond the libraries.
MEMORY = 2**30
SECONDS = 120

_SAMPLES = noise(0.3, 22_050)
_PCM = pcm16(_SAMPLES)


def make_riff(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return struct.pack("<4sI4s", b"RIFF", (4 + len(body)) % 2**32, b"WAVE") + body


def make_fmt(
    tag: int = 1, channels: int = 1, rate: int = 22_050, align: int = 2, bits: int = 16, byte_rate: int | None = None
) -> bytes:
    bytes_per_second = rate * align % 2**32 if byte_rate is None else byte_rate
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, bytes_per_second, align, bits))


def encode(samples: Float32, rate: int = 22_050, **options: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **options})
    return file.getvalue()


def make_headers() -> Iterator[tuple[str, bytes]]:
    data = chunk(b"data", _PCM)
    for rate in (0, 1, 99, 999, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"rate {rate}", make_riff(make_fmt(rate=rate), data)
    for channels in (0, 2, 255, 1024, 1025, 65_535):
        yield f"{channels} channels", make_riff(make_fmt(channels=channels, align=2 * channels % 2**16), data)
        yield f"{channels} channels, align 2", make_riff(make_fmt(channels=channels), data)
    for bits in (0, 1, 3, 12, 17, 33, 64, 65_535):
        yield f"{bits} bits", make_riff(make_fmt(bits=bits), data)
        yield f"{bits} bits of float", make_riff(make_fmt(tag=3, bits=bits), data)
    for align in (0, 1, 3, 65_535):
        yield f"align {align}", make_riff(make_fmt(align=align), data)
    for byte_rate in (0, 1, 2**32 - 1):
        yield f"byte rate {byte_rate}", make_riff(make_fmt(byte_rate=byte_rate), data)
    for tag in (0, 2, 5, 0x11, 0x31, 0x55, 0x161, 0xFFFE, 0xFFFF):
        yield f"format tag {tag}", make_riff(make_fmt(tag=tag), data)
    yield "no fmt", make_riff(data)
    yield "fmt of 3 bytes", make_riff(chunk(b"fmt ", b"\1\0\1"), data)
    yield "fmt of 64 kB", make_riff(chunk(b"fmt ", make_fmt()[8:] + bytes(2**16)), data)
    yield "fmt that declares 4 GB", make_riff(chunk(b"fmt ", make_fmt()[8:], declared=2**32 - 1), data)
    yield "two fmt", make_riff(make_fmt(), make_fmt(rate=8000, channels=2, align=4), data)
    yield "data before fmt", make_riff(data, make_fmt())
    yield "two data", make_riff(make_fmt(), data, data)
    yield "chunk that runs over", make_riff(chunk(b"note", b"x", declared=2**32 - 2), make_fmt(), data)
    yield "chunk that runs back", make_riff(make_fmt(), chunk(b"note", b"xx", declared=2**32 - 8), data)
    yield "data declares 4 GB", make_riff(make_fmt(), chunk(b"data", _PCM, declared=2**32 - 2))
    yield "data declares nothing", make_riff(make_fmt(), chunk(b"data", _PCM, declared=0))
    yield "data declares half", make_riff(make_fmt(), chunk(b"data", _PCM, declared=len(_PCM) // 2))
    yield "riff declares nothing", wav(_SAMPLES, 22_050, riff_size=0)
    yield "riff declares 4 GB", wav(_SAMPLES, 22_050, riff_size=2**32 - 2)
    yield "ten thousand chunks", make_riff(make_fmt(), *[chunk(b"note", b"")] * 10_000, data)


def make_contents() -> Iterator[tuple[str, bytes]]:
    """Yield recordings of all sample formats and of extreme samples."""
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "DOUBLE", "ALAW", "ULAW", "MS_ADPCM", "IMA_ADPCM", "GSM610"):
        yield f"sound {subtype}", encode(_SAMPLES, subtype=subtype)
    extremes: dict[str, Float32] = {
        "denormals": np.full(5000, 1e-40, np.float32),
        "smallest": np.full(5000, 1e-45, np.float32),
        "offset": np.full(5000, 0.99, np.float32),
        "offset of noise": _SAMPLES[:5000] * 0.01 + np.float32(0.9),
        "clipped": np.sign(_SAMPLES).astype(np.float32),
        "beyond one": _SAMPLES * 32_768,
        "one million": _SAMPLES * 1e6,
        "largest": np.full(5000, 3e38, np.float32),
        "one sample of all": np.eye(1, 5000, 2500, dtype=np.float32)[0],
        "alternating": np.resize(np.array([1, -1], np.float32), 5000),
        "silence": np.zeros(5000, np.float32),
    }
    for name, samples in extremes.items():
        yield f"sound {name}", encode(samples.astype(np.float32), subtype="FLOAT")
        yield f"sound {name}, resampled", encode(samples.astype(np.float32), 16_000, subtype="FLOAT")
    for name, value in {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}.items():
        samples = _SAMPLES.copy()
        samples[77] = value
        yield f"bad {name}", encode(samples, subtype="FLOAT")
    doubles = chunk(b"data", np.full(5000, 1e300).tobytes())
    yield "bad double overflow", make_riff(make_fmt(tag=3, align=8, bits=64), doubles)
    for count in (0, 1, 2047):
        yield f"bad {count} samples", wav(_SAMPLES[:count], 22_050)
        yield f"bad {count} samples of FLAC", encode(_SAMPLES[:count], format="FLAC")


def make_damaged() -> Iterator[tuple[str, bytes]]:
    """Yield compressed recordings that are damaged in the middle."""
    formats = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    for format, subtype in (*formats, ("AIFF", "PCM_16"), ("CAF", "ALAC_16")):
        if format not in soundfile.available_formats():
            continue
        whole = encode(noise(2.0, 48_000), 48_000, format=format, subtype=subtype)
        half = len(whole) // 2
        yield f"{format} {subtype} zeros inside", whole[:half] + bytes(500) + whole[half + 500 :]
        yield f"{format} {subtype} noise inside", whole[:half] + noise(0.03).tobytes()[:500] + whole[half + 500 :]
        yield f"{format} {subtype} a hole", whole[:half] + whole[half + 500 :]
        yield f"{format} {subtype} half", whole[:half]


def make_long(folder: Path) -> Iterator[tuple[str, Path, float]]:
    """Yield files that are hours long, or declare it: name, file, limit in s."""
    ten_hours, two_hours = 36_000 * 8000, 7200 * 8000
    by_header = folder / "ten hours by header.wav"
    by_header.write_bytes(make_riff(make_fmt(rate=8000), chunk(b"data", _PCM, declared=2 * ten_hours)))
    yield "ten hours by header", by_header, 1e9
    real = folder / "two hours of zeros.wav"
    with real.open("wb") as file:
        file.write(make_riff(make_fmt(rate=8000), chunk(b"data", b"", declared=2 * two_hours)))
        file.truncate(44 + 2 * two_hours)
    yield "two hours of zeros", real, 3600.0
    flac = bytearray(encode(_SAMPLES, format="FLAC"))
    flac[18:26] = struct.pack(">Q", 655_350 << 44 | 15 << 36 | (2**36 - 1))  # rate, 1 channel, 16 bits, samples
    (folder / "flac.flac").write_bytes(flac)
    yield "a day of FLAC by header", folder / "flac.flac", 3600.0
    yield "a day of FLAC by header, allowed", folder / "flac.flac", 1e9


def examine_all(folder: Path) -> Iterator[dict[str, object]]:
    files: list[tuple[str, Path, float]] = []
    for number, (name, content) in enumerate([*make_headers(), *make_contents(), *make_damaged()]):
        path = folder / f"{number}.wav"
        path.write_bytes(content)
        files.append((name, path, 3600.0))
    for name, path, max_seconds in [*files, *make_long(folder)]:
        began = time.process_time()
        result = examine(Job(name, path.name), FolderTree(folder), ExtractionConfig(MfccSet(), max_seconds))
        finite = all(np.isfinite(array).all() for array in result.features)
        yield {
            "name": name,
            "rejection": result.rejection,
            "finite": finite and all(np.isfinite(each.peak_db) for each in result.utterances),
            "frames": [each.frames for each in result.utterances],
            "seconds": round(time.process_time() - began, 3),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }


def main(folder: Path) -> None:
    warnings.simplefilter("error")
    (folder / "first.wav").write_bytes(wav(_SAMPLES, 16_000))
    examine(Job("first", "first.wav"), FolderTree(folder), ExtractionConfig(MfccSet()))  # loads the libraries
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for line in examine_all(folder):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
