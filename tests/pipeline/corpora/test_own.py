"""Tests of folders and archives of a user's own recordings: formats, ids, corpus names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.audio import AUDIO_SUFFIXES
from emodna.pipeline.corpora.own import Recordings, derive_name
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from tests.pipeline.archives.packing import pack
from tests.pipeline.corpora.builders import write_file
from tests.pipeline.making import age, noise, prepare_corpus, wav

#: Suffix -> format and subtype of libsndfile.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "FLOAT"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
RATES = (8000, 16_000, 44_100, 48_000)


def write_recording(path: Path, rate: int, channels: int, *, seconds: float = 0.4) -> None:
    kind, subtype = FORMATS[path.suffix[1:].lower()]
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    voice = 0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(np.pi * time / seconds)
    other = noise(seconds, rate)[: len(time)]
    samples = np.round(32767 * np.stack([voice, other][:channels], axis=1)).astype(np.int16)
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)


class TestFormats:
    def test_recordings_of_any_format_and_rate_become_utterances(self, tmp_path: Path) -> None:
        written = {}
        for number, suffix in enumerate(FORMATS):
            rate = 48_000 if suffix == "opus" else RATES[number % len(RATES)]  # Opus supports few rates
            for channels in (1, 2):
                path = f"{suffix}/{rate} Hz/{channels}.{suffix}"
                write_recording(tmp_path / "mine" / path, rate, channels)
                written[path] = (rate, channels)
        report = prepare_corpus(tmp_path / "mine", tmp_path / "cache", Recordings(tmp_path / "mine", "mine"))
        assert report.rejections == []
        store = FeatureStore(report.store)
        rows = store.table.to_pylist()
        assert {row["id"]: (row["sample_rate"], row["channels"]) for row in rows} == written
        features = dict(zip(store.ids, store, strict=True))
        for row in rows:
            id, rate = row["path"], row["sample_rate"]
            assert row["id"] == id
            assert row["duration"] == pytest.approx(0.4, abs=0.1)  # compressed formats pad their last frame
            assert row["frames"] == 1 + -(-round(row["duration"] * rate) * 22_050 // rate) // 512
            assert {row[name] for name in ("emotion", "arousal", "valence", "speaker", "gender", "language")} == {None}
            # Features come from the first channel, the voice; lossy formats mix the second into it.
            if FORMATS[Path(id).suffix[1:]][1] in ("PCM_16", "FLOAT"):
                np.testing.assert_allclose(features[id], features[id.replace("/2.", "/1.")], atol=1e-3)

    def test_recordings_are_found_by_suffix_in_any_case(self, tmp_path: Path) -> None:
        for name in ("a.WAV", "b.Flac", "c.ogg", "d.MP3", "e.txt", "f.wav.bak", "g", "h.csv", "wav"):
            write_file(tmp_path / name)
        paths = [each.path for each in Recordings(tmp_path, "mine").scan(FolderTree(tmp_path)).utterances]
        assert paths == ["a.WAV", "b.Flac", "c.ogg", "d.MP3"]
        assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)


def test_names_that_differ_in_suffix_or_case_are_different_utterances(tmp_path: Path) -> None:
    names = ["a.wav", "A.wav", "a.flac", "b/a.wav", "a b.wav", "ä.wav", "a\u0308.wav"]
    members = {name: wav(noise(seed=name)) for name in names}
    age([pack(tmp_path / "mine.zip", members)])
    report = prepare_corpus(tmp_path / "mine.zip", tmp_path / "cache", Recordings(tmp_path / "mine.zip", "mine"))
    assert sorted(FeatureStore(report.store).ids) == sorted(names)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("My Calls.zip", "my-calls"),
        ("calls.tar.gz", "calls"),
        ("calls.2024.TGZ", "calls-2024"),
        ("_-calls-_.zip", "calls"),
        ("日本.tar", "own"),
    ],
)
def test_a_corpus_is_named_after_its_archive(place: str, name: str) -> None:
    assert derive_name(Path(place)) == name


@pytest.mark.parametrize(("folder", "name"), [("v1.2 calls", "v1-2-calls"), ("calls.zip", "calls-zip"), ("...", "own")])
def test_a_corpus_is_named_after_its_folder_even_the_current_one(
    folder: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir()
    assert derive_name(tmp_path / folder) == name
    monkeypatch.chdir(tmp_path / folder)
    assert derive_name(Path()) == name


@pytest.mark.parametrize("name", ["", "My Calls", "a/b", "..", "-x", "ü", "a\n", "all"])
def test_an_invalid_name_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        Recordings(tmp_path, name)
    assert (caught.value.field, caught.value.value) == ("name", name)
