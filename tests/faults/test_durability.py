"""What a power cut may lose: names that were not flushed. None is relied on before it is safe."""

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
    """The process ends here."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@contextmanager
def steps(*cut_at: str) -> Iterator[list[str]]:
    """Note each flush of a folder, commit and removal of data, in order; end the run before the last of `cut_at`."""
    done: list[str] = []

    def noting(original: Any, name_of: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            name = name_of(*arguments)
            if name:
                if (*done[-1:], name)[-len(cut_at) :] == cut_at:
                    raise PowerCut
                done.append(name)
            return original(*arguments, **options)

        return call

    def flush(descriptor: int) -> str:
        return "flush" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noting(os.fsync, flush))
        patch.setattr(os, "replace", noting(os.replace, lambda _, new: Path(new).name == "store.json" and "commit"))
        patch.setattr(os, "unlink", noting(os.unlink, lambda path: Path(path).suffix == ".h5" and "remove"))
        yield done


def test_the_names_of_a_killed_run_are_safe_before_they_are_committed(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES)
    with steps("commit"), pytest.raises(PowerCut):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    with steps() as done:
        assert prepare_corpus(tmp_path / "root", tmp_path / "cache").extracted == 0
    assert done[:3] == ["flush", "commit", "flush"]


def test_a_commit_is_safe_before_what_it_replaced_is_removed(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES)
    prepare_corpus(tmp_path / "root", tmp_path / "cache")
    write_tiny_emodb(tmp_path / "root", NAMES, variant="b")
    with steps("commit", "flush"), pytest.raises(PowerCut):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    with steps() as done:
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert "commit" not in done  # it stood already
    assert done[:2] == ["flush", "remove"]


def test_a_new_store_is_safe_in_the_folders_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
