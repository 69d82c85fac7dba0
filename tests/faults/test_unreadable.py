"""Existing files that cannot be read: audio and store files."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import CallbackLog, content, make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb

NAMES = make_emodb_names(12)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@contextmanager
def make_unreadable(path: Path, number: int) -> Iterator[None]:
    """Make the opening of a file fail, but not of a new file with the same name."""
    inode, original = path.stat().st_ino, io.open

    def refuse(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "r" in mode and not isinstance(file, int) and Path(file).exists() and Path(file).stat().st_ino == inode:
            raise OSError(number, os.strerror(number), os.fspath(file))
        return original(file, mode, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", refuse)
        patch.setattr(builtins, "open", refuse)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny_emodb(tmp_path / "root", NAMES)
    return tmp_path / "root"


class TestAudio:
    def test_earlier_features_are_kept_until_the_file_can_be_read(self, root: Path, tmp_path: Path) -> None:
        before = content(prepare_corpus(root, tmp_path / "cache").store)
        write_tiny_emodb(root, NAMES[3:4], variant="new")
        with make_unreadable(root / "wav" / NAMES[3], errno.EIO):
            report = prepare_corpus(root, tmp_path / "cache")
        assert (report.utterances, report.reused, report.rejected) == (12, 12, 0)
        assert content(report.store) == before
        line = f"1 recording kept from the earlier store (the first: wav/{NAMES[3]}: cannot be read: "
        assert f"{line}{os.strerror(errno.EIO)})" in report.warnings
        callback = CallbackLog()
        report = prepare_corpus(root, tmp_path / "cache", callback=callback)
        assert (report.extracted, callback.planned_recordings) == (1, 1)
        assert content(report.store) == content(prepare_corpus(root, tmp_path / "alone").store)

    def test_a_new_file_is_rejected_with_the_reason(self, root: Path, tmp_path: Path) -> None:
        with make_unreadable(root / "wav" / NAMES[3], errno.EIO):
            report = prepare_corpus(root, tmp_path / "cache")
        assert report.rejections == [(f"wav/{NAMES[3]}", f"cannot be read: {os.strerror(errno.EIO)}")]

    def test_a_deleted_file_is_removed_from_the_store(self, root: Path, tmp_path: Path) -> None:
        prepare_corpus(root, tmp_path / "cache")
        (root / "wav" / NAMES[3]).unlink()
        (root / "wav" / NAMES[3]).symlink_to(tmp_path / "nowhere")
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.utterances, report.rejected) == (11, 1)

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE])
    def test_a_system_error_ends_the_preparation_and_rejects_nothing(
        self, root: Path, tmp_path: Path, number: int
    ) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        before = content(store)
        write_tiny_emodb(root, NAMES[3:4], variant="new")
        with make_unreadable(root / "wav" / NAMES[3], number), pytest.raises(OSError, match=NAMES[3]) as raised:
            prepare_corpus(root, tmp_path / "cache")
        assert raised.value.errno == number
        assert content(store) == before

    def test_missing_memory_ends_the_preparation_with_the_file_name(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> NoReturn:
            raise MemoryError

        monkeypatch.setattr(MfccSet, "extract", fail)
        with pytest.raises(OSError, match=r"\.wav") as raised:
            prepare_corpus(root, tmp_path / "cache")
        assert raised.value.errno == errno.ENOMEM

    def test_a_read_error_during_decoding_is_not_a_truncated_file(self, capfd: pytest.CaptureFixture[str]) -> None:
        class Failing(io.BytesIO):
            reads = 0

            def readinto(self, buffer: Any) -> int:
                self.reads += 1
                if self.reads > 1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return super().readinto(buffer)

        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            decode(Failing(wav(noise(2.0))))
        assert capfd.readouterr().err == ""


class TestStore:
    @pytest.mark.parametrize("kind", ["shard-", "index-", "store.json"])
    def test_an_unreadable_store_file_is_rebuilt(self, root: Path, tmp_path: Path, kind: str) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        before = content(store)
        bad = next(path for path in store.iterdir() if path.name.startswith(kind))
        inode = bad.stat().st_ino
        with make_unreadable(bad, errno.EIO):
            prepare_corpus(root, tmp_path / "cache", rehash=True)
        assert content(store) == before
        assert bad.stat().st_ino != inode

    def test_verify_reports_an_unreadable_file_without_mapping_it(self, root: Path, tmp_path: Path) -> None:
        opened = FeatureStore(prepare_corpus(root, tmp_path / "cache").store)
        bad = next(opened.path.glob("shard-*"))
        with make_unreadable(bad, errno.EIO):
            (problem,) = opened.verify()
        assert problem.where == bad
        assert os.strerror(errno.EIO) in problem.problem

    def test_a_system_error_is_not_damage(self, root: Path, tmp_path: Path) -> None:
        store = prepare_corpus(root, tmp_path / "cache").store
        with (
            make_unreadable(store / layout.STORE_JSON, errno.EMFILE),
            pytest.raises(StoreError, match=r"store\.json: cannot be read: .*ulimit -n"),
        ):
            prepare_corpus(root, tmp_path / "cache")
