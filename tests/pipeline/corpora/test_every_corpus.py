"""One harness over every registered corpus: what is published of it has to come out of its file names."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import CORPORA, corpus
from emodna.pipeline.corpora.base import Scan
from emodna.pipeline.emotions import AROUSAL, EMOTIONS, VALENCE
from emodna.pipeline.errors import CorpusError
from tests.pipeline.corpora.builders import BUILDERS, Builder, put

NAMES = sorted(CORPORA)


def test_every_registered_corpus_is_tested_here() -> None:
    assert set(BUILDERS) == set(CORPORA)


def test_an_unknown_corpus_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(CorpusError, match="unknown; valid: " + ", ".join(NAMES)):
        corpus("berlin")


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def full(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BUILDERS[name].build(tmp_path_factory.mktemp(name))


@pytest.fixture
def builder(name: str) -> Builder:
    return BUILDERS[name]


@pytest.fixture
def root(name: str, tmp_path: Path) -> Path:
    """A root with a single utterance, to put something beside it."""
    BUILDERS[name].add(tmp_path, BUILDERS[name].example)
    return tmp_path


@pytest.fixture(scope="module")
def full_scan(name: str, full: Path) -> Scan:
    return scan_of(name, full)


def scan_of(name: str, root: Path) -> Scan:
    return corpus(name).scan(FolderTree(root))


def test_it_has_the_published_size(full_scan: Scan, builder: Builder) -> None:
    assert len(full_scan.utterances) == builder.published.utterances
    assert full_scan.skipped == builder.left_out


def test_it_has_the_published_emotions(full_scan: Scan, builder: Builder) -> None:
    emotions = Counter(utterance.emotion for utterance in full_scan.utterances)
    assert emotions == builder.published.emotions
    assert set(emotions) <= set(EMOTIONS)


def test_it_has_the_published_class_balance(full_scan: Scan, builder: Builder) -> None:
    emotions = [utterance.emotion or "" for utterance in full_scan.utterances]
    size = builder.published.utterances
    arousal, valence = Counter(AROUSAL[e] for e in emotions), Counter(VALENCE[e] for e in emotions)
    assert (arousal[1], arousal[0]) == (builder.published.high, size - builder.published.high)
    assert (valence[1], valence[0]) == (builder.published.positive, size - builder.published.positive)


def test_it_has_the_published_speakers(full_scan: Scan, builder: Builder) -> None:
    speakers = {(utterance.speaker, utterance.gender) for utterance in full_scan.utterances}
    genders = Counter(gender for _, gender in speakers)
    assert (genders["f"], genders["m"]) == (builder.published.women, builder.published.men)
    assert len(speakers) == builder.published.women + builder.published.men


def test_every_utterance_has_its_language_and_its_code(name: str, full_scan: Scan, builder: Builder) -> None:
    utterances = full_scan.utterances
    assert {utterance.language for utterance in utterances} == {builder.published.language}
    codes = {(utterance.emotion_code, utterance.emotion) for utterance in utterances}
    assert all(code for code, _ in codes)
    assert codes <= set(corpus(name).facts.emotions.items())


def test_ids_are_unique_and_in_order_and_lead_to_the_files(full_scan: Scan, builder: Builder) -> None:
    utterances = full_scan.utterances
    ids = [utterance.id for utterance in utterances]
    assert ids == sorted(set(ids))
    assert {utterance.path for utterance in utterances} == set(builder.paths())


def test_moving_the_corpus_or_wrapping_it_in_folders_keeps_its_ids_and_labels(
    name: str, full: Path, tmp_path: Path
) -> None:
    wrapped = tmp_path / "some where" / "download (1)" / "data"
    shutil.copytree(full, wrapped, copy_function=os.link)
    here, there = (
        [(u.id, u.emotion, u.speaker, u.gender, u.text) for u in scan_of(name, root).utterances]
        for root in (full, tmp_path)
    )
    assert here == there


def test_a_second_copy_nested_below_is_not_counted_twice(
    name: str, full: Path, tmp_path: Path, builder: Builder
) -> None:
    shutil.copytree(full, tmp_path / "all", copy_function=os.link)
    shutil.copytree(full, tmp_path / "all" / "a_copy", copy_function=os.link)
    scan = scan_of(name, tmp_path / "all")
    assert {utterance.path for utterance in scan.utterances} == set(builder.paths())
    recordings = builder.published.utterances + sum(builder.left_out.values())
    assert scan.skipped == {"second copy of an utterance": recordings, **builder.left_out}


@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_names_that_changed_case_on_their_way_are_the_same_utterances(
    name: str, spell: Callable[[str], str], tmp_path: Path, builder: Builder
) -> None:
    """Some file systems and archivers do that; an id must not depend on them."""
    for path in list(builder.paths())[::50]:
        builder.add(tmp_path / "same", path)
        builder.add(tmp_path / "changed", path, spell)
    same, changed = (
        {(u.id, u.emotion, u.speaker) for u in scan_of(name, tmp_path / folder).utterances}
        for folder in ("same", "changed")
    )
    assert changed == same


def test_side_files_of_macos_and_hidden_folders_are_passed_over(name: str, root: Path, builder: Builder) -> None:
    example = Path(builder.example)
    put(root / example.with_name(f"._{example.name}"))
    put(root / "__MACOSX" / example.with_name(f"._{example.name}"))
    put(root / "__MACOSX" / example)
    builder.add(root / ".trash", builder.unknown)
    scan = scan_of(name, root)
    assert [utterance.path for utterance in scan.utterances] == [builder.example]
    assert scan.skipped == {}


def test_files_that_are_not_audio_are_passed_over(name: str, root: Path) -> None:
    for stranger in ("readme.txt", "labels.csv", "Info.txt", "wav/notes.pdf"):
        put(root / stranger)
    assert scan_of(name, root).skipped == {}


def test_an_unknown_emotion_code_is_left_out_and_counted(name: str, root: Path, builder: Builder) -> None:
    builder.add(root, builder.unknown)
    scan = scan_of(name, root)
    assert len(scan.utterances) == 1
    (reason,) = scan.skipped
    assert "unknown emotion code" in reason


def test_a_foreign_audio_file_is_left_out_and_counted(name: str, root: Path) -> None:
    put(root / "Beep.wav")
    put(root / "more" / "test tone.WAV")
    scan = scan_of(name, root)
    assert len(scan.utterances) == 1
    assert scan.skipped == {"file name outside the corpus's grammar": 2}


def test_the_wrong_corpus_is_refused_by_what_was_found_and_what_was_expected(
    name: str, tmp_path: Path, builder: Builder
) -> None:
    for other in set(NAMES) - {name}:
        root = tmp_path / other
        BUILDERS[other].add(root, BUILDERS[other].example)
        with pytest.raises(CorpusError) as refused:
            scan_of(name, root)
        text = str(refused.value)
        assert str(root) in text
        assert BUILDERS[other].example in text
        assert builder.layout in text
        assert "\n" not in text


def test_an_empty_root_is_refused_by_the_expected_layout(name: str, tmp_path: Path, builder: Builder) -> None:
    with pytest.raises(CorpusError) as refused:
        scan_of(name, tmp_path)
    assert "no .wav file" in str(refused.value)
    assert builder.layout in str(refused.value)


def test_nothing_but_unknown_codes_is_refused_by_their_number(name: str, tmp_path: Path, builder: Builder) -> None:
    builder.add(tmp_path, builder.unknown)
    with pytest.raises(CorpusError, match="1 x unknown emotion code"):
        scan_of(name, tmp_path)


def test_the_published_corpus_differs_in_nothing(name: str, full_scan: Scan, builder: Builder) -> None:
    rates = {builder.published.sample_rate: builder.published.utterances}
    assert corpus(name).differences(full_scan, rates) == []


def test_a_partial_copy_is_named_by_what_is_missing(
    name: str, full: Path, full_scan: Scan, tmp_path: Path, builder: Builder
) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(full, partial, copy_function=os.link)
    (partial / builder.example).unlink()
    size = builder.published.utterances
    scan = scan_of(name, partial)
    emotion = next(u.emotion for u in full_scan.utterances if u.path == builder.example and u.emotion is not None)
    count = builder.published.emotions[emotion]
    assert corpus(name).differences(scan, {builder.published.sample_rate: size - 1}) == [
        f"{size - 1} utterances, {size} published",
        f"emotion counts differ: {emotion} {count - 1} (published {count})",
    ]


def test_a_missing_speaker_is_named(name: str, full_scan: Scan, builder: Builder) -> None:
    speakers = builder.published.women + builder.published.men
    absent = full_scan.utterances[0].speaker
    rest = Scan.of([u for u in full_scan.utterances if u.speaker != absent], {})
    lines = corpus(name).differences(rest, {builder.published.sample_rate: len(rest)})
    assert f"{speakers - 1} speakers, {speakers} published" in lines


def test_another_sample_rate_is_named(name: str, full_scan: Scan, builder: Builder) -> None:
    """Altered copies of several corpora circulate, most often at 22 050 Hz."""
    native = builder.published.sample_rate
    lines = corpus(name).differences(full_scan, {22_050: 7, native: builder.published.utterances - 7})
    assert lines == [f"7 files at 22050 Hz, published at {native} Hz: an altered copy?"]


def test_its_facts_are_complete(name: str, builder: Builder) -> None:
    facts = corpus(name).facts
    assert facts.title
    assert facts.licence
    assert facts.citation
    assert (facts.language, facts.sample_rate) == (builder.published.language, builder.published.sample_rate)
    assert sum(facts.counts.values()) == facts.utterances == builder.published.utterances


def test_it_says_how_to_get_it(name: str) -> None:
    facts = corpus(name).facts
    assert facts.homepage.startswith("http")
    assert facts.obtain.endswith(".")
    if facts.download is None:
        assert facts.homepage in facts.obtain
    else:
        assert f"emodna-prep --corpus {name} --download" in facts.obtain


def test_a_root_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        FolderTree(tmp_path / "absent")
    with pytest.raises(CorpusError, match="not a folder"):
        FolderTree(put(tmp_path / "file"))


def test_a_root_through_a_link_is_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path / "real" / "wav" / "03a01Wa.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (utterance,) = corpus("emodb").scan(FolderTree(tmp_path / "link")).utterances
    assert utterance.path == "wav/03a01Wa.wav"
