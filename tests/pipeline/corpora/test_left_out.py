"""Tests of files that a corpus leaves out: formats that only ffmpeg decodes, and archives inside its root."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from emodna.model.inference.inputs import find_inputs
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import CorpusError, EmodnaError, Remedy
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.builders import write_file
from tests.pipeline.making import noise, prepare_corpus, wav

LEFT_OUT = {".m4a": 2, ".amr": 1, ".webm": 1, ".mka": 1, ".tar.gz": 1, ".rar": 1}
FOREIGN = ("a.m4a", "day 2/B.M4A", "c.amr", "d.webm", "e.mka")
ARCHIVES = ("old.tar.gz", "day 2/more.rar")
CONTAINERS = ("folder", "mine.zip", "mine.tar.bz2")


def make_root(path: Path, *names: str) -> Path:
    """Write files as a folder or archive; return it."""
    folder = path.with_name("content")
    for name in names:
        write_file(folder / name, wav(noise(0.3)) if name.endswith("wav") else b"\0\0\0\x1cftypM4A " + bytes(99))
    if path.suffix == ".zip":
        shutil.make_archive(str(path.with_suffix("")), "zip", folder)
    elif path.suffix == ".bz2":
        with tarfile.open(path, "w:bz2") as archive:
            archive.add(folder, "content")
    else:
        folder.rename(path)
    return path


def scan(corpus: Corpus, root: Path) -> Scan:
    return corpus.scan(corpus.open(root))


@pytest.mark.parametrize("container", CONTAINERS)
def test_recordings_in_other_formats_and_inner_archives_are_counted_by_kind(tmp_path: Path, container: str) -> None:
    root = make_root(tmp_path / container, "a.wav", "notes.txt", ".hidden.m4a", *FOREIGN, *ARCHIVES)
    found = scan(Recordings(root, "mine"), root)
    assert (len(found), found.left_out, found.skipped) == (1, LEFT_OUT, {})
    both = scan(Recordings(root, "mine").allow_ffmpeg(), root)
    assert (len(both), both.left_out) == (6, {".tar.gz": 1, ".rar": 1})
    assert {Path(each.id).name for each in both.utterances} == {"a.wav", *(Path(name).name for name in FOREIGN)}

    warnings: list[EmodnaError] = []
    assert len(list(find_inputs([str(root)], warn=warnings.append))) == 1
    (warning,) = warnings
    assert all(f"{count} {suffix}" in warning.problem for suffix, count in LEFT_OUT.items())
    assert len(list(find_inputs([str(root)], ffmpeg=True, warn=warnings.append))) == 6


@pytest.mark.parametrize("container", CONTAINERS)
def test_if_nothing_else_is_usable_the_error_names_them_and_the_remedy(tmp_path: Path, container: str) -> None:
    root = make_root(tmp_path / container, "notes.txt", *FOREIGN)
    with pytest.raises(CorpusError, match=r"5 files left out: 2 \.m4a") as caught:
        scan(Recordings(root, "mine"), root)
    assert isinstance(caught.value.remedy, Remedy)
    assert "{ffmpeg}" in caught.value.remedy.text
    (only,) = find_inputs([str(root)])
    with pytest.raises(EmodnaError, match=r"2 \.m4a.*ffmpeg"):
        only.open()


def test_an_archive_does_not_hide_recordings_beside_it(tmp_path: Path) -> None:
    inner = make_root(tmp_path / "inner.zip", "a.wav")
    shutil.rmtree(tmp_path / "content")
    root = make_root(tmp_path / "folder", "b.m4a")
    inner.rename(root / "inner.zip")
    with pytest.raises(CorpusError, match=r"1 \.m4a, 1 \.zip"):
        scan(Recordings(root, "mine"), root)
    (root / "b.m4a").unlink()
    assert len(scan(Recordings(root, "mine"), root)) == 1


def test_a_registered_corpus_counts_only_files_that_belong_to_it(tmp_path: Path) -> None:
    first, second, third = (f"Actor_01/03-01-0{emotion}-01-01-01-01" for emotion in (1, 2, 3))
    video = "Actor_01/01-01-02-01-01-01-01.mp4"
    names = (f"{first}.wav", f"{first}.m4a", f"{second}.m4a", f"{third}.ogg", video, "talk.m4a", "Actor_01.zip")
    root = make_root(tmp_path / "folder", *names)
    ravdess = load_corpus("ravdess")
    assert scan(ravdess, root).left_out == {".m4a": 1, ".ogg": 1}
    found = scan(ravdess.allow_ffmpeg(), root)
    assert [each.path for each in found.utterances] == [f"{first}.wav", f"{second}.m4a", f"{third}.ogg"]
    assert found.left_out == {}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_store_records_the_version_of_ffmpeg_that_decoded_its_recordings(tmp_path: Path) -> None:
    root = make_root(tmp_path / "folder", "a.wav", "b.m4a")
    report = prepare_corpus(root, tmp_path / "cache", Recordings(root, "mine"), ffmpeg=True)
    assert [path for path, _ in report.rejections] == ["b.m4a"]  # damaged
    assert "ffmpeg" in FeatureStore(report.store).snapshot.libraries
    again = prepare_corpus(root, tmp_path / "cache", Recordings(root, "mine"))
    assert (again.reused, again.left_out) == (1, {".m4a": 1})
