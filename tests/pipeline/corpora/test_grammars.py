"""Tests of the file grammars of corpora: parsed names, skipped names."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path, PurePosixPath

import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Scan, Skip, Utterance
from tests.pipeline.corpora.builders import list_casia_paths, list_savee_paths, write_file


def describe_path(name: str, path: str) -> Utterance | Skip | None:
    return load_corpus(name).describe(PurePosixPath(path))  # type: ignore[attr-defined]


def scan_files(name: str, root: Path, paths: Iterable[str]) -> Scan:
    for path in paths:
        write_file(root / path)
    return load_corpus(name).scan(FolderTree(root))


def make_utterance(path: str, id: str, speaker: str, gender: str, language: str, text: str, *emotion: str) -> Utterance:
    intensity, code, category = (None, *emotion)[-3:]
    return Utterance(id, path, speaker, gender, language, text, intensity, code, category)  # type: ignore[arg-type]


EXAMPLES = [
    ("casia", make_utterance("CASIA/wangzhe/surprise/207.wav", "wangzhe-surprise-207", "wangzhe", "m", "zh", "207",
                        "surprise", "surprise")),
    ("emodb", make_utterance("wav/16b10Lb.wav", "16b10Lb", "16", "f", "de", "b10", "L", "boredom")),
    ("emovo", make_utterance("EMOVO/f1/rab-f1-b1.wav", "rab-f1-b1", "f1", "f", "it", "b1", "rab", "anger")),
    ("ravdess", make_utterance("Actor_12/03-01-06-02-01-02-12.wav", "03-01-06-02-01-02-12", "12", "f", "en", "01",
                          "strong", "06", "fear")),
    *(("savee", make_utterance(path, "JK_sa07", "JK", "m", "en", "sa07", "sa", "sadness"))
      for path in ("AudioData/JK/sa07.wav", "ALL/JK_sa07.wav", "JK_sa07.wav")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), EXAMPLES, ids=[f"{name} {each.path}" for name, each in EXAMPLES])
def test_a_path_is_parsed_to_an_utterance(name: str, expected: Utterance) -> None:
    assert describe_path(name, expected.path) == expected


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("casia", "angry/201.wav", "no speaker folder above the emotion folder"),
        ("casia", "wangzhe/angry/200.wav", "number outside 201 to 250, the free part"),
        ("emovo", "f4/rab-f4-b1.wav", "unknown speaker f4"),
        ("emovo", "f1/rab-f1-b4.wav", "unknown sentence b4"),
        ("ravdess", "03-02-05-01-01-01-01.wav", "song (vocal channel 02)"),
        ("ravdess", "01-01-05-01-01-01-01.wav", "modality 01, not audio only (03)"),
        *(
            ("savee", path, "no speaker (DC, JE, JK, KL) at the start of the name or as its folder")
            for path in ("a01.wav", "AudioData/a01.wav", "AudioData/XX/a01.wav", "ALL/XX_a01.wav")
        ),
        *(("savee", f"DC/{code}01.wav", f"unknown emotion code {code}") for code in ("s", "an", "us")),
        *(
            ("savee", f"DC/{name}.wav", f"unknown number {name[-2:]} of emotion {name[:-2]}")
            for name in ("a00", "su16")
        ),
        ("savee", "DC/n31.wav", "unknown number 31 of emotion n"),
    ],
)
def test_other_files_of_a_corpus_are_skipped_with_a_reason(name: str, path: str, reason: str) -> None:
    assert describe_path(name, path) == Skip(reason)


@pytest.mark.parametrize(
    ("name", "folder", "names"),
    [
        ("casia", "a/sad", "0201 x201 201-sad"),
        ("casia", "wangzhe", "201"),
        ("emodb", "wav", "03a01Fa(1) 03c01Fa 3a01Fa 03a01F x03a01Fa"),
        ("emovo", "f1", "rab-f1 rab-f1-b1-2 rabbia-f1-b1 rab_f1_b1"),
        ("ravdess", "Actor_01", "03-01-05-01-01-01 03-01-05-01-01-01-01copy 03_01_05_01_01_01_01"),
        ("savee", "AudioData/DC", "a1 a001 abc01 DC-a01 DC_a01(1) D_a01 a\u0660\u0661"),
    ],
)
def test_other_names_are_not_in_the_grammar(name: str, folder: str, names: str) -> None:
    for each in names.split():
        assert describe_path(name, f"{folder}/{each}.wav") is None, each


@pytest.mark.parametrize(
    ("name", "form", "men", "women"),
    [
        ("casia", "{}/sad/201.wav", "wangzhe zhaozuoxiang ZhaoZuoxiang zhaoziwen", "liuchanhg zhaoquanyin"),
        ("emodb", "{}a01Fa.wav", "03 10 11 12 15", "08 09 13 14 16"),
        ("emovo", "rab-{}-b1.wav", "m1 m2 m3", "f1 f2 f3"),
        ("ravdess", "03-01-01-01-01-01-{}.wav", "01 03 23", "02 04 24"),
    ],
)
def test_speakers_have_a_gender(name: str, form: str, men: str, women: str) -> None:
    for gender, speakers in (("m", men), ("f", women)):
        for speaker in speakers.split():
            found = describe_path(name, form.format(speaker))
            assert isinstance(found, Utterance)
            assert found.gender == gender


class TestCasia:
    def test_unknown_speakers_have_no_gender_and_spellings_of_one_speaker_are_merged(self, tmp_path: Path) -> None:
        found = describe_path("casia", "speaker 4/sad/201.wav")
        assert isinstance(found, Utterance)
        assert (found.speaker, found.gender) == ("speaker 4", None)
        scan = scan_files("casia", tmp_path, ["zhaoziwen/fear/250.wav", "ZhaoZuoxiang/fear/250.wav"])
        assert [each.id for each in scan.utterances] == ["zhaozuoxiang-fear-250"]
        assert scan.skipped == {"second copy of an utterance": 1}

    def test_copies_with_emotion_folders_only_have_the_same_utterances(self, tmp_path: Path) -> None:
        paths = [(path, *path.removesuffix(".wav").split("/")) for path in list(list_casia_paths())[::10]]
        by_speaker = scan_files("casia", tmp_path / "speakers", [path for path, *_ in paths])
        by_emotion = scan_files("casia", tmp_path / "emotions", [f"{e}/{n}-{e}-{s}.wav" for _, s, e, n in paths])
        assert len(by_speaker) == 120
        assert by_speaker.table.drop_columns("path") == by_emotion.table.drop_columns("path")

    def test_the_full_corpus_is_reported_and_only_its_free_part_used(self, tmp_path: Path) -> None:
        speakers = ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")
        paths = product(speakers, ("angry", "sad"), (1, 200, 201, 250, 251, 400))
        scan = scan_files("casia", tmp_path, ["{}/{}/{}.wav".format(*path) for path in paths])
        assert {each.text for each in scan.utterances} == {"201", "250"}
        assert scan.skipped == {"number outside 201 to 250, the free part": 32}
        assert "skipped 32 utterances" in load_corpus("casia").find_differences(scan, {16_000: 16})[0]


def test_emodb_1_3_0_has_an_extra_folder_with_tables(tmp_path: Path) -> None:
    paths = ["emodb/wav/03a01Fa.wav", "emodb/db.emotion.csv", "emodb/db.files.csv", "emodb/db.yaml"]
    scan = scan_files("emodb", tmp_path, paths)
    assert [(each.id, each.path) for each in scan.utterances] == [("03a01Fa", "emodb/wav/03a01Fa.wav")]
    assert scan.skipped == {}


def test_the_flat_layout_of_savee_has_the_same_utterances(tmp_path: Path) -> None:
    nested = list(list_savee_paths())[::4]
    flat = ["ALL/{1}_{2}".format(*path.split("/")) for path in nested]
    nested_scan, flat_scan = (scan_files("savee", tmp_path / paths[0][:2], paths) for paths in (nested, flat))
    assert len(nested_scan) == 120
    assert nested_scan.table.drop_columns("path") == flat_scan.table.drop_columns("path")
    both = scan_files("savee", tmp_path / "both", [*nested, *flat])
    assert len(both) == 120
    assert both.skipped == {"second copy of an utterance": 120}
