"""Decode formats that libsndfile cannot read by ffmpeg, or say that only ffmpeg reads them."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emodna.pipeline.archives import open_tree
from emodna.pipeline.audio import decode as decoding
from emodna.pipeline.audio import ffmpeg
from emodna.pipeline.audio.decode import RecordingReader, decode
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import AudioError, EmodnaError, WorkerError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.cluster import check_versions
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store.snapshot import read_snapshot
from tests.pipeline.making import noise, prepare_corpus, wav

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")

#: First bytes -> word in the error.
HEADERS = {
    b"\0\0\0\x1cftypM4A ": "m4a",
    b"\0\0\0\x14ftypqt  ": "m4a",
    b"\0\0\0\x08wide\0\0\0\0mdat": "m4a",
    b"\x1aE\xdf\xa3\x9fB\x86\x81": "WebM",
    b"#!AMR\n\x3c": "AMR",
    b"#!AMR-WB\n": "AMR",
    b"\xff\xf1\x60\x40\x3d\xff\xfc": "AAC",
    b"ID3\x04\0\0\0\0\0\x05hello\xff\xf9\x60\x40": "AAC",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9": "Windows Media",
    b"RIFF\x1c\0\0\0AVI LIST": "AVI",
}
#: File name -> options of ffmpeg's encoder, rate in Hz.
ENCODERS = {
    "alac.m4a": ("-c:a alac", 16_000),
    "stereo.m4a": ("-c:a alac -af pan=stereo|c1=c0", 16_000),
    "fast.m4a": ("-c:a alac -movflags +faststart", 16_000),
    "video.mp4": ("-c:a aac", 16_000),
    "a.aac": ("-c:a aac", 16_000),
    "a.webm": ("-c:a libopus", 48_000),
    "a.wma": ("-c:a wmav2", 16_000),
    "a.3gp": ("-c:a aac", 16_000),
    "a.mka": ("-c:a flac", 16_000),
    "wma-in.wav": ("-c:a wmav2", 16_000),
}
SAMPLES = noise(1.0)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the recording a.wav in all formats of `ENCODERS`."""
    folder = tmp_path_factory.mktemp("encoded")
    (folder / "a.wav").write_bytes(wav(SAMPLES))
    outputs = [word for name, (options, _) in ENCODERS.items() for word in (*options.split(), name)]
    subprocess.run(["ffmpeg", "-v", "error", "-i", "a.wav", *outputs], cwd=folder, check=True)
    return folder


