"""Stores in the formats of other tools. The registry: one module per format, loaded when it is asked for."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from emodna.pipeline.files import replace_atomically

if TYPE_CHECKING:
    from emodna.pipeline.export.base import Format
    from emodna.pipeline.store import FeatureStore

FORMATS: Final = ("parquet", "npz", "webdataset", "hf")


class Exported(NamedTuple):
    """Size of an export."""

    files: int
    bytes: int


def export_format(name: str) -> "Format":
    """Load one of `FORMATS`."""
    found: Format = importlib.import_module(f"emodna.pipeline.export.{name}").FORMAT
    return found


def default_place(store: "FeatureStore", name: str) -> Path:
    """Return the default place of an export: here, by the names of the corpus and the features."""
    return Path(f"{store.snapshot.corpus}-{store.path.name}{export_format(name).suffix}")


def export(store: "FeatureStore", name: str, place: Path, *, force: bool, told: Callable[[int], None]) -> Exported:
    """Write all of a store in one of `FORMATS`, to a file or folder; it is whole when it appears at its place.

    The same store gives the same bytes with the same versions of libraries. Memory holds the index and one shard.
    `told` is called with the number of further utterances that have been written. Raises `ExportError`: the place is
    taken, or is none for this format. Raises `StoreError`: features are damaged.
    """
    chosen = export_format(name)
    with replace_atomically(place, own_files=chosen.own_files, always=chosen.always, force=force) as fresh:
        chosen.write(store, fresh, told)
        files = [path for path in fresh.rglob("*") if path.is_file()] if chosen.own_files else [fresh]
        return Exported(len(files), sum(path.stat().st_size for path in files))
