"""Where a corpus lies, unless a user says otherwise."""

import os
from pathlib import Path

from emodna.pipeline.archives import ARCHIVE_SUFFIXES
from emodna.pipeline.archives.base import is_hidden


def data_root() -> Path:
    """Folder of all corpora: $EMODNA_DATA, else ./data."""
    return Path(os.environ.get("EMODNA_DATA") or "data")


def default_root(corpus: str) -> Path:
    """Root of a corpus: its folder below `data_root`, else an archive of its name there, else the folder to be made."""
    folder = data_root() / corpus
    if folder.is_dir():
        return folder
    archives = (folder.with_name(corpus + suffix) for suffix in ARCHIVE_SUFFIXES)
    return next((archive for archive in archives if archive.is_file()), folder)


def contents(root: Path) -> list[str]:
    """Names of what lies in a folder, or of the file that a root is; no hidden ones, as unfinished downloads are."""
    if not root.is_dir():
        return [root.name] if root.exists() else []
    return sorted(path.name for path in root.iterdir() if not is_hidden(path.name))
