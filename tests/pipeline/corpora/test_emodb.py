"""EMODB's file names."""

from pathlib import Path, PurePosixPath

import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Utterance
from tests.pipeline.corpora.builders import put


def test_a_name_tells_speaker_text_and_emotion() -> None:
    assert corpus("emodb").describe(PurePosixPath("wav/16b10Lb.wav")) == Utterance(
        id="16b10Lb",
        path="wav/16b10Lb.wav",
        speaker="16",
        gender="f",
        language="de",
        text="b10",
        emotion_code="L",
        emotion="boredom",
    )


@pytest.mark.parametrize("speaker", ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"])
def test_five_speakers_are_men(speaker: str) -> None:
    utterance = corpus("emodb").describe(PurePosixPath(f"{speaker}a01Fa.wav"))
    assert isinstance(utterance, Utterance)
    assert utterance.gender == ("m" if speaker in ("03", "10", "11", "12", "15") else "f")


@pytest.mark.parametrize("name", ["03a01Fa (1).wav", "03c01Fa.wav", "3a01Fa.wav", "03a01F.wav", "x03a01Fa.wav"])
def test_other_names_are_outside_the_grammar(name: str) -> None:
    assert corpus("emodb").describe(PurePosixPath(name)) is None


def test_release_1_3_0_lies_in_a_folder_of_its_own_beside_its_tables(tmp_path: Path) -> None:
    for path in ("emodb/wav/03a01Fa.wav", "emodb/db.emotion.csv", "emodb/db.files.csv", "emodb/db.yaml"):
        put(tmp_path / path)
    scan = corpus("emodb").scan(FolderTree(tmp_path))
    assert [(utterance.id, utterance.path) for utterance in scan.utterances] == [("03a01Fa", "emodb/wav/03a01Fa.wav")]
    assert scan.skipped == {}
