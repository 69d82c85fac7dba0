"""The task of a run: its classes, found from the corpora if they are not given, and the labels that it needs."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow.compute as pc

from emodna.model.errors import ConfigError, TrainingError
from emodna.pipeline.corpora import find_selection, load_corpus
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.store import FeatureStore
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


def resolve_task(
    task: Task | str, classes: Sequence[str], sources: Sequence[FeatureStore], target: FeatureStore
) -> Task:
    """Return the task of a run, given it or its name; `classes` are emotions or presets for the task `emotion`.

    Without classes, those of `emotion` are the emotions that the labels of every source have, and that the target's
    publication lists; no label of the target is read. Raises ConfigError: unknown task, classes of another task, too
    few emotions; TrainingError as `check_labels`.
    """
    if isinstance(task, str):
        if task == EMOTION_TASK:
            task = make_emotion_task(classes) if classes else _find_shared_emotions(sources, target)
        elif task in BUILT_IN_TASKS:
            task = BUILT_IN_TASKS[task]
        else:
            raise ConfigError("unknown", field="task", value=task, valid=(*TASKS, EMOTION_TASK))
    if classes and task.name != EMOTION_TASK:
        problem = f"the task {task.name} has classes of its own: {', '.join(task.classes)}"
        raise ConfigError(problem, field="classes", value=",".join(classes), remedy="leave it out")
    check_labels(sources, task)
    return task


def check_labels(sources: Sequence[FeatureStore], task: Task) -> None:
    """Raise a TrainingError unless each source has labels of two classes, and the sources together of all classes."""
    found: set[int] = set()
    for source in sources:
        present = set(np.unique(source.labels(task)).tolist()) - {-1}
        if len(present) < 2:
            problem = f"no {task.name} labels"
            if present:
                problem = f"all labels are {task.classes[present.pop()]} {task.name}"
            remedy = "a source needs both classes" if len(task) == 2 else "a source needs at least two classes"
            raise TrainingError(problem, field="sources", value=source.snapshot.corpus, remedy=remedy)
        found |= present
    if missing := [name for label, name in enumerate(task.classes) if label not in found]:
        names = ", ".join(source.snapshot.corpus for source in sources)
        problem = f"no labels of {task.name} {', '.join(missing)}"
        raise TrainingError(problem, field="sources", value=names, remedy="choose other classes or another source")


def digest_labels(sources: Sequence[FeatureStore], task: Task) -> dict[str, str]:
    """Return a hash of the labels of each source, for a task on a column that the store's fingerprint leaves out."""
    if task.column == EMOTION_COLUMN:
        return {}
    return {each.snapshot.corpus: hashlib.sha256(each.labels(task).tobytes()).hexdigest()[:16] for each in sources}


def _find_shared_emotions(sources: Sequence[FeatureStore], target: FeatureStore) -> Task:
    shared = set(EMOTIONS)
    for source in sources:
        shared &= set(pc.unique(source.columns([EMOTION_COLUMN])[EMOTION_COLUMN]).to_pylist())
    corpus = target.snapshot.corpus
    if (published := find_published_emotions(corpus)) is None:
        text = "the emotions of %s are not published: the classes are those of the source, %s"
        _LOG.warning(text, corpus, ", ".join(sorted(shared)))
    else:
        shared &= published
    if len(shared) < 2:
        problem = f"{corpus} and the sources share {'only ' + min(shared) if shared else 'no emotion'}"
        raise ConfigError(problem, field="classes", valid=(*EMOTIONS, *CLASS_PRESETS))
    return make_emotion_task(sorted(shared))


def find_published_emotions(corpus: str) -> set[str] | None:
    """Return the emotions that the publication of a registered corpus lists; None for another corpus."""
    if (selection := find_selection(corpus)) is None:
        return None
    return set(load_corpus(selection.corpus, selection.subset).info.emotions.values())
