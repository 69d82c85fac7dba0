"""Every sample of a recording is read, or a remark or an error names the rest: all kinds of files and lengths."""

from __future__ import annotations

import io
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
