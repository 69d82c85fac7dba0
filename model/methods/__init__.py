"""The methods, by name. A new one is one file here and one line below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method
from emodna.model.methods.emo_dna import EmoDna
from emodna.model.methods.source_only import SourceOnly

METHODS: Final[Mapping[str, type[Method]]] = MappingProxyType({kind.name: kind for kind in (EmoDna, SourceOnly)})


def method(name: str) -> type[Method]:
    """Return the registered method of this name.

    Raises
    ------
    ConfigError
        Unknown name; lists the valid ones.
    """
    if name not in METHODS:
        raise ConfigError(f"--method {name}: unknown; valid: {', '.join(METHODS)}")
    return METHODS[name]
