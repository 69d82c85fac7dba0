"""Find stores below a cache folder."""

import shlex
from pathlib import Path

from emodna.pipeline import corpora
from emodna.pipeline.errors import StoreError
from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from emodna.pipeline.store import layout


def stores(cache: Path) -> list[Path]:
    """List all stores below a cache folder, in order of corpus and feature set."""
    return sorted(file.parent for file in cache.glob(f"*/*/{layout.STORE_JSON}"))


def folder_name(feature_set: str | None) -> str:
    """Return the name of a store's folder: of a feature set in its default configuration, else the name itself."""
    name = feature_set or DEFAULT_FEATURE_SET
    return FEATURE_SETS[name].name if name in FEATURE_SETS else name


def find_store(cache: Path, corpus: str, feature_set: str | None = None) -> Path:
    """Return the path of a corpus's store of a feature set (name, or folder name in full), or raise a `StoreError`."""
    name, folder = feature_set or DEFAULT_FEATURE_SET, folder_name(feature_set)
    store = cache / corpus / folder
    if (store / layout.STORE_JSON).exists():
        return store
    which = f" --feature-set {name}" if name in FEATURE_SETS and name != DEFAULT_FEATURE_SET else ""
    options = corpora.options(corpus)
    asked = options or f"--manifest TABLE --name {shlex.quote(corpus)}"
    command = f"emodna-prep {asked}{which}{in_cache(cache)}"
    found = [path.name for path in stores(cache) if path.parent.name == corpus]
    if found:
        there = f"there are: {', '.join(found)} (choose one by --feature-set)"
        raise StoreError(f"{corpus}: no features {folder} in {cache}; {there}; or extract them by: {command}")
    there = "" if options else f" ({_prepared(cache)})"
    raise StoreError(f"{corpus}: not prepared in {cache}{there}; prepare it by: {command}")


def in_cache(cache: Path) -> str:
    """Return the option that tells a command the cache folder: none, if that is the usual one."""
    return "" if cache == Path("cache") else f" --cache {shlex.quote(str(cache))}"


def resolve_store(cache: Path, place: str) -> Path:
    """Find a store by path, here or in the cache, or by its corpus, with the usual features; else a `StoreError`."""
    for path in (Path(place), cache / place):
        if (path / layout.STORE_JSON).exists():
            return path
    found = [path for path in stores(cache) if path.parent.name == place]
    found = found or [file.parent for file in sorted(Path(place).glob(f"*/{layout.STORE_JSON}"))]  # a corpus's folder
    usual = [path for path in found if path.name == FEATURE_SETS[DEFAULT_FEATURE_SET].name]
    if len(found) == 1 or usual:
        return (usual or found)[0]
    if found:
        raise StoreError(f"{place}: several stores, give a path: {', '.join(map(str, found))}")
    raise StoreError(f"{place}: neither a store's path nor a corpus prepared in {cache}; {_prepared(cache)}")


def _prepared(cache: Path) -> str:
    others = sorted({path.parent.name for path in stores(cache)})
    return f"there are: {', '.join(others)}" if others else "the cache is empty; fill it by emodna-prep"