def read_problem(content: bytes | Path, *, allow: bool = True, **options: float) -> str:
    stream = BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    with stream, pytest.raises(AudioError) as caught:
        decode(stream, ffmpeg=allow, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("header", HEADERS, ids=HEADERS.values())
def test_without_ffmpeg_the_format_is_recognised_by_content_and_the_remedy_is_named(header: bytes) -> None:
    problem = read_problem(header + bytes(2000), allow=False)
    assert HEADERS[header] in problem
    assert "ffmpeg" in problem


@needs_ffmpeg
class TestDecoding:
    @pytest.mark.parametrize("name", ENCODERS)
    def test_every_format_is_decoded_at_its_rate_to_its_end(self, encoded: Path, name: str) -> None:
        with (encoded / name).open("rb") as stream:
            recording = decode(stream, ffmpeg=True)
        assert recording.sample_rate == ENCODERS[name][1]
        assert recording.channels == (2 if name == "stereo.m4a" else 1)
        assert recording.duration == pytest.approx(1.0, abs=0.13)  # whole frames of the codec

    @pytest.mark.parametrize("name", ["alac.m4a", "fast.m4a", "a.mka"])
    def test_a_lossless_format_gives_the_samples_of_the_wav(self, encoded: Path, name: str) -> None:
        expected = decode(BytesIO((encoded / "a.wav").read_bytes())).samples
        with zipfile.ZipFile(encoded / f"{name}.zip", "w") as archive:
            archive.write(encoded / name, name)
        with (encoded / name).open("rb") as file, open_tree(encoded / f"{name}.zip", (".wav",)).open(name) as member:
            for stream in (file, member):
                np.testing.assert_array_equal(decode(stream, ffmpeg=True).samples, expected)

    def test_a_long_recording_is_decoded_in_blocks(self, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "_KEPT_SAMPLES", 100)
        with (encoded / "stereo.m4a").open("rb") as stream:
            reader = RecordingReader(stream, channel=1, ffmpeg=True)
            assert reader.duration == 1.0
            blocks = list(reader)
        assert len(blocks) > 1
        np.testing.assert_array_equal(np.concatenate(blocks), soundfile.read(encoded / "a.wav", dtype="float32")[0])

    @pytest.mark.parametrize("name", ["fast.m4a", "alac.m4a", "a.aac", "a.webm", "a.wma"])
    def test_a_truncated_file_is_an_error(self, encoded: Path, name: str) -> None:
        content = (encoded / name).read_bytes()
        assert "ffmpeg" in read_problem(content[: len(content) // 2])

    def test_other_problems_are_errors_of_the_recording(self, encoded: Path) -> None:
        assert "too long" in read_problem(encoded / "alac.m4a", max_seconds=0.5)
        assert "no channel 2" in read_problem(encoded / "stereo.m4a", channel=2)
        picture = ["-f", "lavfi", "-i", "color=s=16x16:d=0.1", "-y", "silent.mp4"]
        subprocess.run(["ffmpeg", "-v", "error", *picture], cwd=encoded, check=True)
        assert "no audio track" in read_problem(encoded / "silent.mp4")
        for header in (b"\0\0\0\x1cftypM4A ", b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11"):
            assert "ffmpeg" in read_problem(header + noise(0.1).tobytes())

    def test_its_version_belongs_to_those_that_affect_features(self) -> None:
        version = ffmpeg.read_ffmpeg_version()
        extraction = ExtractionConfig(MfccSet(), ffmpeg=True)
        assert extraction.get_versions()["ffmpeg"] == extraction.read_all_versions()["ffmpeg"] == version
        assert "ffmpeg" not in ExtractionConfig(MfccSet()).read_all_versions()

    def test_its_version_stays_in_a_store_whose_reused_recordings_it_decoded(
        self, encoded: Path, tmp_path: Path
    ) -> None:
        for paths, allow in (("alac.m4a\n", True), ("alac.m4a\na.wav\n", False)):
            (tmp_path / "t.csv").write_text("path\n" + paths)
            report = prepare_corpus(encoded, tmp_path / "cache", Manifest(tmp_path / "t.csv", "t"), ffmpeg=allow)
        assert (report.reused, report.extracted) == (1, 1)
        assert read_snapshot(report.store).libraries["ffmpeg"] == ffmpeg.read_ffmpeg_version()


class TestProgram:
    """Other programs named ffmpeg: none, one that hangs, one that never ends."""

    HEADER = r"printf '.snd\0\0\0\030\377\377\377\377\0\0\0\006\0\0\076\200\0\0\0\001'; "

    @pytest.fixture
    def install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
        def write(script: str) -> None:
            (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "ffmpeg").chmod(0o755)

        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setattr(ffmpeg, "_STALL_SECONDS", 0.3)
        ffmpeg.read_ffmpeg_version.cache_clear()
        yield write
        ffmpeg.read_ffmpeg_version.cache_clear()

    @pytest.mark.parametrize(
        ("script", "problem"),
        [
            ("exec sleep 60", "no samples for"),
            (HEADER + "exec sleep 60", "no samples for"),
            ("yes error >&2", "no samples for"),
            (HEADER + "exec cat /dev/zero", "too long"),
            (HEADER + "printf '\\0\\0\\0\\0'; echo partial file >&2", "partial file"),
            (HEADER + "exit 3", "exit status 3"),
            ("kill -9 $$", "exit status -9"),
            ("echo something else", "no samples"),
        ],
    )
    def test_no_program_runs_for_ever(self, install: object, script: str, problem: str) -> None:
        install(script)  # type: ignore[operator]
        assert problem in read_problem(b"#!AMR\n" + bytes(50), max_seconds=10.0)

    @pytest.mark.parametrize("script", [None, "echo another program", "exit 1"])
    def test_a_missing_or_other_program_is_one_error(
        self, install: object, script: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if script is None:
            monkeypatch.setenv("PATH", "/nowhere")
            assert "PATH" in read_problem(b"#!AMR\n" + bytes(50))
        else:
            install(script)  # type: ignore[operator]
        with pytest.raises(EmodnaError) as caught:
            ExtractionConfig(MfccSet(), ffmpeg=True)
        assert caught.value.field == "ffmpeg"

    def test_a_worker_with_another_version_is_refused(self, install: object, monkeypatch: pytest.MonkeyPatch) -> None:
        install("echo ffmpeg version 1.0 here")  # type: ignore[operator]
        monkeypatch.setattr("emodna.pipeline.prepare.cluster.get_worker_name", lambda: "worker")
        versions = ExtractionConfig(MfccSet(), ffmpeg=True).get_versions()
        check_versions(versions)
        with pytest.raises(WorkerError, match=r"ffmpeg 1\.0"):
            check_versions(versions | {"ffmpeg": "2.0"})
