"""What a corpus may be called."""

import re
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
#: What a command takes for every corpus.
_EVERY: Final = "all"


def is_valid_name(name: str) -> bool:
    """Whether a corpus may have this name: one that is a folder's on any system, and no word of the commands."""
    return _NAME.fullmatch(name) is not None and name != _EVERY
