"""A second copy of a corpus's file replaces an unusable first one, and only as long as that is unusable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import CallbackLog, age, make_emodb_names, prepare_corpus, wav, write_tiny_emodb

NAMES = make_emodb_names(4)
FIRST, SECOND, THIRD = f"wav/{NAMES[1]}", f"again/wav/{NAMES[1]}", f"again/once more/wav/{NAMES[1]}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a corpus that was unpacked three times; the audio of each copy differs."""
    root = tmp_path / "root"
    write_tiny_emodb(root, NAMES)
    write_tiny_emodb(root / "again", NAMES, variant="second")
    write_tiny_emodb(root / "again" / "once more", NAMES, variant="third")
    return root


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.wav")


BREAKS: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "zero bytes": lambda path: path.write_bytes(bytes(4000)),
    "no audio": lambda path: path.write_bytes(b"<html>404 Not Found</html>"),
    "header only": lambda path: path.write_bytes(wav(b"")),
    "folder": replace_by_folder,
    "dangling link": replace_by_dangling_link,
}


def find_used_path(store: Path) -> str:
    opened = FeatureStore(store)
    return str(opened.column("path")[opened.find_row(NAMES[1][:-4])])


def test_the_next_copies_of_unusable_files_are_used(tmp_path: Path) -> None:
    root, names = tmp_path / "root", make_emodb_names(len(BREAKS) + 2)
    for folder, variant in ((root, ""), (root / "again", "second")):
        write_tiny_emodb(folder, names, variant=variant)
    for name, spoil in zip(names, BREAKS.values(), strict=False):
        spoil(root / "wav" / name)
    expected = {name[:-4]: f"again/wav/{name}" for name in names[: len(BREAKS)]}
    expected |= {name[:-4]: f"wav/{name}" for name in names[len(BREAKS) :]}
    for extracted in (len(names), 0):
        report = prepare_corpus(root, tmp_path / "cache")
        store = FeatureStore(report.store)
        assert dict(zip(store.ids, store.column("path"), strict=True)) == expected
        assert (report.extracted, report.rejected) == (extracted, 0)
        # A folder is no copy.
        (line,) = (line for line in report.warnings if "copy" in line)
        assert line.startswith(f"{len(BREAKS) - 1} recordings ")


def test_the_copies_of_an_archive_are_used(root: Path, tmp_path: Path) -> None:
    truncate(root / FIRST)
    for form, suffix in (("zip", ".zip"), ("tar", ".tar")):
        archive = Path(shutil.make_archive(str(tmp_path / "corpus"), form, root))
        assert archive.suffix == suffix
        report = prepare_corpus(archive, tmp_path / f"cache-{form}")
        assert (report.utterances, report.rejected, find_used_path(report.store)) == (4, 0, SECOND)


def test_each_copy_is_named_once_if_none_is_usable(root: Path, tmp_path: Path) -> None:
    for path in (FIRST, SECOND, THIRD):
        truncate(root / path)
    for _ in range(2):
        report = prepare_corpus(root, tmp_path / "cache")
        assert [path for path, _ in report.rejections] == sorted((FIRST, SECOND, THIRD))
        assert (report.utterances, len(FeatureStore(report.store).read_rejected())) == (3, 3)


def test_a_store_follows_the_copies(root: Path, tmp_path: Path) -> None:
    """Each step changes files; the same audio is never extracted twice."""
    sound = (root / FIRST).read_bytes()

    def prepare(extracted: int, used: str, examined: int) -> None:
        age(path for path in root.rglob("*.wav"))
        callback = CallbackLog()
        report = prepare_corpus(root, tmp_path / "cache", callback=callback)
        assert (report.utterances, report.rejected, report.extracted) == (4, 0, extracted)
        assert (find_used_path(report.store), callback.planned_recordings) == (used, examined)

    prepare(4, FIRST, 4)
    prepare(0, FIRST, 0)
    (root / FIRST).write_bytes(sound[:-100])
    prepare(1, SECOND, 1)
    prepare(0, SECOND, 1)
    (root / SECOND).write_bytes(b"")
    prepare(1, THIRD, 1)
    (root / SECOND).write_bytes((root / THIRD).read_bytes())
    prepare(0, SECOND, 1)  # the same audio
    (root / FIRST).unlink()
    prepare(0, SECOND, 0)
    (root / FIRST).write_bytes(sound)  # repaired, or it appears later
    prepare(1, FIRST, 1)
    prepare(0, FIRST, 0)


def test_a_copy_is_used_if_the_first_cannot_be_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_corpus(root, tmp_path / "cache")
    age([root / FIRST], seconds=1_600_000_060)

    original = Path.open

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if path == root / FIRST:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", fail)
    report = prepare_corpus(root, tmp_path / "cache")
    assert (report.utterances, report.rejected, find_used_path(report.store)) == (4, 0, SECOND)
    for path in (SECOND, THIRD):
        truncate(root / path)
    report = prepare_corpus(root, tmp_path / "cache")
    assert (report.utterances, report.rejected, report.extracted) == (4, 0, 0)  # the store keeps the utterance
