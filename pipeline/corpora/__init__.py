"""Registry of the corpora. To add one, add a file here and a line below, or write a plug-in in another package."""

from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Final, NamedTuple

from emodna.pipeline import plugins
from emodna.pipeline.audio.provenance import AudioProvenance, split_store_name
from emodna.pipeline.corpora.base import Corpus, CorpusInfo
from emodna.pipeline.corpora.casia import Casia
from emodna.pipeline.corpora.emodb import Emodb
from emodna.pipeline.corpora.emovo import Emovo
from emodna.pipeline.corpora.iemocap import Iemocap
from emodna.pipeline.corpora.ravdess import Ravdess
from emodna.pipeline.corpora.savee import Savee
from emodna.pipeline.errors import CorpusError, PluginError

CORPORA: Final[Mapping[str, type[Corpus]]] = MappingProxyType(
    {kind.name: kind for kind in (Casia, Emodb, Emovo, Iemocap, Ravdess, Savee)}
)
"""Corpora of this package by name. A plug-in cannot replace one."""

ENTRY_POINTS: Final = "emodna.corpora"
"""Group of entry points for the corpora of other packages."""


def load_corpus(name: str, subset: str | None = None) -> Corpus:
    """Return the corpus of this name, or a subset of it.

    Raises `CorpusError`: unknown name or subset. Raises `PluginError`: unusable plug-in.
    """
    entry = None if name in CORPORA else plugins.find_entry_points(ENTRY_POINTS).get(name)
    if name not in CORPORA and entry is None:
        raise CorpusError("unknown corpus", where=name, valid=list_corpus_names())
    kind = CORPORA[name] if entry is None else _load(entry)
    if subset is not None and subset not in kind.subsets:
        problem = "unknown subset" if kind.subsets else "this corpus has no subsets"
        raise CorpusError(problem, where=name, field="subset", value=subset, valid=kind.subsets)
    arguments = () if subset is None else (subset,)
    with nullcontext() if entry is None else plugins.wrap_plugin_errors(entry, f"{entry.value}()"):
        return kind(*arguments)


def list_corpus_names() -> list[str]:
    """Return the names of all corpora, sorted, including plug-ins. Imports nothing."""
    return sorted({*CORPORA, *plugins.find_entry_points(ENTRY_POINTS)})


def load_corpora() -> Mapping[str, type[Corpus] | PluginError]:
    """Import and return all corpora by name, sorted; the error instead of the class for an unusable plug-in."""
    kinds: dict[str, type[Corpus] | PluginError] = dict(CORPORA)
    for name, entry in plugins.find_entry_points(ENTRY_POINTS).items():
        if name not in CORPORA:
            try:
                kinds[name] = _load(entry)
            except PluginError as error:
                kinds[name] = error
    return dict(sorted(kinds.items()))


def _load(entry: EntryPoint) -> type[Corpus]:
    kind = plugins.load(entry, Corpus)  # type: ignore[type-abstract]
    if not isinstance(getattr(kind, "info", None), CorpusInfo):
        raise plugins.make_plugin_error(entry, f"{entry.value} has no `info` of type CorpusInfo")
    return kind


class Selection(NamedTuple):
    """A registered corpus, its subset, and the part of its audio, which have a store of their own."""

    corpus: str
    subset: str | None = None
    provenance: AudioProvenance = AudioProvenance()


def find_selection(name: str) -> Selection | None:
    """Return the registered corpus, subset and audio whose store has this name; None if there is none."""
    names = list_corpus_names()
    if name in names:
        return Selection(name)
    base, provenance = split_store_name(name)
    if base in names:
        return Selection(base, None, provenance)
    subsets = ((corpus, subset) for corpus, kind in CORPORA.items() for subset in kind.subsets)
    found = (Selection(corpus, subset, provenance) for corpus, subset in subsets if base == f"{corpus}-{subset}")
    return next(found, None)
