"""Who is told how a training goes."""

from collections.abc import Mapping
from typing import Protocol


class Watcher(Protocol):
    """Is told how training goes."""

    def began(self, done: int) -> None:
        """The first step comes next, or the one behind a checkpoint of so many steps."""

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """So many steps are done; the last one's terms, their total, and what the method monitors."""
