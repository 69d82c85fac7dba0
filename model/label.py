"""Names beside results: of scores, and of a method with all that makes it another one. It needs no numpy."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

#: What `Method.supervision` is of a run that no label of the target had a part in.
SOURCE_SUPERVISION: Final = "source"
ORACLE: Final = "oracle"
OUR_READING: Final = "our reading"
#: Key in results -> name in the field, in the order of display: UAR first.
SCORE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"}
)


def is_oracle(supervision: object) -> bool:
    """Whether a run of this `Method.supervision` learnt from the target's labels; None where nothing is known of it."""
    return supervision not in (None, SOURCE_SUPERVISION)


def mark_oracle(method: object, supervision: object) -> str:
    """A method's name, with a mark where it learns from the target's labels."""
    return f"{method} ({ORACLE})" if is_oracle(supervision) else str(method)


def make_label(method: str, changed: Mapping[str, Any], *, our_reading: bool, supervision: str) -> str:
    """A method's name as it stands beside its results, such as `dann + scl` or `emo-dna (threshold=none)`.

    `changed` holds its settings that are not defaults. They come last: a narrow table may cut them off.
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
    """The label in a run's config.json; of an earlier version's, the marked name; None where neither is there."""
    if isinstance(found := config.get("label"), str):
        return found
    decisive = config.get("decisive")
    method = decisive.get("method") if isinstance(decisive, dict) else None
    return mark_oracle(method, config.get("supervision", SOURCE_SUPERVISION)) if isinstance(method, str) else None
