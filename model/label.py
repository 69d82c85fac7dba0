"""Labels of methods and names of scores in tables and charts. Needs no numpy."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

#: `Method.supervision` of methods that use no target labels.
SOURCE_SUPERVISION: Final = "source"
ORACLE: Final = "oracle"
OUR_READING: Final = "our reading"
#: Display name of each score in results, in display order.
SCORE_NAMES: Final = MappingProxyType({"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"})


def is_oracle(supervision: object) -> bool:
    """Return True if a method with this `Method.supervision` learns from target labels. None means unknown."""
    return supervision not in (None, SOURCE_SUPERVISION)


def mark_oracle(method: object, supervision: object) -> str:
    """Return the name of a method, marked if it learns from target labels."""
    return f"{method} ({ORACLE})" if is_oracle(supervision) else str(method)


def make_label(method: str, changed: Mapping[str, Any], *, our_reading: bool, supervision: str) -> str:
    """Return the label of a method with its non-default settings, e.g. `dann + scl` or `emo-dna (threshold=none)`.

    Settings come last, where a narrow table may cut them off.
    """
    settings = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in changed.items()
        if key != "add"
    ]
    added = f" + {changed['add']}" if "add" in changed else ""
    name = mark_oracle(f"{method}{added}{f' ({OUR_READING})' if our_reading else ''}", supervision)
    return f"{name} ({', '.join(settings)})" if settings else name


def read_label(config: Mapping[str, Any]) -> str | None:
    """Return the label in a run's config.json, else the method's name, marked (earlier versions), else None."""
    if isinstance(label := config.get("label"), str):
        return label
    decisive = config.get("decisive")
    method = decisive.get("method") if isinstance(decisive, dict) else None
    return mark_oracle(method, config.get("supervision", SOURCE_SUPERVISION)) if isinstance(method, str) else None
