"""Registry of the methods that adapt a trained model without its source data. Listing their names imports no torch."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from emodna.model.errors import ConfigError

if TYPE_CHECKING:
    from emodna.model.adaptation.base import Adaptation

_CLASSES: Final = MappingProxyType({"adabn": "AdaBn", "prior": "Prior", "t3a": "T3a", "shot": "Shot"})
"""Class of each method, in the order of lists. The module has the name of the method."""
ADAPTATIONS: Final = tuple(_CLASSES)


def get_adaptation(name: str) -> "type[Adaptation]":
    """Import and return a method; raise a ConfigError if it is unknown."""
    if name not in _CLASSES:
        raise ConfigError("unknown", field="method", value=name, valid=ADAPTATIONS)
    kind: type[Adaptation] = getattr(importlib.import_module(f"{__name__}.{name}"), _CLASSES[name])
    return kind
