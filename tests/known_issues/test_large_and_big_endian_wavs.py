"""The check for truncated WAVs knew little-endian RIFF only: halves of RIFX and RF64 files were accepted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import AudioError


@pytest.mark.parametrize(("format_", "endian"), [("WAV", "BIG"), ("RF64", "FILE"), ("WAVEX", "FILE")])
def test_half_a_file_is_refused_and_the_whole_accepted(tmp_path: Path, format_: str, endian: str) -> None:
    file = tmp_path / "whole.wav"
    soundfile.write(file, np.linspace(-0.5, 0.5, 8000), 16000, format=format_, endian=endian, subtype="PCM_16")
    content = file.read_bytes()
    assert len(decode(io.BytesIO(content)).samples) == 8000
    with pytest.raises(AudioError, match="truncated"):
        decode(io.BytesIO(content[: len(content) // 2]))
