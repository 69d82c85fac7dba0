"""Find stores below a cache folder."""

from pathlib import Path

from emodna.pipeline import corpora
from emodna.pipeline.errors import PrepareCorpus, Remedy, StoreError
from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from emodna.pipeline.store import layout


def list_stores(cache: Path) -> list[Path]:
    """List all stores below a cache folder, in order of corpus and feature set."""
    return sorted(file.parent for file in cache.glob(f"*/*/{layout.STORE_JSON}"))


def resolve_folder_name(feature_set: str | None) -> str:
    """Return the name of a store's folder: of a feature set in its default configuration, else the name itself."""
    name = feature_set or DEFAULT_FEATURE_SET
    return FEATURE_SETS[name].name if name in FEATURE_SETS else name


def find_store(cache: Path, corpus: str, feature_set: str | None = None) -> Path:
    """Return the path of a corpus's store of a feature set (name, or folder name in full), or raise a `StoreError`."""
    folder = resolve_folder_name(feature_set)
    store = cache / corpus / folder
    if (store / layout.STORE_JSON).exists():
        return store
    action = PrepareCorpus(corpus, cache, feature_set)
    found = [path.name for path in list_stores(cache) if path.parent.name == corpus]
    if found:
        remedy = Remedy("choose one with {feature_set}, or extract these features", action)
        raise StoreError(f"no features {folder} in {cache}", where=corpus, valid=found, remedy=remedy)
    # Only a name that no registered corpus has can be a typing error for one in the cache.
    prepared = () if corpora.find_selection(corpus) else list_prepared_corpora(cache)
    raise StoreError(f"not prepared in {cache}", where=corpus, valid=prepared, remedy=Remedy("prepare it", action))


def list_prepared_corpora(cache: Path) -> list[str]:
    """List the corpora that have a store in a cache, by name."""
    return sorted({path.parent.name for path in list_stores(cache)})


def resolve_store(cache: Path, place: str) -> Path:
    """Find a store by path, here or in the cache, or by its corpus, with the usual features; else a `StoreError`."""
    for path in (Path(place), cache / place):
        if (path / layout.STORE_JSON).exists():
            return path
    found = [path for path in list_stores(cache) if path.parent.name == place]
    found = found or [file.parent for file in sorted(Path(place).glob(f"*/{layout.STORE_JSON}"))]  # a corpus's folder
    usual = [path for path in found if path.name == FEATURE_SETS[DEFAULT_FEATURE_SET].name]
    if len(found) == 1 or usual:
        return (usual or found)[0]
    if found:
        raise StoreError("several stores; give the path of one", where=place, valid=found)
    if not (prepared := list_prepared_corpora(cache)):
        remedy = Remedy("fill it", PrepareCorpus(cache=cache))
        raise StoreError(f"no such store; the cache {cache} is empty", where=place, remedy=remedy)
    raise StoreError(f"neither the path of a store nor a corpus prepared in {cache}", where=place, valid=prepared)
