"""Files that may hold recordings but are not read: formats that only ffmpeg decodes, and archives inside a root."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emodna.pipeline.archives import ARCHIVE_SUFFIXES, FolderTree, Tree, open_tree
from emodna.pipeline.audio import FFMPEG_SUFFIXES
from emodna.pipeline.errors import CorpusError, Remedy, format_count

#: Suffixes of archives inside a folder or another archive; nothing opens them there.
INNER_ARCHIVE_SUFFIXES: Final = (*ARCHIVE_SUFFIXES, ".7z", ".rar")


def find_suffix(path: str, suffixes: tuple[str, ...]) -> str | None:
    """Return the suffix of a path, in lower case; None if it is none of `suffixes`."""
    name = path.lower()
    return next(filter(name.endswith, suffixes)) if name.endswith(suffixes) else None


def open_recordings(root: Path, suffixes: tuple[str, ...]) -> Tree:
    """Open a root like `open_tree`, but not the only archive in a folder that has recordings in other formats."""
    tree = open_tree(root, suffixes)
    if root.is_dir() and not isinstance(tree, FolderTree):
        folder = FolderTree(root)
        return tree if next(folder.list_files(FFMPEG_SUFFIXES), None) is None else folder
    return tree


def make_left_out_error(left_out: Mapping[str, int], where: object) -> CorpusError:
    """Return the warning about left-out files by suffix, or the error if the root holds no other recording."""
    counts = ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(left_out.items(), key=lambda each: (-each[1], each[0]))
    )
    problem = f"{format_count(sum(left_out.values()), 'file')} left out: {counts}"
    if set(left_out) <= set(INNER_ARCHIVE_SUFFIXES):
        return CorpusError(problem, where=where, remedy="unpack the archives, or give the path of one")
    if not set(left_out) & set(INNER_ARCHIVE_SUFFIXES):
        return CorpusError(problem, where=where, remedy=Remedy("decode them with {ffmpeg}, or convert them to WAV"))
    remedy = Remedy("decode the recordings with {ffmpeg}, or convert them to WAV; unpack the archives")
    return CorpusError(problem, where=where, remedy=remedy)
