"""Decode every valid format, and give a reason for every invalid file."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.audio import decode as audio
from emodna.pipeline.audio.decode import Recording, RecordingReader, decode, resample
from emodna.pipeline.errors import RECORDING_ERRORS, AudioError, explain_rejection
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig, Job, examine
from tests.pipeline.making import Float32, chunk, noise, wav

SAMPLES = noise(0.25)
LAST_BIT = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 0.0, "DOUBLE": 0.0, "ULAW": 0.02}


def encode(samples: Float32, *, rate: int = 16_000, format: str = "WAV", subtype: str | None = None) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def decode_bytes(content: bytes, *, channel: int = 0, max_seconds: float = 3600.0) -> Recording:
    return decode(BytesIO(content), channel=channel, max_seconds=max_seconds)


def read_reason(content: bytes, *, channel: int = 0, max_seconds: float = 3600.0) -> str:
    with pytest.raises(AudioError) as caught:
        decode_bytes(content, channel=channel, max_seconds=max_seconds)
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestFormats:
    @pytest.mark.parametrize("subtype", LAST_BIT)
    def test_all_sample_formats_decode_to_the_same_samples_within_the_last_bit(self, subtype: str) -> None:
        recording = decode_bytes(encode(SAMPLES, subtype=subtype))
        assert recording.samples.dtype == np.float32
        assert (recording.sample_rate, recording.channels) == (16_000, 1)
        assert recording.duration == 0.25
        np.testing.assert_allclose(recording.samples, SAMPLES, rtol=0, atol=LAST_BIT[subtype])

    @pytest.mark.parametrize("format", ["WAVEX", "FLAC", "AIFF", "RF64", "CAF"])
    def test_all_lossless_formats_decode_to_the_same_samples(self, format: str) -> None:
        samples = decode_bytes(encode(SAMPLES, format=format, subtype="PCM_16")).samples
        np.testing.assert_allclose(samples, SAMPLES, rtol=0, atol=LAST_BIT["PCM_16"])

    def test_16_bit_samples_are_decoded_exactly(self) -> None:
        ramp = np.arange(-32768, 32768, 16, dtype="<i2")
        assert np.array_equal(decode_bytes(wav(ramp.tobytes())).samples, ramp.astype(np.float32) / 32768)


class TestChannels:
    STEREO = np.stack([SAMPLES, noise(0.25, seed="right")], axis=1)

    def test_one_channel_is_decoded_by_default_the_first(self) -> None:
        for channel in (0, 1):
            recording = decode_bytes(encode(self.STEREO, subtype="FLOAT"), channel=channel)
            assert (recording.channels, recording.duration) == (2, 0.25)
            assert np.array_equal(recording.samples, self.STEREO[:, channel])

    def test_a_missing_channel_is_refused(self) -> None:
        assert read_reason(encode(self.STEREO), channel=2) == "no channel 2; the file has channels 0 to 1"


#: Decodes 20 s of silence in 8 channels at 192 kHz, and prints the growth of peak memory in MB.
MEASURE_MEMORY = """
import resource, sys
from io import BytesIO
from pathlib import Path
from emodna.pipeline.audio.decode import decode

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)

