"""Export feature stores to the formats of other tools; each format is a module that is loaded on demand."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from emodna.pipeline.files import replace_atomically

if TYPE_CHECKING:
    from emodna.pipeline.export.base import ExportFormat
    from emodna.pipeline.store import FeatureStore

FORMATS: Final = ("parquet", "npz", "webdataset", "hf")


class ExportSize(NamedTuple):
    """Number of files and bytes of an export."""

    files: int
    bytes: int


def load_format(name: str) -> "ExportFormat":
    """Load one of `FORMATS`."""
    format: ExportFormat = importlib.import_module(f"emodna.pipeline.export.{name}").FORMAT
    return format


def make_default_path(store: "FeatureStore", name: str) -> Path:
    """Return the default path of an export in the current folder, named after corpus and feature set."""
    return Path(f"{store.snapshot.corpus}-{store.path.name}{load_format(name).suffix}")


def export_store(
    store: "FeatureStore", name: str, out: Path, *, force: bool, on_progress: Callable[[int], None]
) -> ExportSize:
    """Write a store to a file or folder in one of `FORMATS`; a failed export leaves nothing behind.

    The same store and library versions give the same bytes. Needs memory for the index and one shard. `on_progress`
    takes the number of utterances written since its last call. Raises `ExportError` if `out` exists and `force` is
    false, or if it is not an export of this format; `StoreError` if features are damaged.
    """
    format = load_format(name)
    with replace_atomically(out, own_files=format.own_files, always=format.always, force=force) as temporary:
        format.write(store, temporary, on_progress)
        files = [path for path in temporary.rglob("*") if path.is_file()] if format.own_files else [temporary]
        return ExportSize(len(files), sum(path.stat().st_size for path in files))
