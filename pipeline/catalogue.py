"""Find feature stores in a cache folder."""

from collections.abc import Collection, Sequence
from pathlib import Path

from emodna.pipeline import corpora
from emodna.pipeline.errors import PrepareCorpus, Remedy, StoreError, find_similar
from emodna.pipeline.features import (
    DEFAULT_FEATURE_SET,
    FEATURE_SETS,
    EncoderSet,
    ImportedSet,
    list_feature_set_names,
    load_feature_set,
)
from emodna.pipeline.files import expand_home
from emodna.pipeline.plugins import is_valid_name
from emodna.pipeline.store import layout


def list_stores(cache: Path) -> list[Path]:
    """Return the paths of all stores in a cache, sorted by corpus and feature set."""
    return sorted(file.parent for file in cache.glob(f"*/*/{layout.STORE_JSON}"))


def resolve_folder_name(feature_set: str | None) -> str:
    """Return the folder name of a feature set in its default configuration; other names are folder names."""
    name = feature_set or DEFAULT_FEATURE_SET
    return load_feature_set(name).name if name in list_feature_set_names() else name


def find_store(cache: Path | str, corpus: str, feature_set: str | None = None) -> Path:
    """Return the store of a corpus and a feature set, named as for `find_stores`. Raises `StoreError`."""
    return find_stores(cache, [corpus], feature_set)[0]


def find_stores(cache: Path | str, corpora: Collection[str], feature_set: str | None = None) -> list[Path]:
    """Return the store of each corpus, in order. All have the same features.

    `feature_set` is the name of a feature set (in its default configuration), the name of a folder, or the beginning of
    one up to a hyphen: that of the only folder that all corpora have. Raises `StoreError`: a corpus is not prepared or
    has no such features, no folder is common, or several are.
    """
    cache = Path(cache)
    found = {corpus: _match_folders(cache / corpus, feature_set) for corpus in corpora}
    for corpus, folders in found.items():
        if not folders:
            _check_name(cache, feature_set)
            raise _make_missing_error(cache, corpus, feature_set)
    common = sorted(set.intersection(*map(set, found.values())))
    if not common:
        problem = "; ".join(f"{corpus} has {', '.join(folders)}" for corpus, folders in found.items())
        remedy = "prepare all corpora with one feature set"
        raise StoreError(f"not of one kind: {problem}", field="feature_set", value=feature_set, remedy=remedy)
    folder = _choose_folder(common, ", ".join(found), feature_set)
    return [cache / corpus / folder for corpus in corpora]


def find_all_stores(cache: Path | str, feature_set: str | None = None) -> list[Path]:
    """Return the stores of all corpora with a feature set, named as for `find_stores`, sorted by corpus.

    Raises `StoreError`: several feature sets in the cache match, or none has such a name.
    """
    cache = Path(cache)
    if not (folders := list_folders(cache, feature_set)):
        _check_name(cache, feature_set)
        return []
    folder = _choose_folder(folders, str(cache), feature_set)
    return [path for path in list_stores(cache) if path.name == folder]


def list_folders(cache: Path, feature_set: str | None = None) -> list[str]:
    """Return the folder names in a cache that a feature set, named as for `find_stores`, may mean, sorted."""
    return sorted(
        {name for corpus in list_prepared_corpora(cache) for name in _match_folders(cache / corpus, feature_set)}
    )


def _match_folders(corpus: Path, feature_set: str | None) -> list[str]:
    """Return the names of the stores in the folder of a corpus that a feature set means, sorted."""
    name = resolve_folder_name(feature_set)
    if (corpus / name / layout.STORE_JSON).exists():
        return [name]
    if name != feature_set:  # the name of a default configuration
        return []
    return sorted(file.parent.name for file in corpus.glob(f"*/{layout.STORE_JSON}") if _begins(file.parent.name, name))


def _check_name(cache: Path, feature_set: str | None) -> None:
    """Raise a `StoreError` if no store of the cache has this feature set, and none can have it."""
    known = [*list_feature_set_names(), EncoderSet.kind, ImportedSet.kind]
    if feature_set is None or any(name == feature_set or _begins(feature_set, name) for name in known):
        return
    if not list_folders(cache, feature_set):
        raise StoreError("unknown feature set", field="feature_set", value=feature_set, valid=known)


def _begins(folder: str, name: str) -> bool:
    return folder.startswith(f"{name.removesuffix('-')}-")


def _choose_folder(folders: Sequence[str], place: str, feature_set: str | None) -> str:
    if len(folders) == 1:
        return folders[0]
    problem = f"several match in {place}: {', '.join(folders)}"
    raise StoreError(problem, field="feature_set", value=feature_set, remedy="give the whole name of one")


def _make_missing_error(cache: Path, corpus: str, feature_set: str | None) -> StoreError:
    action = PrepareCorpus(corpus, cache, feature_set)
    names = [path.name for path in list_stores(cache) if path.parent.name == corpus]
    if names:
        remedy = Remedy("choose one with {feature_set}, or extract these features", action)
        problem = f"no features {resolve_folder_name(feature_set)} in {cache}"
        return StoreError(problem, where=corpus, valid=names, remedy=remedy)
    is_own, registered = corpora.find_selection(corpus) is None, corpora.list_corpus_names()
    valid = (list_prepared_corpora(cache) or registered) if is_own else []
    is_typo = is_own and (not is_valid_name(corpus) or bool(find_similar(corpus, [*valid, *registered])))
    advice = None if is_typo else Remedy("prepare the corpus", action)
    return StoreError(f"not prepared in {cache}", where=corpus, valid=valid, remedy=advice)


def list_prepared_corpora(cache: Path) -> list[str]:
    """Return the names of the corpora with a store in a cache, sorted."""
    return sorted({path.parent.name for path in list_stores(cache)})


def resolve_store(cache: Path | str, name: str) -> Path:
    """Return the store with this path, path in the cache, or corpus name (default features). Raises `StoreError`.

    The last part of the path may be a feature set, named as for `find_stores`: emodb/logmel.
    """
    cache, name = Path(cache), expand_home(name)
    for path in (Path(name), cache / name):
        if (path / layout.STORE_JSON).exists():
            return path
    stores = [path for path in list_stores(cache) if path.parent.name == name]
    stores = stores or [file.parent for file in sorted(Path(name).glob(f"*/{layout.STORE_JSON}"))]  # folder of a corpus
    default_stores = [path for path in stores if path.name == FEATURE_SETS[DEFAULT_FEATURE_SET].name]
    if len(stores) == 1 or default_stores:
        return (default_stores or stores)[0]
    if not stores:
        places = dict.fromkeys((Path(name), cache / name))
        stores = [place.parent / each for place in places for each in _match_folders(place.parent, place.name)]
        if len(stores) == 1:
            return stores[0]
    if stores:
        raise StoreError("several stores match", where=name, valid=stores, remedy="give the path of one")
    if not (prepared := list_prepared_corpora(cache)):
        remedy = Remedy("prepare a corpus", PrepareCorpus(cache=cache))
        raise StoreError(f"store not found; folder {cache} has no stores", where=name, remedy=remedy)
    corpus, _slash, feature_set = name.partition("/")
    if corpus in prepared and feature_set:
        valid = [f"{corpus}/{path.name}" for path in list_stores(cache) if path.parent.name == corpus]
        raise StoreError(f"no such feature set of {corpus} in {cache}", where=name, valid=valid)
    problem = f"no such store in {cache}; give the path of a store or a prepared corpus"
    raise StoreError(problem, where=name, valid=prepared)