content = BytesIO(Path(sys.argv[1]).read_bytes())
before = peak()
samples = decode(content, channel=7).samples
assert samples.shape == (20 * 192_000,)
print(peak() - before)
"""


class TestBlocks:
    @pytest.fixture(autouse=True, params=[37, 7999])
    def _small_blocks(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audio, "_BLOCK_SAMPLES", request.param)

    @pytest.mark.parametrize(
        ("format", "subtype"),
        [
            *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_24"), ("CAF", "ALAC_16")),
            *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
        ],
    )
    def test_blocks_give_the_same_samples_as_the_whole_file(self, format: str, subtype: str) -> None:
        """An Opus decoder gives other samples after a seek, even to its current position."""
        both = np.stack([SAMPLES, noise(0.25, seed="right")], axis=1)
        content = encode(both, format=format, subtype=subtype)
        with soundfile.SoundFile(BytesIO(content)) as file:
            whole = file.read(dtype="float32")
        for channel in (0, 1):
            recording = decode_bytes(content, channel=channel)
            assert np.array_equal(recording.samples, whole[:, channel])
            assert (recording.sample_rate, recording.channels) == (16_000, 2)
            pieces = RecordingReader(BytesIO(content), channel=channel)
            assert (pieces.sample_rate, pieces.channels, pieces.length) == (16_000, 2, len(whole))
            assert np.array_equal(np.concatenate(list(pieces)), whole[:, channel])
        alone = encode(SAMPLES, format=format, subtype=subtype)
        with soundfile.SoundFile(BytesIO(alone)) as file:
            assert np.array_equal(decode_bytes(alone).samples, file.read(dtype="float32"))

    def test_a_file_with_fewer_samples_than_declared_is_truncated(self) -> None:
        content = bytearray(encode(np.stack([SAMPLES, SAMPLES], axis=1), format="FLAC"))
        content[22:26] = struct.pack(">I", 5000)
        assert read_reason(bytes(content)) == "truncated: 4000 of 5000 samples could be decoded"

    def test_only_the_decoded_channel_must_be_finite(self) -> None:
        samples = np.stack([SAMPLES, SAMPLES], axis=1)
        samples[3999, 1] = np.nan
        content = encode(samples, subtype="FLOAT")
        assert read_reason(content, channel=1) == "samples that are not finite (NaN or infinity)"
        assert np.array_equal(decode_bytes(content).samples, SAMPLES)


def test_unused_channels_take_no_memory(tmp_path: Path) -> None:
    """An hour of silence in 8 channels at 192 kHz is a FLAC of a few MB; it was decoded to 21 GB."""
    file = tmp_path / "silence.flac"
    with soundfile.SoundFile(file, "w", 192_000, 8, "PCM_16", format="FLAC") as silence:
        for _ in range(20):
            silence.write(np.zeros((192_000, 8), np.int16))
    run = subprocess.run(
        [sys.executable, "-c", MEASURE_MEMORY, str(file)], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(run.stdout) < 70  # all channels have 123 MB, the decoded one has 15 MB


class TestChunks:
    def test_a_chunk_before_the_audio_is_skipped(self) -> None:
        """RAVDESS has a FLLR chunk there, which aligns the audio with a page of the disk."""
        filler = chunk(b"FLLR", bytes(4044))
        with_filler = decode_bytes(wav(SAMPLES, before_data=filler))
        assert np.array_equal(with_filler.samples, decode_bytes(wav(SAMPLES)).samples)

    def test_truncation_is_found_after_padded_odd_chunks(self) -> None:
        odd = chunk(b"note", b"odd")
        assert len(odd) == 12
        whole = wav(SAMPLES, before_data=odd, after_data=chunk(b"LIST", b"INFOISFT" + bytes(40)))
        assert np.array_equal(decode_bytes(whole).samples, decode_bytes(wav(SAMPLES)).samples)
        cut = wav(SAMPLES, before_data=odd)[:-1000]
        assert read_reason(cut) == "truncated: the header declares 8000 bytes of audio, the file holds 7000"

    def test_audio_of_odd_length_needs_no_padding(self) -> None:
        content = encode(SAMPLES[:3999], subtype="PCM_U8")[: 44 + 3999]
        assert len(decode_bytes(content).samples) == 3999


class TestStreams:
    def test_a_wav_of_unknown_length_is_read_to_its_end(self) -> None:
        streamed = wav(SAMPLES, declared=0xFFFFFFFF, riff_size=0xFFFFFFFF)
        assert np.array_equal(decode_bytes(streamed).samples, decode_bytes(wav(SAMPLES)).samples)


class TestRefusals:
    @pytest.mark.parametrize("missing", [1, 8000])
    def test_a_truncated_wav_is_refused(self, missing: int) -> None:
        expected = f"truncated: the header declares 8000 bytes of audio, the file holds {8000 - missing}"
        assert read_reason(wav(SAMPLES)[:-missing]) == expected

    def test_a_truncated_flac_is_refused(self) -> None:
        whole = encode(noise(2.0), format="FLAC")
        assert read_reason(whole[: len(whole) // 2])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_samples_that_are_not_finite_are_refused(self, bad: float) -> None:
        samples = SAMPLES.copy()
        samples[1234] = bad
        assert read_reason(encode(samples, subtype="FLOAT")) == "samples that are not finite (NaN or infinity)"

    def test_a_recording_longer_than_allowed_is_refused(self) -> None:
        assert read_reason(wav(noise(0.25)), max_seconds=0.2).startswith("too long: 0 s, at most 0.2 s")
        assert len(decode_bytes(wav(noise(0.25)), max_seconds=0.25).samples) == 4000


class TestResampling:
    @pytest.mark.parametrize(
        ("source", "length"), [(8000, 2048), (11_025, 4001), (16_000, 22_050), (44_100, 4001), (96_000, 2048)]
    )
    def test_resampling_equals_librosas(self, source: int, length: int) -> None:
        samples = noise(length / source, source)
        expected = librosa.resample(samples, orig_sr=source, target_sr=22_050, res_type="soxr_hq")
        resampled = resample(samples, source, 22_050)
        assert resampled.dtype == np.float32
        assert len(resampled) == -(-length * 22_050 // source)
        assert np.array_equal(resampled, expected)

    def test_an_equal_rate_changes_nothing(self) -> None:
        assert np.array_equal(resample(SAMPLES, 22_050, 22_050), SAMPLES)


class TestExamination:
    def find_rejection(self, folder: Path, name: str, content: bytes) -> str | None:
        with contextlib.suppress(OSError, ValueError):  # some names are impossible here
            (folder / name).write_bytes(content)
        result = examine(Job(name, name), FolderTree(folder), ExtractionConfig(MfccSet(), 20.0))
        assert (result.rejection is None) == bool(result.features)
        return result.rejection

    @pytest.mark.parametrize("name", ["a\0b.wav", "n" * 300 + ".wav"])
    def test_an_impossible_path_is_rejected(self, tmp_path: Path, name: str) -> None:
        assert self.find_rejection(tmp_path, name, wav(SAMPLES))

    @pytest.mark.parametrize("level", [1e12, 3e38])
    def test_features_are_finite_or_the_file_is_rejected(self, tmp_path: Path, level: float) -> None:
        """A damaged float WAV holds values of any size; their power overflows float32."""
        samples = (noise(0.25) * level).astype(np.float32)
        (tmp_path / "a.wav").write_bytes(encode(samples, subtype="FLOAT"))
        result = examine(Job("a", "a.wav"), FolderTree(tmp_path), ExtractionConfig(MfccSet(), 20.0))
        assert result.rejection or np.isfinite(result.features[0]).all()

    @pytest.mark.parametrize(("seconds", "rate"), [(0.05, 16_000), (0.09, 22_050)])
    def test_less_than_one_window_after_resampling_is_rejected(self, tmp_path: Path, seconds: float, rate: int) -> None:
        assert (self.find_rejection(tmp_path, "a.wav", wav(noise(seconds, rate), rate)) or "").startswith("too short")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("too short"), "too short"),
        (FileNotFoundError(2, "No such file or directory", "a.wav"), "cannot be read: No such file or directory"),
        (OSError("without a number"), "cannot be read: without a number"),
        (ValueError("embedded null byte"), "cannot be read: embedded null byte"),
    ],
)
def test_errors_become_reasons(error: AudioError | OSError | ValueError, reason: str) -> None:
    assert isinstance(error, RECORDING_ERRORS)
    assert explain_rejection(error) == reason
