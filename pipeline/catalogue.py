"""Find stores below a cache folder."""

import shlex
from pathlib import Path

from emodna.pipeline import corpora, layout
from emodna.pipeline.errors import StoreError
from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS


def stores(cache: Path) -> list[Path]:
    """All stores below a cache folder, in order of corpus and feature set."""
    return sorted(file.parent for file in cache.glob(f"*/*/{layout.STORE_JSON}"))


def find_store(cache: Path, corpus: str, feature_set: str | None = None) -> Path:
    """Path of a corpus's store.

    Parameters
    ----------
    feature_set
        Name of a feature set (its default configuration), or a store's folder name in full.

    Raises
    ------
    StoreError
        Not prepared; names the command that prepares it, or the feature sets that are there.
    """
    name = feature_set or DEFAULT_FEATURE_SET
    folder = FEATURE_SETS[name].name if name in FEATURE_SETS else name
    store = cache / corpus / folder
    if (store / layout.STORE_JSON).exists():
        return store
    found = [path.name for path in stores(cache) if path.parent.name == corpus]
    if found:
        raise StoreError(
            f"{corpus}: no features {folder} in {cache}; there are: {', '.join(found)} (choose one by --feature-set)"
        )
    which = f" --feature-set {name}" if name in FEATURE_SETS and name != DEFAULT_FEATURE_SET else ""
    asked = corpora.options(corpus) or f"--manifest TABLE --name {shlex.quote(corpus)}"
    raise StoreError(f"{corpus}: not prepared in {cache}; prepare it by: emodna-prep {asked}{which}{in_cache(cache)}")


def in_cache(cache: Path) -> str:
    """What a command that is to use a cache folder ends in: nothing, if that is the usual one."""
    return "" if cache == Path("cache") else f" --cache {shlex.quote(str(cache))}"


def resolve_store(cache: Path, place: str) -> Path:
    """A store by its path, or by its corpus's name if that has one store.

    Raises
    ------
    StoreError
        No such store, or several.
    """
    if (Path(place) / layout.STORE_JSON).exists():
        return Path(place)
    found = [path for path in stores(cache) if path.parent.name == place]
    if len(found) > 1:
        raise StoreError(f"{place}: several stores, give a path: {', '.join(map(str, found))}")
    if not found:
        others = sorted({path.parent.name for path in stores(cache)})
        there = f"there are: {', '.join(others)}" if others else "the cache is empty; fill it by emodna-prep"
        raise StoreError(f"{place}: neither a store's path nor a corpus prepared in {cache}; {there}")
    return found[0]
