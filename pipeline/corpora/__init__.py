"""The corpora, by name. A new one is one file here and one line below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.corpora.casia import Casia
from emodna.pipeline.corpora.emodb import Emodb
from emodna.pipeline.corpora.emovo import Emovo
from emodna.pipeline.corpora.iemocap import Iemocap
from emodna.pipeline.corpora.ravdess import Ravdess
from emodna.pipeline.corpora.savee import Savee
from emodna.pipeline.errors import CorpusError

CORPORA: Final[Mapping[str, type[Corpus]]] = MappingProxyType(
    {kind.name: kind for kind in (Casia, Emodb, Emovo, Iemocap, Ravdess, Savee)}
)


def corpus(name: str, subset: str | None = None) -> Corpus:
    """Return the registered corpus of this name, or a subset of it.

    Raises
    ------
    CorpusError
        Unknown name; lists the valid ones.
    """
    if name not in CORPORA:
        raise CorpusError(f"corpus {name}: unknown; valid: {', '.join(sorted(CORPORA))}")
    kind = CORPORA[name]
    if subset is None:
        return kind()
    if subset not in kind.subsets:
        raise CorpusError(f"--subset {subset}: {name} has {', '.join(kind.subsets) or 'no subsets'}")
    return kind(subset)  # type: ignore[call-arg]
