"""Roots: where a corpus's files lie, in a folder, a ZIP or a tar."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from emodna.pipeline.archives.base import ARCHIVE_SUFFIXES, Stamp, Tree, is_hidden
from emodna.pipeline.archives.folder import FolderTree
from emodna.pipeline.archives.tar import TarTree, is_tar
from emodna.pipeline.archives.zip import ZipTree
from emodna.pipeline.errors import CorpusError

__all__ = ["ARCHIVE_SUFFIXES", "FolderTree", "Stamp", "TarTree", "Tree", "ZipTree", "open_tree"]


def open_tree(root: Path, suffixes: Sequence[str], also: Sequence[str] = ()) -> Tree:
    """Open a root: a folder, an archive, or a folder with nothing of the kind but one archive, as downloads leave it.

    It is opened for files with the lower-case `suffixes`. Files with those of `also` will be asked for, too; a readme
    beside an archive may have one of these. Raises `CorpusError`: no such root, neither folder nor archive, or several
    archives to choose from.
    """
    if not root.is_dir():
        return _open_archive(root, (*suffixes, *also))
    tree = FolderTree(root)
    if next(tree.list_files(suffixes), None) is not None:
        return tree
    archives = [path for path in tree.list_files(ARCHIVE_SUFFIXES) if "/" not in path]
    if len(archives) > 1:
        raise CorpusError(f"root {root}: {len(archives)} archives: choose one by --root: {', '.join(archives)}")
    return _open_archive(root / archives[0], (*suffixes, *also)) if archives else tree


def _open_archive(root: Path, suffixes: Sequence[str]) -> Tree:
    try:
        if not root.is_file():
            found = "neither folder nor file" if root.exists() else "no such folder or file"
            raise CorpusError(f"root {root}: {found}")
        if is_tar(root):  # asked first: a tar that holds a ZIP may end as one
            return TarTree(root, suffixes)
        if zipfile.is_zipfile(root) or root.suffix.lower() == ".zip":
            return ZipTree(root)
        if root.name.lower().endswith(ARCHIVE_SUFFIXES):
            return TarTree(root, suffixes)  # tells what is wrong with it
    except OSError as error:
        raise CorpusError(f"root {root}: cannot be read: {error.strerror or error}") from error
    raise CorpusError(f"root {root}: neither a folder nor a ZIP or tar file")


def get_data_root() -> Path:
    """Return the folder of all corpora: $EMODNA_DATA, else ./data."""
    return Path(os.environ.get("EMODNA_DATA") or "data")


def find_default_root(corpus: str) -> Path:
    """Return the root of a corpus: its folder below `get_data_root`, or an archive of its name there."""
    folder = get_data_root() / corpus
    if folder.is_dir():
        return folder
    archives = (folder.with_name(corpus + suffix) for suffix in ARCHIVE_SUFFIXES)
    return next((archive for archive in archives if archive.is_file()), folder)


def list_contents(root: Path) -> list[str]:
    """List what lies in a folder, or the file that a root is; no hidden ones, as unfinished downloads are."""
    if not root.is_dir():
        return [root.name] if root.exists() else []
    return sorted(path.name for path in root.iterdir() if not is_hidden(path.name))
