"""Words that tables, figures and the page share. It needs no torch."""

from collections.abc import Iterable, Sequence
from typing import Final

from emodna.pipeline.emotions import CLASS_NAMES, TASKS, Task

#: So many are named, and more of them counted.
NAMED: Final = 6


def few(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def class_name(tasks: Iterable[Task], label: int) -> str:
    """A class in words: `high` in arousal, `positive` in valence, `high / positive` in both."""
    there = set(tasks)
    return " / ".join(CLASS_NAMES[task][label] for task in TASKS if task in there)
