"""Export feature stores to the formats of other tools; the registry loads one module per format on demand."""

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
    """Return one of `FORMATS`; import its module."""
    found: ExportFormat = importlib.import_module(f"emodna.pipeline.export.{name}").FORMAT
    return found


def make_default_path(store: "FeatureStore", name: str) -> Path:
    """Return the default path of an export: corpus and feature set, in the current folder."""
    return Path(f"{store.snapshot.corpus}-{store.path.name}{load_format(name).suffix}")


def export_store(
    store: "FeatureStore", name: str, place: Path, *, force: bool, on_progress: Callable[[int], None]
) -> ExportSize:
    """Write a store to a file or folder in one of `FORMATS`; a failed export leaves nothing behind.

    The same store gives the same bytes with the same versions of libraries. Memory holds the index and one shard.
    `on_progress` is called with the number of utterances written since its last call. Raises `ExportError` if `place`
    exists without `force` or does not fit the format, and `StoreError` if features are damaged.
    """
    chosen = load_format(name)
    with replace_atomically(place, own_files=chosen.own_files, always=chosen.always, force=force) as fresh:
        chosen.write(store, fresh, on_progress)
        files = [path for path in fresh.rglob("*") if path.is_file()] if chosen.own_files else [fresh]
        return ExportSize(len(files), sum(path.stat().st_size for path in files))
