"""Find feature stores in a cache folder."""

from pathlib import Path

from emodna.pipeline import corpora
from emodna.pipeline.errors import PrepareCorpus, Remedy, StoreError, find_similar
from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from emodna.pipeline.files import expand_home
from emodna.pipeline.plugins import is_valid_name
from emodna.pipeline.store import layout


def list_stores(cache: Path) -> list[Path]:
    """Return the paths of all stores in a cache, sorted by corpus and feature set."""
    return sorted(file.parent for file in cache.glob(f"*/*/{layout.STORE_JSON}"))


def resolve_folder_name(feature_set: str | None) -> str:
    """Return the folder name of a feature set in its default configuration; other names are folder names."""
    name = feature_set or DEFAULT_FEATURE_SET
    return FEATURE_SETS[name].name if name in FEATURE_SETS else name


def find_store(cache: Path | str, corpus: str, feature_set: str | None = None) -> Path:
    """Return the store of a corpus and a feature set (its name or folder name). Raises `StoreError`."""
    cache, folder = Path(cache), resolve_folder_name(feature_set)
    store = cache / corpus / folder
    if (store / layout.STORE_JSON).exists():
        return store
    action = PrepareCorpus(corpus, cache, feature_set)
    names = [path.name for path in list_stores(cache) if path.parent.name == corpus]
    if names:
        remedy = Remedy("choose one with {feature_set}, or extract these features", action)
        raise StoreError(f"no features {folder} in {cache}", where=corpus, valid=names, remedy=remedy)
    is_own, registered = corpora.find_selection(corpus) is None, corpora.list_corpus_names()
    valid = (list_prepared_corpora(cache) or registered) if is_own else []
    is_typo = is_own and (not is_valid_name(corpus) or bool(find_similar(corpus, [*valid, *registered])))
    advice = None if is_typo else Remedy("prepare the corpus", action)
    raise StoreError(f"not prepared in {cache}", where=corpus, valid=valid, remedy=advice)


def list_prepared_corpora(cache: Path) -> list[str]:
    """Return the names of the corpora with a store in a cache, sorted."""
    return sorted({path.parent.name for path in list_stores(cache)})


def resolve_store(cache: Path | str, name: str) -> Path:
    """Return the store with this path, path in the cache, or corpus name (default features). Raises `StoreError`."""
    cache, name = Path(cache), expand_home(name)
    for path in (Path(name), cache / name):
        if (path / layout.STORE_JSON).exists():
            return path
    stores = [path for path in list_stores(cache) if path.parent.name == name]
    stores = stores or [file.parent for file in sorted(Path(name).glob(f"*/{layout.STORE_JSON}"))]  # folder of a corpus
    default_stores = [path for path in stores if path.name == FEATURE_SETS[DEFAULT_FEATURE_SET].name]
    if len(stores) == 1 or default_stores:
        return (default_stores or stores)[0]
    if stores:
        raise StoreError("several stores match", where=name, valid=stores, remedy="give the path of one")
    if not (prepared := list_prepared_corpora(cache)):
        remedy = Remedy("prepare a corpus", PrepareCorpus(cache=cache))
        raise StoreError(f"store not found; folder {cache} has no stores", where=name, remedy=remedy)
    problem = f"no such store in {cache}; give the path of a store or a prepared corpus"
    raise StoreError(problem, where=name, valid=prepared)
