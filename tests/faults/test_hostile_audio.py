"""Recordings with false headers, damage or extreme samples, in one process with limited memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Names of recordings -> part of the reason for their rejection.
REASONS = {
    ("rate 0", "rate 2147483648", "rate 4294967295"): "not readable as audio",
    ("rate 2147483647", "1024 channels"): "too short: ",
    ("rate 1",): "too long: 6615 s, at most 3600 s",
    ("0 channels", "1025 channels", "65535 channels"): "channel",
    ("0 bits", "33 bits", "64 bits", "65535 bits"): "not readable as audio",
    ("no fmt", "fmt of 3 bytes", "data before fmt", "two fmt"): "not readable as audio",
    ("fmt that declares 4 GB", "chunk that runs over", "chunk that runs back"): "truncated: a WAV header without",
    ("ten hours by header",): "truncated: the header declares",
    ("bad 0 samples", "bad 1 samples", "bad 2047 samples"): "too short: ",
    ("bad NaN", "bad infinity", "bad minus infinity", "bad double overflow"): "samples that are not finite",
    ("sound largest", "sound largest, resampled"): "samples too large: their power is not finite",
    ("FLAC PCM_16 a hole", "FLAC PCM_16 half"): "not readable as audio",
    ("OGG VORBIS a hole", "OGG OPUS half", "MP3 MPEG_LAYER_III half", "AIFF PCM_16 half"): "truncated: ",
    ("two hours of zeros",): "too long: 7200 s, at most 3600 s",
    ("a day of FLAC by header",): "too long: ",
    ("a day of FLAC by header, allowed",): "not enough memory for the 68719476735 samples",
}
#: Recordings with harmless false headers.
READ = (
    "data declares nothing",
    "data declares 4 GB",
    "data declares half",
    "riff declares 4 GB",
    "fmt of 64 kB",
    "byte rate 0",
    "align 65535",
)


@pytest.mark.slow
def test_each_recording_has_finite_features_or_a_reason(tmp_path: Path) -> None:
    """The process fails if it exceeds its limits. This is one test, so that one worker runs it."""
    command = [sys.executable, "-m", "tests.faults.hostile_audio", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr  # libmpg123 prints its own messages there
    found = {line["name"]: line for line in map(json.loads, ran.stdout.splitlines())}
    assert len(found) > 120
    for line in found.values():
        assert line["finite"], line
        assert bool(line["frames"]) == (line["rejection"] is None), line
        assert "\n" not in (line["rejection"] or "")
    for names, reason in REASONS.items():
        for name in names:
            assert reason in found[name]["rejection"].lower() + found[name]["rejection"], name
    # Denormals, an offset, clipping, and floats beyond 1, which stay unchanged as in librosa.
    sounds = [name for name in found if name.startswith("sound ") and "largest" not in name]
    assert len(sounds) == 29
    assert {name: found[name]["rejection"] for name in (*READ, *sounds)} == dict.fromkeys((*READ, *sounds))
