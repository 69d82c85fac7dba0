"""Preparation repeats only necessary work, and its result depends on the audio alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
import threadpoolctl
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import PathCorpus, Skip, Utterance
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout, shards
from emodna.pipeline.store.snapshot import hash_file
from emodna.pipeline.threads import open_extraction_threads
from tests.pipeline.making import (
    LONG_AGO,
    CallbackLog,
    age,
    content,
    find_features_offset,
    flip,
    make_emodb_names,
    noise,
    prepare_corpus,
    prepare_without_commit,
    wav,
    write_tiny_emodb,
)

NAMES = make_emodb_names(12)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write twelve tiny utterances like EMODB's, and the same names with other audio in `other`. Read-only."""
    folder = tmp_path_factory.mktemp("pool")
    write_tiny_emodb(folder / "root", NAMES)
    write_tiny_emodb(folder / "other", NAMES, variant="other")
    return folder


@pytest.fixture
def root(pool: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pool / "root", tmp_path / "root"))


@pytest.fixture(scope="module")
def expected_hashes(pool: Path) -> dict[str, str]:
    """Return the hashes of the pool's shards and index after an undisturbed preparation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        return content(prepare_corpus(pool / "root", pool / "cache").store)


def hash_files(store: Path) -> dict[str, str]:
    """Return the hashes of all files of a store by name."""
    return {str(path.relative_to(store)): hash_file(path) for path in sorted(store.rglob("*")) if path.is_file()}


def list_shard_names(store: Path) -> set[str]:
    return {path.name for path in store.glob("*.h5")}


class TestFirstPreparation:
    def test_all_recordings_are_extracted(self, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        callback = CallbackLog()
        report = prepare_corpus(pool / "root", Path("cache"), callback=callback)
        assert (report.utterances, report.extracted, report.reused, report.rejected) == (12, 12, 0, 0)
        assert report.corpus == "emodb"
        assert report.store == tmp_path / "cache" / "emodb" / MfccSet().name
        assert report.audio_seconds == pytest.approx(12 * 0.15)
        assert callback.planned_recordings == 12
        assert sorted(result.job.id for result in callback.results) == sorted(name[:-4] for name in NAMES)

    def test_corrupt_files_are_rejected_with_reasons_and_others_are_extracted(self, root: Path, tmp_path: Path) -> None:
        whole = (root / "wav" / NAMES[0]).read_bytes()
        bad = {NAMES[1]: whole[:-100], NAMES[4]: b"", NAMES[7]: b"<html>", NAMES[9]: wav(noise(0.05))}
        for name, damaged in bad.items():
            (root / "wav" / name).write_bytes(damaged)
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.utterances, report.extracted, report.rejected) == (8, 8, 4)
        reasons = dict(report.rejections)
        assert list(reasons) == sorted(f"wav/{name}" for name in bad)
        for name, reason in zip(bad, ("truncated", "empty file", "not readable as audio", "too short"), strict=True):
            assert reasons[f"wav/{name}"].startswith(reason)
        assert sorted(FeatureStore(report.store).ids) == sorted(name[:-4] for name in set(NAMES) - set(bad))

    def test_silent_and_unusual_audio_gives_warnings(self, root: Path, tmp_path: Path) -> None:
        (root / "wav" / NAMES[0]).write_bytes(wav(noise(0.2, 22_050), 22_050))
        (root / "wav" / NAMES[3]).write_bytes(wav(bytes(8000)))
        report = prepare_corpus(root, tmp_path / "cache")
        assert report.rejected == 0
        assert f"1 recording with only zeros (the first: {NAMES[3][:-4]})" in report.warnings
        assert any("22050 Hz" in line for line in report.warnings)

    def test_unread_bytes_of_new_recordings_are_counted_and_named(self, root: Path, tmp_path: Path) -> None:
        (root / "wav" / NAMES[2]).write_bytes(wav(noise(0.2)) + b"no chunk and no audio" * 9)
        report = prepare_corpus(root, tmp_path / "cache")
        ((path, remark),) = report.remarks
        assert path == f"wav/{NAMES[2]}"
        assert "189 bytes behind the audio" in remark
        assert any(line.startswith("1 recording with bytes that are not read") for line in report.warnings)
        assert prepare_corpus(root, tmp_path / "cache").remarks == []

    def test_byte_identical_recordings_stay_two_utterances(self, root: Path, tmp_path: Path) -> None:
        """RAVDESS has two identical recordings."""
        shutil.copy(root / "wav" / NAMES[0], root / "wav" / NAMES[1])
        store = FeatureStore(prepare_corpus(root, tmp_path / "cache").store)
        assert len(store) == 12
        assert len(set(store.column("audio_sha256"))) == 11


class Work(NamedTuple):
    """Work of a second preparation."""

    examined: int = 0
    reused: int = 0
    extracted: int = 0
    rejected: int = 0
    new_shards: int = 0


def touch_one(root: Path, _: Path) -> None:
    age([root / "wav" / NAMES[2]], seconds=LONG_AGO + 60)


def replace_one(root: Path, other: Path) -> None:
    shutil.copy(other / "wav" / NAMES[2], root / "wav")


def add_one(root: Path, _: Path) -> None:
    write_tiny_emodb(root, ["16b09Fa.wav"])


def add_many(root: Path, _: Path) -> None:
    """Double the number of shards; one of the eight is empty."""
    write_tiny_emodb(root, make_emodb_names(20)[12:])


def remove_one(root: Path, _: Path) -> None:
    (root / "wav" / NAMES[5]).unlink()


def damage_one(root: Path, _: Path) -> None:
    (root / "wav" / NAMES[5]).write_bytes(b"")


class TestSecondPreparation:
    @pytest.mark.parametrize(("rehash", "examined"), [(False, 1), (True, 13)])
    def test_an_unchanged_corpus_needs_no_extraction_and_no_byte_changes(
        self, root: Path, tmp_path: Path, rehash: bool, examined: int
    ) -> None:
        (root / "wav" / "03b01Wa.wav").write_bytes(b"no audio")
        store = prepare_corpus(root, tmp_path / "cache").store
        before = hash_files(store)
        callback = CallbackLog()
        report = prepare_corpus(root, tmp_path / "cache", rehash=rehash, callback=callback)
        assert (report.utterances, report.extracted, report.reused, report.rejected) == (12, 0, 12, 1)
        assert callback.planned_recordings == examined
        assert hash_files(store) == before

    @pytest.mark.parametrize(
        ("change", "work"),
        [
            (touch_one, Work(examined=1, reused=12)),
            (replace_one, Work(examined=1, reused=11, extracted=1, new_shards=1)),
            (add_one, Work(examined=1, reused=12, extracted=1, new_shards=1)),
            (add_many, Work(examined=8, reused=12, extracted=8, new_shards=7)),
            (remove_one, Work(reused=11, new_shards=1)),
            (damage_one, Work(examined=1, reused=11, rejected=1, new_shards=1)),
        ],
    )
    def test_only_changed_recordings_are_extracted(
        self, root: Path, pool: Path, tmp_path: Path, change: Callable[[Path, Path], None], work: Work
    ) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        before = list_shard_names(store)
        change(root, pool / "other")
        callback = CallbackLog()
        report = prepare_corpus(root, tmp_path / "cache", callback=callback)
        new = len(list_shard_names(store) - before)
        assert Work(len(callback.results), report.reused, report.extracted, report.rejected, new) == work
        assert content(store) == content(prepare_corpus(root, tmp_path / "fresh").store)

    def test_without_a_usable_file_a_store_is_unchanged_and_no_new_one_is_made(
        self, root: Path, tmp_path: Path
    ) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        before = hash_files(store)
        for path in root.rglob("*.wav"):
            path.write_bytes(b"")
        for cache in ("cache", "fresh"):
            with pytest.raises(CorpusError, match=r"12 of 12 rejected; the first: wav/03a01Aa\.wav: empty file"):
                prepare_corpus(root, tmp_path / cache)
        assert hash_files(store) == before
        assert list(tmp_path.rglob("store.json")) == [store / "store.json"]

    def test_a_file_changed_just_now_is_hashed_again(self, tmp_path: Path) -> None:
        """It may change again without a new modification time."""
        (path,) = write_tiny_emodb(tmp_path / "root", NAMES[:1])
        os.utime(path)
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        callback = CallbackLog()
        assert prepare_corpus(tmp_path / "root", tmp_path / "cache", callback=callback).reused == 1
        assert callback.planned_recordings == 1

    def test_a_lower_limit_rejects_earlier_recordings(self, root: Path, tmp_path: Path) -> None:
        (root / "wav" / NAMES[0]).write_bytes(wav(noise(0.5)))
        age([root / "wav" / NAMES[0]])
        prepare_corpus(root, tmp_path / "cache")
        report = prepare_corpus(root, tmp_path / "cache", max_seconds=0.3)
        assert [path for path, _ in report.rejections] == [f"wav/{NAMES[0]}"]
        assert content(report.store) == content(prepare_corpus(root, tmp_path / "fresh", max_seconds=0.3).store)


class TestRehash:
    def test_a_change_with_the_same_size_and_time_is_found(self, root: Path, pool: Path, tmp_path: Path) -> None:
        prepare_corpus(root, tmp_path / "cache")
        shutil.copy(pool / "other" / "wav" / NAMES[2], root / "wav" / NAMES[2])
        age([root / "wav" / NAMES[2]])
        assert prepare_corpus(root, tmp_path / "cache").extracted == 0
        report = prepare_corpus(root, tmp_path / "cache", rehash=True)
        assert (report.reused, report.extracted) == (11, 1)
        assert content(report.store) == content(prepare_corpus(root, tmp_path / "fresh").store)

    def test_a_damaged_shard_is_found_and_rebuilt(
        self, root: Path, tmp_path: Path, expected_hashes: dict[str, str]
    ) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        damaged = sorted(store.glob("*.h5"))[1]
        flip(damaged, find_features_offset(damaged))
        report = prepare_corpus(root, tmp_path / "cache", rehash=True)
        assert report.extracted > 0
        assert report.reused > 0
        assert content(store) == expected_hashes


class TestSameBytes:
    def test_workers_and_paths_do_not_matter(self, pool: Path, tmp_path: Path, expected_hashes: dict[str, str]) -> None:
        elsewhere = shutil.copytree(pool / "root", tmp_path / "elsewhere" / "ünï code")
        stores = [
            prepare_corpus(pool / "root", tmp_path / "cache", workers=1).store,
            prepare_corpus(elsewhere, tmp_path / "a=b", workers=5).store,
        ]
        first, second = (json.loads((store / "store.json").read_text()) for store in stores)
        assert {key for key in first if first[key] != second[key]} <= {"root", "created", "checksum"}
        assert first.keys() == second.keys()
        assert [content(store) for store in stores] == [expected_hashes] * 2

    def test_other_recordings_do_not_matter(self, pool: Path, tmp_path: Path) -> None:
        alone = tmp_path / "alone"
        (alone / "wav").mkdir(parents=True)
        shutil.copy2(pool / "root" / "wav" / NAMES[0], alone / "wav")
        (features,) = FeatureStore(prepare_corpus(alone, tmp_path / "a").store)
        together = FeatureStore(prepare_corpus(pool / "root", tmp_path / "b").store)
        assert features.tobytes() == together[together.find_row(NAMES[0][:-4])].tobytes()

    @settings(max_examples=settings.default.max_examples // 5)
    @given(
        history=st.lists(
            st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.booleans(), st.booleans()), max_size=3
        )
    )
    # A shard in the journal from another number of shards once counted with its extra utterances.
    @example(
        history=[
            ({"03a01Aa.wav", "03a01La.wav", "03a01Wa.wav", "08a01Wa.wav", "13a01Wa.wav"}, False, False),
            ({"03a01Wa.wav", "08a01Wa.wav", "13a01Wa.wav"}, False, True),
        ]
    )
    def test_history_does_not_matter(
        self,
        pool: Path,
        tmp_path_factory: pytest.TempPathFactory,
        expected_hashes: dict[str, str],
        history: list[tuple[set[str], bool, bool]],
    ) -> None:
        """Earlier preparations of parts of the corpus, some with other audio, some without a commit."""
        folder = tmp_path_factory.mktemp("history")
        for number, (names, has_other_audio, is_stopped) in enumerate([*history, (set(NAMES), False, False)]):
            root = folder / str(number)
            (root / "wav").mkdir(parents=True)
            for name in names:
                (root / "wav" / name).hardlink_to(pool / ("other" if has_other_audio else "root") / "wav" / name)
            if is_stopped:
                prepare_without_commit(root, folder / "cache")
            else:
                store = prepare_corpus(root, folder / "cache").store
        assert content(store) == expected_hashes
        assert FeatureStore(store).verify() == []


class TestRepair:
    @pytest.fixture
    def store(self, root: Path, tmp_path: Path) -> Path:
        (root / "wav" / "03b01Wa.wav").write_bytes(b"no audio")
        return prepare_corpus(root, tmp_path / "cache").store

    @pytest.mark.parametrize("pattern", ["*.h5", "index-*", "rejected-*", "store.json", "audio-stat.sealed"])
    def test_deleted_files_are_rebuilt_unchanged(self, store: Path, root: Path, tmp_path: Path, pattern: str) -> None:
        before, fingerprint = hash_files(store), FeatureStore(store).fingerprint
        for path in store.glob(pattern):
            path.unlink()
        prepare_corpus(root, tmp_path / "cache")
        after = hash_files(store)
        if pattern in ("index-*", "store.json"):  # a new commit has another time
            assert after.pop("store.json")
            assert before.pop("store.json")
        assert after == before
        assert FeatureStore(store).fingerprint == fingerprint
        assert FeatureStore(store).verify() == []

    @pytest.mark.parametrize("pattern", ["index-*", "store.json", "*.h5"])
    def test_truncated_files_are_rebuilt_and_a_damaged_index_is_reported(
        self, store: Path, root: Path, tmp_path: Path, pattern: str
    ) -> None:
        before = content(store)
        path = next(store.glob(pattern))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        report = prepare_corpus(root, tmp_path / "cache")
        if pattern == "*.h5":
            assert 0 < report.extracted < 12
        else:
            assert any(line.startswith("rebuilt") and path.name in line for line in report.warnings)
        assert content(store) == before
        assert FeatureStore(store).verify() == []

    def test_damaged_features_are_extracted_again_when_their_shard_is_rewritten(
        self, store: Path, root: Path, tmp_path: Path
    ) -> None:
        """A copy in the new shard would have a valid checksum."""
        for path in store.glob("*.h5"):
            flip(path, find_features_offset(path))
        write_tiny_emodb(root, make_emodb_names(20)[12:])
        report = prepare_corpus(root, tmp_path / "cache")
        assert report.extracted > 8
        assert FeatureStore(report.store).verify() == []
        assert content(report.store) == content(prepare_corpus(root, tmp_path / "fresh").store)


class TestFinishedWork:
    @pytest.fixture
    def interrupted_store(self, root: Path, tmp_path: Path) -> Path:
        return prepare_without_commit(root, tmp_path / "cache")

    @pytest.mark.parametrize("damaged", [False, True])
    def test_intact_shards_are_reused(
        self, interrupted_store: Path, root: Path, tmp_path: Path, expected_hashes: dict[str, str], damaged: bool
    ) -> None:
        assert not (interrupted_store / "store.json").exists()
        path = next(interrupted_store.glob("*.h5"))
        if damaged:
            flip(path, find_features_offset(path))
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.extracted > 0) == damaged
        assert report.reused > 0
        assert content(interrupted_store) == expected_hashes

    def test_outdated_shards_are_deleted(self, interrupted_store: Path, root: Path, pool: Path, tmp_path: Path) -> None:
        for name in NAMES:
            shutil.copy(pool / "other" / "wav" / name, root / "wav" / name)
        report = prepare_corpus(root, tmp_path / "cache")
        assert report.extracted == 12
        assert content(report.store) == content(prepare_corpus(root, tmp_path / "fresh").store)
        assert list((interrupted_store / "journal").iterdir()) == []


def test_a_second_writer_waits_with_a_message_or_fails_at_once(root: Path, tmp_path: Path) -> None:
    store = prepare_corpus(root, tmp_path / "cache").store
    is_waiting = threading.Event()

    class WaitingLog(CallbackLog):
        def on_wait(self, store: Path) -> None:
            super().on_wait(store)
            is_waiting.set()

    callback = WaitingLog()
    with ThreadPoolExecutor(1) as pool:
        with shards.hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            with pytest.raises(StoreError, match="another process is writing this store"):
                prepare_corpus(root, tmp_path / "cache", wait=False)
            second = pool.submit(prepare_corpus, root, tmp_path / "cache", callback=callback)
            assert is_waiting.wait(60)
            assert not second.done()
        assert second.result(60).reused == 12
    assert callback.waits == [store]


def count_threads() -> tuple[int, list[int]]:
    return torch.get_num_threads(), [library["num_threads"] for library in threadpoolctl.threadpool_info()]


def test_libraries_use_one_thread_during_extraction_only() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        outside = count_threads()
        with contextlib.suppress(KeyboardInterrupt), open_extraction_threads(2) as pool:
            inside = [pool.submit(count_threads).result() for _ in range(4)]
            raise KeyboardInterrupt
        assert {torchs for torchs, _ in inside} == {1}
        assert {each for _, others in inside for each in others} == {1}
        assert count_threads() == outside
        assert outside[0] == 3
    finally:
        torch.set_num_threads(before)


class UserCorpus(PathCorpus):
    """A corpus with extra columns that depend on the file name."""

    name = "own"
    info = replace(load_corpus("emodb").info, utterances=None, speakers=None, sample_rate=None, counts={})

    def __init__(self, extra: Callable[[str], dict[str, Any]]) -> None:
        self._extra = extra

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        if path.name == "skip.wav":
            return Skip("not wanted")
        return Utterance(id=path.stem, path=str(path), emotion="surprise", extra=self._extra(path.stem))


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (lambda name: {name: 1}, r"b: own columns \['b'\], but 'a' has \['a'\]"),
        (lambda name: {"rating": 1 if name == "a" else "one"}, "column rating: "),
        (lambda _: {"frames": 1}, "frames"),
    ],
    ids=["uneven", "mixed", "the store's"],
)
def test_invalid_columns_are_refused_before_any_work(
    extra: Callable[[str], dict[str, Any]], complaint: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(wav(noise(seed=name)))
    callback = CallbackLog()
    with pytest.raises(CorpusError, match=complaint):
        prepare_corpus(tmp_path, tmp_path / "cache", UserCorpus(extra), callback=callback)
    assert callback.planned_recordings == 0


def test_a_corpus_of_another_package_is_prepared(tmp_path: Path) -> None:
    for name in ("a", "b", "skip"):
        (tmp_path / f"{name}.wav").write_bytes(wav(noise(seed=name)))
    report = prepare_corpus(tmp_path, tmp_path / "cache", UserCorpus(lambda _: {"rating": 2.5}))
    assert report.skipped == {"not wanted": 1}
    table = FeatureStore(report.store).table
    assert table["rating"].to_pylist() == [2.5, 2.5]
    assert table["arousal"].to_pylist() == [1, 1]
    assert Counter(table["corpus"].to_pylist()) == {"own": 2}
