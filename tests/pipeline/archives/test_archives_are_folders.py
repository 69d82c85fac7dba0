"""Tests that an archive is read like a folder of the same files, without unpacking it to disk."""

from __future__ import annotations

import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emodna.pipeline.archives import FolderTree, ZipTree, find_default_root, get_data_root, open_tree
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from tests.pipeline.archives.packing import make_zip, pack, read_all, read_files
from tests.pipeline.corpora.builders import BUILDERS
from tests.pipeline.making import LONG_AGO, age, content, make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb

NAMES = make_emodb_names(6)
#: One kind per reader; `test_any_archive` tests all kinds.
KINDS = (".zip", ".tar", ".tar.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    write_tiny_emodb(root, NAMES)
    (root / "readme.txt").write_text("not audio")
    return root


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_corpus(folder, tmp_path_factory.mktemp("cache")).store


def pack_folder(path: Path, folder: Path) -> Path:
    age([pack(path, read_files(folder))])
    return path


@pytest.mark.parametrize("kind", KINDS)
class TestArchive:
    def test_an_archive_gives_the_same_store_as_its_folder(
        self, kind: str, folder: Path, store: Path, tmp_path: Path
    ) -> None:
        report = prepare_corpus(pack_folder(tmp_path / f"emodb{kind}", folder), tmp_path / "cache")
        assert (report.utterances, report.extracted, report.rejected) == (6, 6, 0)
        assert content(report.store) == content(store)
        assert FeatureStore(report.store).snapshot.fingerprint == FeatureStore(store).snapshot.fingerprint

    def test_an_archive_alone_in_the_root_is_found(self, kind: str, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        alone = pack_folder(tmp_path / "root" / f"emodb{kind}", folder)
        (tmp_path / "root" / "licence.txt").write_text("text")
        (tmp_path / "root" / f"._emodb{kind}").write_bytes(b"metadata of macOS")
        tree = open_tree(tmp_path / "root", (".wav",))
        assert tree.root == alone.resolve()
        assert [Path(path).name for path in tree.list_files((".wav",))] == sorted(NAMES)

    def test_reading_an_archive_leaves_no_file_on_disk(
        self, kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packed = pack_folder(tmp_path / f"emodb{kind}", folder)
        for name in ("working", "temporary"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "working")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        before = sorted(tmp_path.rglob("*"))
        tree = open_tree(packed, (".wav",))
        for path in tree.list_files((".wav",)):
            with tree.open(path):
                assert sorted(tmp_path.rglob("*")) == before
        del tree
        assert sorted(tmp_path.rglob("*")) == before

    def test_an_archive_can_be_pickled(self, kind: str, folder: Path, tmp_path: Path) -> None:
        tree = open_tree(pack_folder(tmp_path / f"emodb{kind}", folder), (".wav",))
        expected = read_all(tree)
        unpickled = pickle.loads(pickle.dumps(tree))
        assert read_all(unpickled) == expected == read_all(FolderTree(folder))
        assert unpickled.root == tree.root
        assert [unpickled.read_stamp(path) for path in expected] == [tree.read_stamp(path) for path in expected]

    def test_an_archive_can_be_read_by_many_threads(self, kind: str, folder: Path, tmp_path: Path) -> None:
        tree = open_tree(pack_folder(tmp_path / f"emodb{kind}", folder), (".wav",))
        unpickled = pickle.loads(pickle.dumps(tree))
        expected = read_all(FolderTree(folder))
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(read_all, [tree, unpickled] * 20):
                assert found == expected

    def test_only_changed_members_are_extracted_again(self, kind: str, folder: Path, tmp_path: Path) -> None:
        packed = pack_folder(tmp_path / f"emodb{kind}", folder)
        prepare_corpus(packed, tmp_path / "cache")
        members = read_files(folder)
        members[f"wav/{NAMES[2]}"] = wav(noise(seed="changed"))  # of the same size
        pack(packed, dict(reversed(members.items())))
        age([packed], seconds=LONG_AGO + 60)
        report = prepare_corpus(packed, tmp_path / "cache")
        assert (report.reused, report.extracted) == (5, 1)
        pack(packed, {name: each for name, each in members.items() if NAMES[0] not in name})
        report = prepare_corpus(packed, tmp_path / "cache")
        assert (report.utterances, report.extracted) == (5, 0)

    def test_an_extra_folder_and_files_of_macos_are_ignored(self, kind: str, folder: Path, tmp_path: Path) -> None:
        members = {f"EMO DB/{name}": each for name, each in read_files(folder).items()}
        members |= {f"__MACOSX/EMO DB/wav/._{name}": b"\0\5\x16\7" for name in NAMES}
        members |= {f"EMO DB/wav/._{NAMES[0]}": b"\0\5\x16\7", "EMO DB/.DS_Store": b"", ".hidden/03a01Fa.wav": b""}
        tree = open_tree(pack(tmp_path / f"emodb{kind}", members), (".wav",))
        scan = load_corpus("emodb").scan(tree)
        assert [each.path for each in scan.utterances] == [f"EMO DB/wav/{name}" for name in sorted(NAMES)]
        assert scan.skipped == {}


def test_label_files_are_read_from_archives(tmp_path: Path) -> None:
    builder = BUILDERS["iemocap"]
    for number, path in enumerate(builder.paths()):
        if number % 50 == 0:
            builder.add(tmp_path / "folder", path)
    corpus = load_corpus("iemocap")
    packed = pack(tmp_path / "iemocap.tar.gz", read_files(tmp_path / "folder"))
    scan = corpus.scan(open_tree(packed, (*corpus.suffixes, *corpus.label_suffixes)))
    assert len(scan.utterances) > 50
    assert scan == corpus.scan(FolderTree(tmp_path / "folder"))


def test_several_archives_are_an_error_that_lists_them(tmp_path: Path) -> None:
    for kind in (".zip", ".tar.gz"):
        pack(tmp_path / f"emodb{kind}", {"wav/03a01Fa.wav": b""})
    with pytest.raises(CorpusError) as caught:
        open_tree(tmp_path, (".wav",))
    assert (caught.value.where, caught.value.valid) == (tmp_path, ("emodb.tar.gz", "emodb.zip"))


def test_an_archive_beside_its_unpacked_files_is_ignored(folder: Path, tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES[:2])
    pack_folder(tmp_path / "root" / "emodb.zip", folder)
    assert isinstance(open_tree(tmp_path / "root", (".wav",)), FolderTree)


def test_an_archive_is_recognised_by_its_content(folder: Path, tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        for ending in ("", ".dat", ".zip", ".tar.bz2"):
            packed = pack_folder(tmp_path / f"{number}{kind}", folder).rename(tmp_path / f"any{number}{ending}")
            assert read_all(open_tree(packed, (".wav",))) == read_all(FolderTree(folder))


def test_utf_8_names_without_the_flag_are_read(tmp_path: Path) -> None:
    """macOS writes such names. Names in the DOS code page are also read."""
    flagged = make_zip({"Übung.wav": b"a"})
    unflagged = flagged.replace(b"\0\x08\x08\0", b"\0\0\x08\0")
    assert unflagged != flagged
    (tmp_path / "mac.zip").write_bytes(unflagged)
    assert read_all(ZipTree(tmp_path / "mac.zip")) == {"Übung.wav": b"a"}
    (tmp_path / "dos.zip").write_bytes(make_zip({"Xbung.wav": b"a"}).replace(b"Xbung", b"\x9abung"))
    assert read_all(ZipTree(tmp_path / "dos.zip")) == {"Übung.wav": b"a"}


def test_a_folder_is_read_under_its_own_name_not_that_of_a_link(tmp_path: Path) -> None:
    """Otherwise, a new link to a folder would change the ids that are paths."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").write_bytes(b"")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert list(open_tree(tmp_path, (".wav",)).list_files((".wav",))) == ["real/a.wav"]


def test_default_root_is_below_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_default_root("emodb") == Path("data/emodb")
    for unset in ("", str(tmp_path)):
        monkeypatch.setenv("EMODNA_DATA", unset)
        assert get_data_root() == Path(unset or "data")
        assert find_default_root("emodb") == get_data_root() / "emodb"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tgz"])
def test_default_root_may_be_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setenv("EMODNA_DATA", str(tmp_path))
    archive = tmp_path / f"emodb{suffix}"
    archive.mkdir()  # a folder with the name of an archive
    assert find_default_root("emodb") == tmp_path / "emodb"
    archive.rmdir()
    archive.write_bytes(b"")
    assert find_default_root("emodb") == archive
    (tmp_path / "emodb").mkdir()  # a folder takes precedence
    assert find_default_root("emodb") == tmp_path / "emodb"
