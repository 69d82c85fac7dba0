"""A power cut may lose file names before they are flushed. No commit relies on such a name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emodna.pipeline.store import layout
from tests.pipeline.making import make_emodb_names, prepare_corpus, write_tiny_emodb

NAMES = make_emodb_names(12)


class PowerCut(BaseException):
    """A power cut, which ends the process."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@contextmanager
def record_steps(*cut_at: str) -> Iterator[list[str]]:
    """Record each flush of a folder, commit and deletion of data; end the process before the last of `cut_at`."""
    recorded: list[str] = []

    def wrap(original: Any, name_of: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            name = name_of(*arguments)
            if name:
                if (*recorded[-1:], name)[-len(cut_at) :] == cut_at:
                    raise PowerCut
                recorded.append(name)
            return original(*arguments, **options)

        return call

    def flush(descriptor: int) -> str:
        return "flush" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", wrap(os.fsync, flush))
        patch.setattr(os, "replace", wrap(os.replace, lambda _, new: Path(new).name == "store.json" and "commit"))
        patch.setattr(os, "unlink", wrap(os.unlink, lambda path: Path(path).suffix == ".h5" and "remove"))
        yield recorded


def test_names_of_a_killed_preparation_are_flushed_before_the_commit(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES)
    with record_steps("commit"), pytest.raises(PowerCut):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    with record_steps() as recorded:
        assert prepare_corpus(tmp_path / "root", tmp_path / "cache").extracted == 0
    assert recorded[:3] == ["flush", "commit", "flush"]


def test_a_commit_is_flushed_before_old_files_are_deleted(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES)
    prepare_corpus(tmp_path / "root", tmp_path / "cache")
    write_tiny_emodb(tmp_path / "root", NAMES, variant="b")
    with record_steps("commit", "flush"), pytest.raises(PowerCut):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    with record_steps() as recorded:
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert "commit" not in recorded  # it is already done
    assert recorded[:2] == ["flush", "remove"]


def test_the_folders_of_a_new_store_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_tiny_emodb(tmp_path / "root", NAMES)
    store = prepare_corpus(tmp_path / "root", tmp_path / "new" / "cache").store
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "cache", store.parent, store):
        assert folder.stat().st_ino in flushed, folder
