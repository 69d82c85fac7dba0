"""Past bugs in the file grammars and label files of corpora."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Skip
from tests.pipeline.archives.packing import pack, read_files
from tests.pipeline.corpora.builders import BUILDERS
from tests.pipeline.making import age


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("ravdess", "03-01-03-01-01-01-99.wav", "unknown actor 99"),
        ("ravdess", "03-01-03-01-01-01-00.wav", "unknown actor 00"),
        ("ravdess", "03-01-03-01-07-01-01.wav", "unknown statement 07"),
        ("ravdess", "03-01-03-09-01-01-01.wav", "unknown intensity 09"),
        ("ravdess", "03-01-03-01-01-03-01.wav", "unknown repetition 03"),
        ("emodb", "99a01Wa.wav", "unknown speaker 99"),
        ("emodb", "03b99Wa.wav", "unknown text b99"),
    ],
)
def test_an_unknown_code_of_any_field_is_skipped_with_a_reason(name: str, path: str, reason: str) -> None:
    """Only emotions were checked: actor 99 of RAVDESS was labelled a man, an unknown EMODB speaker a woman."""
    assert load_corpus(name).describe(PurePosixPath(path)) == Skip(reason)


def test_a_readme_beside_an_archive_does_not_hide_it(tmp_path: Path) -> None:
    """IEMOCAP's label files are text files, so a readme made the folder look unpacked."""
    builder = BUILDERS["iemocap"]
    builder.add(tmp_path / "unpacked", builder.example)
    (tmp_path / "root").mkdir()
    pack(tmp_path / "root" / "release.tar.gz", read_files(tmp_path / "unpacked"))
    (tmp_path / "root" / "README.txt").write_text("Read me.")
    iemocap = load_corpus("iemocap")
    assert len(iemocap.scan(iemocap.open(tmp_path / "root")).utterances) == 1


def test_a_huge_label_file_is_not_read(tmp_path: Path) -> None:
    """It took seven times its size in memory."""
    builder = BUILDERS["iemocap"]
    builder.add(tmp_path, builder.example)
    other = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro99.txt"
    with other.open("wb") as file:
        file.truncate(5_000_000)
    age([other])
    iemocap = load_corpus("iemocap")
    scan = iemocap.scan(iemocap.open(tmp_path))
    assert (len(scan.utterances), scan.skipped) == (1, {"label file larger than 4 MB": 1})
