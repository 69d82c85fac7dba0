"""Opening the store that an argument names."""

from pathlib import Path
from typing import TYPE_CHECKING

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.pipeline.store import FeatureStore


def open_store(cache: Path, store: str) -> "FeatureStore":
    """Open a store by its corpus's name or its path.

    Raises
    ------
    StoreError
        No such store, several, or a damaged one.
    """
    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.catalogue import resolve_store

    path = resolve_store(cache, store)
    common.detail(f"store {common.safe(path)}")
    return FeatureStore(path)
