"""Past bugs in reading audio and extracting features."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import AudioError
from emodna.pipeline.features import FEATURE_SETS, FeatureSet
from emodna.pipeline.threads import open_extraction_threads
from tests.pipeline.making import Float32, noise, wav


def encode(samples: Float32, format: str, subtype: str = "PCM_16", endian: str = "FILE") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=format, subtype=subtype, endian=endian)
    return file.getvalue()


@pytest.mark.parametrize(("format", "endian"), [("WAV", "BIG"), ("RF64", "FILE"), ("WAVEX", "FILE")])
def test_a_truncated_big_endian_or_large_wav_is_refused(format: str, endian: str) -> None:
    """Truncation was detected only in little-endian RIFF files."""
    content = encode(np.linspace(-0.5, 0.5, 8000, dtype=np.float32), format, endian=endian)
    assert len(decode(io.BytesIO(content)).samples) == 8000
    with pytest.raises(AudioError, match="truncated"):
        decode(io.BytesIO(content[: len(content) // 2]))


@pytest.mark.parametrize(
    ("format", "subtype"), [("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"), ("W64", "PCM_16")]
)
@pytest.mark.parametrize("missing", [300, 4000])
def test_a_truncated_recording_of_another_format_is_refused(format: str, subtype: str, missing: int) -> None:
    """Half a recording was accepted."""
    whole = encode(noise(2.0, 8000), format, subtype)
    assert len(decode(io.BytesIO(whole)).samples) >= 16_000
    with pytest.raises(AudioError, match="truncated: the header declares"):
        decode(io.BytesIO(whole[:-missing]))


def test_truncation_of_an_aiff_is_found_after_an_odd_chunk() -> None:
    """Half a recording was accepted. Found by fuzzing."""
    whole = encode(noise(0.5, 8000), "AIFF")
    odd = whole[:12] + b"NAME" + struct.pack(">I", 3) + b"abc\0" + whole[12:]
    assert len(decode(io.BytesIO(odd)).samples) == 4000
    with pytest.raises(AudioError, match="truncated"):
        decode(io.BytesIO(odd[:-1000]))


def test_an_au_of_unknown_length_is_read_to_its_end() -> None:
    """A length of 2^32 - 1 means "unknown"; it was compared with the length of the file."""
    content = bytearray(encode(noise(0.5, 8000), "AU"))
    content[8:12] = b"\xff" * 4
    assert len(decode(io.BytesIO(bytes(content))).samples) == 4000


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "GSM610"), ("WAV", "G721_32"), ("AU", "G723_24")])
def test_telephone_formats_are_read(format: str, subtype: str) -> None:
    """libsndfile cannot seek in them, and soundfile needs the number of samples."""
    content = encode(noise(0.5, 8000), format, subtype)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert len(decode(io.BytesIO(content)).samples) == file.frames >= 4000


def test_more_samples_than_memory_are_refused() -> None:
    """Memory for the declared number of samples was allocated at once, which ended in a traceback."""
    content = bytearray(encode(noise(0.5, 8000), "FLAC"))
    content[18:26] = struct.pack(">Q", 655_350 << 44 | 15 << 36 | (2**36 - 1))
    with pytest.raises(AudioError, match=r"not enough memory for|truncated: "):
        decode(io.BytesIO(bytes(content)), max_seconds=1e9)


def test_a_header_with_a_negative_position_prints_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback raised an exception, and its traceback was printed."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    content = encode(noise(0.2, 8000), "AIFF")
    for place in range(12, 60):
        damaged = content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :]
        with contextlib.suppress(AudioError):
            decode(io.BytesIO(damaged))
    assert unraisable == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("closed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_messages_of_libsndfile_stay_out_of_the_json(closed: bool, tmp_path: Path) -> None:
    """libsndfile prints errors about a MIDI sample dump to standard output."""
    whole = encode(noise(0.2, 8000), "SDS")
    (tmp_path / "dump.wav").write_bytes(whole[:21] + b"\0\0\0" + whole[24:])
    (tmp_path / "good.wav").write_bytes(wav(noise(0.2)))
    command = [str(Path(sys.executable).with_name("emodna-prep")), "--folder", ".", "--name", "x", "--json"]
    stderr = None if closed else subprocess.PIPE
    preexec = (lambda: os.close(2)) if closed else None
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=preexec, text=True, check=True, cwd=tmp_path
    )
    (report,) = json.loads(ran.stdout)
    assert (report["corpus"], report["utterances"] + report["rejected"]) == ("x", 2)
    if not closed:
        assert "Error 1 : " in ran.stderr


@pytest.mark.parametrize("features", FEATURE_SETS.values(), ids=FEATURE_SETS)
def test_a_new_thread_extracts_the_same_features_as_an_old_one(features: FeatureSet) -> None:
    """The first matrix product of a thread used all cores, with other rounding on some processors.

    torch sets the number of MKL threads late, in the first parallel loop of a thread.
    """
    # Several lengths, because two threads change only some of the matrix products.
    for seconds in (0.15, 0.2, 0.3, 0.5, 1.0, 2.0):
        samples = noise(seconds, features.sample_rate)
        with open_extraction_threads(1) as pool:
            first, second = (pool.submit(features.extract, samples).result()[0] for _ in range(2))
        assert first.tobytes() == second.tobytes()
