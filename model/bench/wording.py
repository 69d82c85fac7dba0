"""Words that tables, figures and the page share. It needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
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


def shared_notes(shared: Mapping[tuple[str, str], int]) -> list[str]:
    """What a reader has to know of pairs whose target is partly in the source: (source, target) -> recordings."""
    return [
        f"{src} -> {tgt}: {_recordings(count)}; its scores say little of unheard speech"
        for (src, tgt), count in shared.items()
    ]


def shared_facts(shared: Mapping[tuple[str, str], int]) -> list[dict[str, object]]:
    """The same for a JSON document."""
    return [{"src": src, "tgt": tgt, "recordings": count} for (src, tgt), count in shared.items()]


def _recordings(count: int) -> str:
    if count == 1:
        return "1 recording of the target is in the source, too, with its label"
    return f"{count} recordings of the target are in the source, too, with their labels"
