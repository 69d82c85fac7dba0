"""Open the root of a corpus: a folder, a ZIP or a tar file."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from emodna.pipeline.archives.base import ARCHIVE_SUFFIXES, Stamp, Tree, is_hidden
from emodna.pipeline.archives.folder import FolderTree
from emodna.pipeline.archives.tar import TarTree, is_tar
from emodna.pipeline.archives.zip import ZipTree
from emodna.pipeline.errors import CorpusError, check_list
from emodna.pipeline.files import expand_home

__all__ = ["ARCHIVE_SUFFIXES", "FolderTree", "Stamp", "TarTree", "Tree", "ZipTree", "open_tree"]


def open_tree(root: Path, suffixes: Sequence[str], label_suffixes: Sequence[str] = ()) -> Tree:
    """Open a folder, an archive, or the only archive in a folder without files of `suffixes`.

    `suffixes` are the lower-case suffixes of recordings, `label_suffixes` those of label files. A file with a label
    suffix, such as a readme, does not hide an archive in the same folder.

    Raises `CorpusError`: root not found, not a folder or archive, or several archives. Raises `EmodnaError` if
    `suffixes` is one suffix.
    """
    check_list("suffixes", suffixes)
    check_list("label_suffixes", label_suffixes)
    if not root.is_dir():
        return _open_archive(root, (*suffixes, *label_suffixes))
    tree = FolderTree(root)
    if next(tree.list_files(suffixes), None) is not None:
        return tree
    archives = [path for path in tree.list_files(ARCHIVE_SUFFIXES) if "/" not in path]
    if len(archives) > 1:
        raise CorpusError("several archives", where=root, valid=archives, remedy="give the path of one")
    return _open_archive(root / archives[0], (*suffixes, *label_suffixes)) if archives else tree


def _open_archive(root: Path, suffixes: Sequence[str]) -> Tree:
    try:
        if not root.is_file():
            raise CorpusError("neither a folder nor a file" if root.exists() else "not found", where=root)
        if is_tar(root):  # before ZIP: a tar with a ZIP as its last member ends like a ZIP
            return TarTree(root, suffixes)
        if zipfile.is_zipfile(root) or root.suffix.lower() == ".zip":
            return ZipTree(root)
        if root.name.lower().endswith(ARCHIVE_SUFFIXES):
            return TarTree(root, suffixes)  # raises an error with the reason
    except OSError as error:
        raise CorpusError(f"cannot be read: {error.strerror or error}", where=root) from error
    raise CorpusError("neither a folder nor a ZIP or tar file", where=root)


def get_data_root() -> Path:
    """Return the folder of all corpora: $EMODNA_DATA, or ./data."""
    return Path(expand_home(os.environ.get("EMODNA_DATA") or "data"))


def find_default_root(corpus: str) -> Path:
    """Return the folder of a corpus in `get_data_root`, or else the archive of this name."""
    folder = get_data_root() / corpus
    if folder.is_dir():
        return folder
    archives = (folder.with_name(corpus + suffix) for suffix in ARCHIVE_SUFFIXES)
    return next((archive for archive in archives if archive.is_file()), folder)


def list_contents(root: Path) -> list[str]:
    """Return the names of the visible files in a root folder, or the name of a root file; [] if there is no root."""
    if not root.is_dir():
        return [root.name] if root.exists() else []
    return sorted(path.name for path in root.iterdir() if not is_hidden(path.name))
