"""SAVEE's file names, in folders of speakers and behind their initials."""

from pathlib import Path, PurePosixPath

import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Skip, Utterance
from tests.pipeline.corpora.builders import put, savee_paths

CODES = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}


def described(path: str) -> Utterance | Skip | None:
    return corpus("savee").describe(PurePosixPath(path))


def flat(path: str) -> str:
    """AudioData/DC/a01.wav -> ALL/DC_a01.wav."""
    _, speaker, name = path.split("/")
    return f"ALL/{speaker}_{name}"


@pytest.mark.parametrize("path", ["AudioData/JK/sa07.wav", "ALL/JK_sa07.wav", "JK_sa07.wav", "JK/sa07.wav"])
def test_folder_and_name_or_the_name_alone_tell_all(path: str) -> None:
    assert described(path) == Utterance(
        id="JK_sa07",
        path=path,
        speaker="JK",
        gender="m",
        language="en",
        text="sa07",
        emotion_code="sa",
        emotion="sadness",
    )


@pytest.mark.parametrize("code", CODES)
def test_two_letters_are_read_before_one(code: str) -> None:
    utterance = described(f"DC/{code}01.wav")
    assert isinstance(utterance, Utterance)
    assert (utterance.emotion_code, utterance.emotion) == (code, CODES[code])


def test_the_flat_form_holds_the_same_utterances(tmp_path: Path) -> None:
    for path in list(savee_paths())[::4]:
        put(tmp_path / "foldered" / path)
        put(tmp_path / "flat" / flat(path))
    foldered, flattened = (
        [(u.id, u.emotion, u.speaker) for u in corpus("savee").scan(FolderTree(tmp_path / form)).utterances]
        for form in ("foldered", "flat")
    )
    assert len(foldered) == 120
    assert foldered == flattened


def test_both_forms_under_one_root_are_counted_once(tmp_path: Path) -> None:
    for path in list(savee_paths())[::4]:
        put(tmp_path / path)
        put(tmp_path / flat(path))
    scan = corpus("savee").scan(FolderTree(tmp_path))
    assert len(scan.utterances) == 120
    assert scan.skipped == {"second copy of an utterance": 120}


@pytest.mark.parametrize("path", ["a01.wav", "AudioData/a01.wav", "AudioData/XX/a01.wav", "ALL/XX_a01.wav"])
def test_a_name_without_one_of_the_four_speakers_is_left_out(path: str) -> None:
    assert described(path) == Skip("no speaker (DC, JE, JK, KL) before the name or as its folder")


@pytest.mark.parametrize("code", ["s", "b", "an", "us", "as"])
def test_other_codes_are_unknown(code: str) -> None:
    assert described(f"DC/{code}01.wav") == Skip(f"unknown emotion code {code}")


@pytest.mark.parametrize("name", ["a00", "a16", "su16", "n31", "n00"])
def test_other_numbers_are_unknown(name: str) -> None:
    assert described(f"DC/{name}.wav") == Skip(f"unknown number {name[-2:]} of emotion {name[:-2]}")


@pytest.mark.parametrize(
    "name", ["a1.wav", "a001.wav", "abc01.wav", "DC-a01.wav", "DC_a01 (1).wav", "D_a01.wav", "a\u0660\u0661.wav"]
)
def test_other_names_are_outside_the_grammar(name: str) -> None:
    assert described(f"AudioData/DC/{name}") is None
