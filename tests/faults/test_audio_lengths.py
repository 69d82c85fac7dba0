"""Every sample of a recording is read, or a remark or an error names the rest: all kinds of files and lengths."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from emodna.pipeline.audio import decode as audio
from emodna.pipeline.audio.decode import RecordingReader, decode
from tests.faults import audio_lengths as inputs
from tests.pipeline.making import noise, wav


def check(cases: Iterator[inputs.Case]) -> None:
    wrong = {}
    for case in cases:
        count, text = inputs.read(case)
        if count != case.count or (count is not None and bool(text) != case.remark) or "\n" in text:
            wrong[case.name] = count, case.count, text
    assert wrong == {}


@pytest.mark.parametrize("make", inputs.QUICK, ids=lambda make: make.__name__)
def test_every_sample_is_read_or_named(make: Callable[[], Iterator[inputs.Case]]) -> None:
    check(make())


@pytest.mark.slow
@pytest.mark.parametrize("make", [inputs.make_by_ffmpeg, inputs.make_by_lameenc], ids=lambda make: make.__name__)
def test_files_of_other_writers_are_read_to_their_end(make: Callable[[], Iterator[inputs.Case]]) -> None:
    check(make())


#: Predicts windows of the hour, and prints their number, the last end and the growth of peak memory in MB.
_PEAK_OF_WINDOWS = """
import resource, sys
from itertools import repeat
from emodna.model.inference.windows import Windows, cut
from emodna.pipeline.audio.decode import RecordingReader, resample_blocks

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)

with open(sys.argv[1], "rb") as stream:
    before = peak()
    reader = RecordingReader(stream, name=sys.argv[1])
    spans = Windows(4, 4).spans(reader.duration)
    count = sum(1 for _ in cut(resample_blocks(reader, reader.sample_rate, 22050), spans, 22050))
    print(count, spans[-1][1], peak() - before)
"""


@pytest.mark.slow
def test_an_hour_of_mp3_without_a_header_is_cut_into_all_its_windows_in_little_memory(tmp_path: Path) -> None:
    minute = np.concatenate([noise(20.0, level=0.3), np.zeros(30 * inputs.RATE, np.float32), noise(10.0, level=0.01)])
    mp3 = inputs.encode(minute, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    frames = inputs.split_mp3(mp3)[1:]
    (tmp_path / "hour.mp3").write_bytes(b"".join(frames) * 60)
    seconds = 60 * len(frames) * 576 / inputs.RATE
    command = [sys.executable, "-c", _PEAK_OF_WINDOWS, str(tmp_path / "hour.mp3")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    count, end, growth = map(float, ran.stdout.split())
    assert (count, end) == (-(-seconds // 4), seconds)
    assert growth < 60  # the samples have 230 MB


class TestReader:
    @pytest.mark.parametrize(
        ("make", "name"),
        [
            (inputs.make_wavs, "WAV, two ID3 before"),
            (inputs.make_flacs, "FLAC of unknown length + FLAC"),
            (inputs.make_oggs, "Ogg VORBIS, chain of 3"),
            (inputs.make_mp3s, "MP3 CONSTANT + tags + MP3"),
        ],
    )
    def test_a_file_on_disk_a_member_of_an_archive_and_memory_give_the_same_samples(
        self, make: Callable[[], Iterator[inputs.Case]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = next(case for case in make() if case.name == name)
        expected = decode(io.BytesIO(case.content), name=case.file)
        (tmp_path / case.file).write_bytes(case.content)
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / case.file, case.file)
        monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 4001)
        with (
            zipfile.ZipFile(tmp_path / "a.zip") as archive,
            archive.open(case.file) as member,
            (tmp_path / case.file).open("rb") as file,
        ):
            for stream in (io.BytesIO(case.content), file, member):
                reader = RecordingReader(stream, name=case.file)  # type: ignore[arg-type]
                assert reader.length == case.count
                assert np.array_equal(np.concatenate(list(reader)), expected.samples)
                assert tuple(reader.remarks) == expected.remarks

    def test_the_samples_of_a_chain_are_those_of_its_links(self) -> None:
        first, second = wav(noise(0.1)), wav(noise(0.2, seed="second"))
        both = decode(io.BytesIO(inputs.id3(100) + first + inputs.ID3V1 + second)).samples
        alone = [decode(io.BytesIO(each)).samples for each in (first, second)]
        assert np.array_equal(both, np.concatenate(alone))

    def test_the_limit_of_seconds_holds_for_all_parts_together(self) -> None:
        content = wav(noise(0.5)) * 3
        with pytest.raises(audio.AudioError, match="too long"):
            decode(io.BytesIO(content), max_seconds=1.4)
        assert decode(io.BytesIO(content), max_seconds=1.5).duration == 1.5
