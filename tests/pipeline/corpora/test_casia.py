"""CASIA's folders, and the free part of it."""

from itertools import product
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Skip, Utterance
from tests.pipeline.corpora.builders import casia_paths, put


def described(path: str) -> Utterance | Skip | None:
    return corpus("casia").describe(PurePosixPath(path))


def test_folders_tell_speaker_and_emotion() -> None:
    assert described("CASIA/wangzhe/surprise/207.wav") == Utterance(
        id="wangzhe-surprise-207",
        path="CASIA/wangzhe/surprise/207.wav",
        speaker="wangzhe",
        gender="m",
        language="zh",
        text="207",
        emotion_code="surprise",
        emotion="surprise",
    )


@pytest.mark.parametrize(
    ("folder", "speaker", "gender"),
    [
        ("liuchanhg", "liuchanhg", "f"),
        ("wangzhe", "wangzhe", "m"),
        ("zhaoquanyin", "zhaoquanyin", "f"),
        ("zhaozuoxiang", "zhaozuoxiang", "m"),
        ("ZhaoZuoxiang", "zhaozuoxiang", "m"),
        ("zhaoziwen", "zhaozuoxiang", "m"),
        ("speaker 4", "speaker 4", None),
    ],
)
def test_a_speaker_may_have_any_name_and_the_fourth_has_several(folder: str, speaker: str, gender: str | None) -> None:
    utterance = described(f"{folder}/Sad/201.wav")
    assert isinstance(utterance, Utterance)
    assert (utterance.id, utterance.speaker, utterance.gender) == (f"{speaker}-sad-201", speaker, gender)


def test_two_copies_that_spell_the_fourth_speaker_differently_are_counted_once(tmp_path: Path) -> None:
    for folder in ("zhaoziwen", "ZhaoZuoxiang"):
        put(tmp_path / folder / "fear" / "250.wav")
    scan = corpus("casia").scan(FolderTree(tmp_path))
    assert [utterance.id for utterance in scan.utterances] == ["zhaozuoxiang-fear-250"]
    assert scan.skipped == {"second copy of an utterance": 1}


def test_copies_sorted_by_emotion_alone_hold_the_same_utterances(tmp_path: Path) -> None:
    for path in list(casia_paths())[::10]:
        speaker, emotion, name = path.split("/")
        put(tmp_path / "speakers" / path)
        put(tmp_path / "emotions" / emotion / f"{Path(name).stem}-{emotion}-{speaker}.wav")
    by_speaker, by_emotion = (
        [(u.id, u.emotion, u.speaker) for u in corpus("casia").scan(FolderTree(tmp_path / form)).utterances]
        for form in ("speakers", "emotions")
    )
    assert len(by_speaker) == 120
    assert by_speaker == by_emotion


def test_a_file_without_a_speaker_is_left_out_and_counted(tmp_path: Path) -> None:
    for path in ("wangzhe/angry/201.wav", "angry/201.wav", "sad/250.wav"):
        put(tmp_path / path)
    scan = corpus("casia").scan(FolderTree(tmp_path))
    assert [utterance.id for utterance in scan.utterances] == ["wangzhe-angry-201"]
    assert scan.skipped == {"no speaker folder above the emotion folder": 2}


def test_the_full_corpus_is_named_and_only_its_free_part_used(tmp_path: Path) -> None:
    speakers = ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")
    emotions = ("angry", "fear", "happy", "neutral", "sad", "surprise")
    for speaker, emotion, number in product(speakers, emotions, range(196, 256)):
        put(tmp_path / speaker / emotion / f"{number}.wav")
    scan = corpus("casia").scan(FolderTree(tmp_path))
    assert len(scan.utterances) == 1200
    assert {utterance.text for utterance in scan.utterances} == {str(number) for number in range(201, 251)}
    assert scan.skipped == {"number outside 201 to 250, the free part": 240}
    (line,) = corpus("casia").differences(scan, {16_000: 1200})
    assert line.startswith("240 utterances beyond the free 1200")


@pytest.mark.parametrize(
    "path", ["201.wav", "wangzhe/201.wav", "a/sad/0201.wav", "a/sad/x201.wav", "a/sad/201-sad.wav"]
)
def test_other_names_are_outside_the_grammar(path: str) -> None:
    assert described(path) is None


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), st.integers(0, 999))
def test_any_folder_is_a_speaker(folder: str, number: int) -> None:
    found = described(str(PurePosixPath("root", folder, "happy", f"{number:03d}.wav")))
    if 201 <= number <= 250:
        assert isinstance(found, Utterance)
        assert found.id.endswith(f"-happy-{number}")
    else:
        assert found == Skip("number outside 201 to 250, the free part")
