"""What a corpus may be called, and a column whose name is taken."""

import re
from collections.abc import Collection, Iterable
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
#: What a command takes for every corpus.
_EVERY: Final = "all"


def is_valid_name(name: str) -> bool:
    """Whether a corpus may have this name: one that is a folder's on any system, and no word of the commands."""
    return _NAME.fullmatch(name) is not None and name != _EVERY


def renamed(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Name of each of a user's columns beside others: `own_` before those that are taken."""
    new: dict[str, str] = {}
    for name in names:
        free = name
        while free in taken or free in new.values():
            free = f"own_{free}"
        new[name] = free
    return new
