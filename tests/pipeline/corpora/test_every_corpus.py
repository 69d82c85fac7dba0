"""Tests of all corpora of this package: a scan finds the published numbers in the file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora import CORPORA, load_corpus
from emodna.pipeline.corpora.base import Scan
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, VALENCE
from tests.pipeline.corpora.builders import BUILDERS, Builder, write_file
from tests.pipeline.making import noise, prepare_corpus, wav

NAMES = sorted(CORPORA)


def test_every_corpus_has_a_builder() -> None:
    assert set(BUILDERS) == set(CORPORA)


def test_an_unknown_corpus_is_an_error_with_the_valid_names() -> None:
    with pytest.raises(CorpusError) as caught:
        load_corpus("berlin")
    assert (caught.value.where, list(caught.value.valid)) == ("berlin", NAMES)


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def full_scan(name: str, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return scan_root(name, BUILDERS[name].build(tmp_path_factory.mktemp(name)))


@pytest.fixture
def builder(name: str) -> Builder:
    return BUILDERS[name]


@pytest.fixture
def root(name: str, tmp_path: Path) -> Path:
    """A root with a single utterance."""
    BUILDERS[name].add(tmp_path, BUILDERS[name].example)
    return tmp_path


def scan_root(name: str, root: Path) -> Scan:
    return load_corpus(name).scan(FolderTree(root))


def select_paths(builder: Builder) -> list[str]:
    """Return about twenty paths from all parts of the corpus."""
    return list(builder.paths())[:: 1 + builder.published.utterances // 20]


def summarise(scan: Scan) -> list[tuple[str | None, ...]]:
    return [(u.id, u.emotion, u.speaker, u.gender, u.text) for u in scan.utterances]


def drop_rows(scan: Scan, column: str, value: str | None) -> Scan:
    return Scan(scan.table.filter(pc.field(column) != value), {})


def test_scan_has_the_published_numbers_of_utterances_emotions_classes_and_speakers(
    full_scan: Scan, builder: Builder
) -> None:
    published = builder.published
    assert full_scan.skipped == builder.skip_counts
    emotions = Counter(utterance.emotion or "" for utterance in full_scan.utterances)
    assert emotions == published.emotions
    for labels, ones in ((AROUSAL, published.high), (VALENCE, published.positive)):
        assert sum(count for emotion, count in emotions.items() if emotion in labels.members[1]) == ones
    speakers = {(utterance.speaker, utterance.gender) for utterance in full_scan.utterances}
    assert Counter(gender for _, gender in speakers) == Counter(f=published.women, m=published.men)


def test_utterances_have_their_language_code_and_path(name: str, full_scan: Scan, builder: Builder) -> None:
    utterances = full_scan.utterances
    assert {utterance.language for utterance in utterances} == {builder.published.language}
    codes = {(utterance.emotion_code, utterance.emotion) for utterance in utterances}
    assert codes <= set(load_corpus(name).info.emotions.items())
    ids = [utterance.id for utterance in utterances]
    assert ids == sorted(set(ids))
    assert {utterance.path for utterance in utterances} == set(builder.paths())


@pytest.mark.parametrize("name", ["savee", pytest.param("ravdess", marks=pytest.mark.slow)])
def test_store_has_the_published_numbers_of_classes(name: str, tmp_path: Path) -> None:
    published = BUILDERS[name].published
    # All names have the same content: ids do not depend on it.
    audio = wav(noise(0.1, published.sample_rate), published.sample_rate)
    report = prepare_corpus(BUILDERS[name].build(tmp_path / "root", audio), tmp_path / "cache", load_corpus(name))
    store = FeatureStore(report.store)
    assert (len(store), report.rejected, report.warnings) == (published.utterances, 0, [])
    for task, ones in {"arousal": published.high, "valence": published.positive}.items():
        assert Counter(store.labels(task).tolist()) == {1: ones, 0: published.utterances - ones}


def test_extra_folders_keep_ids_and_labels_and_second_copies_are_skipped(
    name: str, tmp_path: Path, builder: Builder
) -> None:
    paths = select_paths(builder)
    for path in paths:
        for folder in ("plain", "nested/some where/download (1)", "twice", "twice/a_copy"):
            builder.add(tmp_path / folder, path)
    plain = scan_root(name, tmp_path / "plain")
    assert len(plain) == len(paths)
    assert summarise(scan_root(name, tmp_path / "nested")) == summarise(plain)
    twice = scan_root(name, tmp_path / "twice")
    assert summarise(twice) == summarise(plain)
    assert {utterance.path for utterance in twice.utterances} == set(paths)
    assert twice.skipped == {"second copy of an utterance": len(paths)}


@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_file_names_in_another_case_are_the_same_utterances(
    name: str, spell: Callable[[str], str], tmp_path: Path, builder: Builder
) -> None:
    """Some file systems and archivers change the case of names."""
    for path in select_paths(builder):
        builder.add(tmp_path / "same", path)
        builder.add(tmp_path / "changed", path, spell)
    assert summarise(scan_root(name, tmp_path / "changed")) == summarise(scan_root(name, tmp_path / "same"))


def test_hidden_files_and_files_other_than_audio_are_ignored(name: str, root: Path, builder: Builder) -> None:
    example = Path(builder.example)
    write_file(root / example.with_name(f"._{example.name}"))
    write_file(root / "__MACOSX" / example.with_name(f"._{example.name}"))
    write_file(root / "__MACOSX" / example)
    builder.add(root / ".trash", builder.unknown)
    for other_file in ("readme.txt", "labels.csv", "Info.txt", "wav/notes.pdf"):
        write_file(root / other_file)
    scan = scan_root(name, root)
    assert [utterance.path for utterance in scan.utterances] == [builder.example]
    assert scan.skipped == {}


def test_unknown_codes_and_other_audio_are_skipped_and_counted(name: str, root: Path, builder: Builder) -> None:
    builder.add(root, builder.unknown)
    write_file(root / "Beep.wav")
    write_file(root / "more" / "test tone.WAV")
    scan = scan_root(name, root)
    assert len(scan.utterances) == 1
    skipped = {"file name outside the corpus's grammar": 2}
    assert scan.skipped | skipped == scan.skipped
    (reason,) = set(scan.skipped) - set(skipped)
    assert "unknown emotion code" in reason


def test_the_wrong_corpus_is_an_error_that_names_a_found_file_and_the_expected_layout(
    name: str, tmp_path: Path, builder: Builder
) -> None:
    for other in set(NAMES) - {name}:
        root = tmp_path / other
        BUILDERS[other].add(root, BUILDERS[other].example)
        with pytest.raises(CorpusError) as caught:
            scan_root(name, root)
        assert caught.value.where == root
        for part in (BUILDERS[other].example, builder.layout):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_empty_root_and_one_with_unknown_codes_only_are_errors(name: str, tmp_path: Path, builder: Builder) -> None:
    with pytest.raises(CorpusError, match=r"no \.wav file") as caught:
        scan_root(name, tmp_path)
    assert builder.layout in str(caught.value)
    builder.add(tmp_path, builder.unknown)
    with pytest.raises(CorpusError, match="1 x unknown emotion code"):
        scan_root(name, tmp_path)


def test_differences_from_the_published_corpus_are_listed(name: str, full_scan: Scan, builder: Builder) -> None:
    """Altered copies of several corpora exist, most of them at 22 050 Hz."""
    published = builder.published
    size, rate = published.utterances, published.sample_rate
    find_differences = load_corpus(name).find_differences
    assert find_differences(full_scan, {rate: size}) == []
    altered = f"7 files at 22050 Hz, published at {rate} Hz: an altered copy?"
    assert find_differences(full_scan, {22_050: 7, rate: size - 7}) == [altered]
    first = full_scan.utterances[0]
    assert first.emotion is not None
    count = published.emotions[first.emotion]
    assert find_differences(drop_rows(full_scan, "id", first.id), {rate: size - 1}) == [
        f"{size - 1} utterances, {size} published",
        f"emotion counts differ: {first.emotion} {count - 1} (published {count})",
    ]
    speakers = published.women + published.men
    lines = find_differences(drop_rows(full_scan, "speaker", first.speaker), {})
    assert f"{speakers - 1} speakers, {speakers} published" in lines


def test_info_is_complete(name: str, builder: Builder) -> None:
    info = load_corpus(name).info
    assert all((info.title, info.licence, info.citation))
    assert (info.language, info.sample_rate) == (builder.published.language, builder.published.sample_rate)
    assert sum(info.counts.values()) == info.utterances == builder.published.utterances
    assert info.homepage.startswith("http")
    assert info.obtain.endswith(".")
    assert info.download is not None or info.homepage in info.obtain
