"""What the scores are called."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Key in results -> name in the field, in the order in which people see them: UAR first.
SCORE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"}
)
