"""RAVDESS's file names: the spoken part alone."""

from pathlib import Path, PurePosixPath

import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Utterance
from tests.pipeline.corpora.builders import put


def test_a_name_tells_all() -> None:
    assert corpus("ravdess").describe(PurePosixPath("Actor_12/03-01-06-02-01-02-12.wav")) == Utterance(
        id="03-01-06-02-01-02-12",
        path="Actor_12/03-01-06-02-01-02-12.wav",
        speaker="12",
        gender="f",
        language="en",
        text="01",
        intensity="strong",
        emotion_code="06",
        emotion="fear",
    )


@pytest.mark.parametrize("actor", [1, 2, 23, 24])
def test_odd_actors_are_men(actor: int) -> None:
    utterance = corpus("ravdess").describe(PurePosixPath(f"03-01-01-01-01-01-{actor:02d}.wav"))
    assert isinstance(utterance, Utterance)
    assert utterance.gender == ("m" if actor % 2 else "f")
    assert utterance.intensity == "normal"


def test_songs_and_the_sound_of_videos_are_left_out_and_counted(tmp_path: Path) -> None:
    speech = "Actor_01/03-01-05-01-01-01-01.wav"
    songs = [f"Actor_01/03-02-05-0{intensity}-01-01-01.wav" for intensity in (1, 2)]
    videos = ["Actor_01/01-01-05-01-01-01-01.wav", "Actor_01/02-01-05-01-01-01-01.wav"]
    for path in (speech, *songs, *videos):
        put(tmp_path / path)
    scan = corpus("ravdess").scan(FolderTree(tmp_path))
    assert [utterance.path for utterance in scan.utterances] == [speech]
    assert sum(count for reason, count in scan.skipped.items() if "song" in reason) == 2
    assert sum(count for reason, count in scan.skipped.items() if "audio only" in reason) == 2


@pytest.mark.parametrize("name", ["03-01-05-01-01-01.wav", "03-01-05-01-01-01-01 copy.wav", "03_01_05_01_01_01_01.wav"])
def test_other_names_are_outside_the_grammar(name: str) -> None:
    assert corpus("ravdess").describe(PurePosixPath(name)) is None
