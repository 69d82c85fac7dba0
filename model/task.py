"""The task of a run: its classes, found from the corpora if they are not given, and the labels that it needs."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.errors import ConfigError, TrainingError
from emodna.pipeline.corpora import find_selection, load_corpus
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.inspect.balance import UNKNOWN, count_values
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.layout import INDEX_SCHEMA
from emodna.pipeline.tables import is_missing
from emodna.pipeline.tasks import (
    BUILT_IN_TASKS,
    CLASS_PRESETS,
    EMOTION_COLUMN,
    EMOTION_TASK,
    TASKS,
    Task,
    make_emotion_task,
)

_LOG: Final = logging.getLogger(__name__)
_TWO_CLASSES: Final = "a source needs at least two classes"
#: Greatest number of values of a column that an error lists.
_MAX_VALUES: Final = 8


def resolve_task(task: Task | str, sources: Sequence[FeatureStore], target: FeatureStore) -> Task:
    """Return the task of a run, given it or its name.

    The classes of the name `emotion` are the emotions that the labels of every source have, and that the target's
    publication lists; no label of the target is read. Raises ConfigError: unknown task, or too few emotions in common;
    TrainingError as `check_labels`.
    """
    if isinstance(task, str):
        if task == EMOTION_TASK:
            task = _find_shared_emotions(sources, target)
        elif task in BUILT_IN_TASKS:
            task = BUILT_IN_TASKS[task]
        else:
            raise ConfigError("unknown", field="task", value=task, valid=(*TASKS, EMOTION_TASK))
    check_labels(sources, task)
    return task


def check_labels(sources: Sequence[FeatureStore], task: Task) -> None:
    """Raise a TrainingError unless each source has labels of two classes, and the sources together of all classes."""
    found: set[int] = set()
    for source in sources:
        present = set(np.unique(source.labels(task)).tolist()) - {-1}
        if len(present) < 2:
            problem = (
                f"all {task.name} labels are {task.classes[present.pop()]}" if present else f"no {task.name} labels"
            )
            remedy = "a source needs both classes" if len(task) == 2 else _TWO_CLASSES
            problem += _describe_column(source, task)
            raise TrainingError(problem, field="sources", value=source.snapshot.corpus, remedy=remedy)
        found |= present
    if missing := [name for label, name in enumerate(task.classes) if label not in found]:
        names = ", ".join(source.snapshot.corpus for source in sources)
        problem = f"no labels of {task.name} {', '.join(missing)}"
        problem += "".join(_describe_column(source, task) for source in sources)
        raise TrainingError(problem, field="sources", value=names, remedy="choose other classes or another source")


def _describe_column(store: FeatureStore, task: Task) -> str:
    """Return the values of the column of a user's task, as the end of an error; empty if there are none."""
    if task.column == EMOTION_COLUMN:
        return ""
    if task.column not in store.column_names:
        own = [name for name in store.column_names if name not in INDEX_SCHEMA.names]
        return f": no column {task.column}, only {', '.join(own)}" if own else f": no column {task.column}"
    counts = _count_values(store.columns([task.column])[task.column])
    known = [f"{value!r} ({count})" for value, count in counts.items() if value != UNKNOWN]
    more = f" and {len(known) - _MAX_VALUES} more" * (len(known) > _MAX_VALUES)
    return f": the column {task.column} has {', '.join(known[:_MAX_VALUES]) or 'no value'}{more}"


def count_left_out(store: FeatureStore, task: Task) -> dict[str, int]:
    """Count the utterances without a label of the task by their value in its column, the most frequent first."""
    if task.column not in store.column_names:
        return {f"without a column {task.column}": len(store)}
    return _count_values(store.columns([task.column])[task.column].filter(pa.array(store.labels(task) < 0)))


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counts = Counter[str]()
    for value, count in count_values(column).items():
        counts[UNKNOWN if is_missing(value) else value] += count
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def digest_labels(sources: Sequence[FeatureStore], task: Task) -> dict[str, str]:
    """Return a hash of the labels of each source, for a task on a column that the store's fingerprint leaves out."""
    if task.column == EMOTION_COLUMN:
        return {}
    return {each.snapshot.corpus: hashlib.sha256(each.labels(task).tobytes()).hexdigest()[:16] for each in sources}


def _find_shared_emotions(sources: Sequence[FeatureStore], target: FeatureStore) -> Task:
    shared = set(EMOTIONS)
    for source in sources:
        found = set(pc.unique(source.columns([EMOTION_COLUMN])[EMOTION_COLUMN]).to_pylist()) - {None}
        if len(found) < 2:
            problem = f"all labels are {found.pop()}" if found else "no emotion labels"
            raise TrainingError(problem, field="sources", value=source.snapshot.corpus, remedy=_TWO_CLASSES)
        shared &= found
    corpora, corpus = [source.snapshot.corpus for source in sources], target.snapshot.corpus
    if (published := find_published_emotions(corpus)) is not None:
        shared &= published
        corpora.append(corpus)
    if len(shared) < 2:
        problem = f"{', '.join(corpora)} share {'only ' + min(shared) if shared else 'no emotion'}"
        remedy = "choose emotions that every source has"
        raise ConfigError(problem, field="classes", valid=(*EMOTIONS, *CLASS_PRESETS), remedy=remedy)
    if published is None:
        text = "no publication lists the emotions of %s: the classes are those of %s, %s"
        _LOG.warning(text, corpus, ", ".join(corpora), ", ".join(sorted(shared)))
    return make_emotion_task(sorted(shared))


def find_published_emotions(corpus: str) -> set[str] | None:
    """Return the emotions that the publication of a registered corpus lists; None for another corpus."""
    if (selection := find_selection(corpus)) is None:
        return None
    return set(load_corpus(selection.corpus, selection.subset).info.emotions.values())
