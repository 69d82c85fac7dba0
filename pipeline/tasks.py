"""Tasks: the classes to recognise, and the values of an index column that belong to each class.

Arousal and valence are built in (Emo-DNA, Table 1). The paper's text does not show the valence of neutral and surprise.
Positive is the only reading that fits its results, and the convention of the cross-corpus literature (Schuller et al.
2010).
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.emotions import EMOTIONS, find_emotion
from emodna.pipeline.errors import EmodnaError

EMOTION_COLUMN: Final = "emotion"
#: Name of the task whose classes are emotions themselves.
EMOTION_TASK: Final = "emotion"
#: Keys of a task file.
_KEYS: Final = ("name", "column", "classes")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Task:
    """Two or more classes of utterances, by the value of a column of the store's index."""

    name: str
    classes: tuple[str, ...]
    """Name of each class, by its label 0, 1, ... Of two classes, probability and F1 are those of the second."""
    members: tuple[tuple[str, ...], ...]
    """Values of the column that belong to each class, as text. Utterances with other values have no label."""
    column: str = EMOTION_COLUMN

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def is_built_in(self) -> bool:
        """True for arousal and valence."""
        return BUILT_IN_TASKS.get(self.name) == self

    @property
    def hash(self) -> str:
        """Hash of the definition, 8 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def find_label(self, value: str) -> int:
        """Return the label of a value of the column; -1 if it belongs to no class."""
        return next((label for label, values in enumerate(self.members) if value in values), -1)

    def assign_labels(self, column: pa.ChunkedArray) -> NDArray[np.int8]:
        """Return the labels (n,) of the values of the column; -1 for values of no class and nulls."""
        values, labels = zip(*self._list_values(), strict=True)
        positions = pc.index_in(pc.cast(column, pa.string()), value_set=pa.array(values, pa.string()))
        found = pc.fill_null(pc.take(pa.array(labels, pa.int8()), positions), -1)
        return np.array(found.to_numpy(), np.int8)

    def _list_values(self) -> list[tuple[str, int]]:
        return [(value, label) for label, values in enumerate(self.members) for value in values]

    def to_json(self) -> dict[str, Any]:
        """Return the definition as a JSON object."""
        return {
            "name": self.name,
            "column": self.column,
            "classes": {name: list(values) for name, values in zip(self.classes, self.members, strict=True)},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild a task from `to_json`; raise a KeyError, TypeError or ValueError if it is damaged."""
        classes = {str(name): tuple(map(str, values)) for name, values in dict(content["classes"]).items()}
        if len(classes) < 2:
            raise ValueError("its task has fewer than two classes")
        return cls(str(content["name"]), tuple(classes), tuple(classes.values()), str(content["column"]))


AROUSAL: Final = Task(
    "arousal",
    ("low", "high"),
    (("boredom", "calm", "neutral", "sadness"), ("anger", "disgust", "fear", "happiness", "surprise")),
)
VALENCE: Final = Task(
    "valence",
    ("negative", "positive"),
    (("anger", "boredom", "disgust", "fear", "sadness"), ("calm", "happiness", "neutral", "surprise")),
)
BUILT_IN_TASKS: Final[Mapping[str, Task]] = MappingProxyType({task.name: task for task in (AROUSAL, VALENCE)})
TASKS: Final = tuple(BUILT_IN_TASKS)
CLASS_NAMES: Final = MappingProxyType({task.name: task.classes for task in BUILT_IN_TASKS.values()})
"""Class names of the built-in tasks, by label."""

#: Sets of emotions with a name. emobox4: Ma et al. 2024, EmoBox, Interspeech, arXiv 2406.07162.
CLASS_PRESETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"emobox4": ("anger", "happiness", "neutral", "sadness")}
)


def read_task(document: Mapping[str, Any]) -> Task:
    """Return the task of a run's decisive configuration or of its model's metadata.

    Raises KeyError, TypeError or ValueError if it is damaged.
    """
    if (definition := document.get("task_definition")) is not None:
        return Task.from_json(definition)
    return BUILT_IN_TASKS[document["task"]]


def describe_task(task: Task) -> dict[str, Any]:
    """Return the keys that `read_task` reads; a built-in task needs no definition."""
    return {"task": task.name, **({} if task.is_built_in else {"task_definition": task.to_json()})}


def make_emotion_task(emotions: Sequence[str]) -> Task:
    """Return the task whose classes are emotions, sorted by name, or those of a preset such as emobox4.

    Synonyms of `emotions` are accepted. Raises EmodnaError: unknown emotion, or fewer than two.
    """
    words = [each for word in emotions for each in CLASS_PRESETS.get(word, (word,))]
    found = []
    for word in words:
        if (emotion := find_emotion(word)) is None:
            raise EmodnaError("unknown emotion", field="classes", value=word, valid=(*EMOTIONS, *CLASS_PRESETS))
        found.append(emotion)
    classes = tuple(each for each in EMOTIONS if each in found)
    if len(classes) < 2:
        raise EmodnaError("must name at least two emotions", field="classes", value=",".join(emotions))
    return Task(EMOTION_TASK, classes, tuple((each,) for each in classes))


def read_task_file(path: Path) -> Task:
    """Read a task from a TOML file with the keys `name`, `column` (default: emotion) and the table `classes`.

    `classes` has the values of the column for each class; its order is that of the labels. Raises EmodnaError with the
    file and the key: missing or damaged file, unknown or missing key, fewer than two classes, a value in two classes,
    an unknown emotion.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise EmodnaError(f"cannot be read: {error.strerror or error}", where=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EmodnaError(f"not valid TOML: {error}", where=path) from error
    if unknown := [key for key in content if key not in _KEYS]:
        raise EmodnaError("unknown key", where=path, field=unknown[0], valid=_KEYS)
    name, column = content.get("name"), content.get("column", EMOTION_COLUMN)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problem = "must be a name of lower-case letters, digits and underscores"
        raise EmodnaError(problem, where=path, field="name", value=name)
    if name in (*TASKS, EMOTION_TASK):
        raise EmodnaError("the name of a built-in task", where=path, field="name", value=name, remedy="choose another")
    if not isinstance(column, str) or not column:
        raise EmodnaError("must be the name of a column", where=path, field="column", value=column)
    classes = content.get("classes")
    if not isinstance(classes, dict) or len(classes) < 2:
        problem = "must be a table with at least two classes and their values"
        raise EmodnaError(problem, where=path, field="classes", value=classes)
    members = {each: _read_members(path, each, values, column) for each, values in classes.items()}
    owner: dict[str, str] = {}
    for each, values in members.items():
        for value in values:
            if (other := owner.setdefault(value, each)) != each:
                raise EmodnaError(f"in the classes {other} and {each}", where=path, field="classes", value=value)
    return Task(name, tuple(members), tuple(members.values()), column)


def _read_members(path: Path, name: str, values: object, column: str) -> tuple[str, ...]:
    """Return the values of a class as the texts that `Task.assign_labels` compares."""
    listed = values if isinstance(values, list) else [values]
    if not name.strip() or not listed or not all(isinstance(each, str | int | float) for each in listed):
        raise EmodnaError("must list values (text, numbers or true and false)", where=path, field=f"classes.{name}")
    texts = tuple(str(pc.cast(pa.array([each]), pa.string())[0].as_py()) for each in listed)
    if column != EMOTION_COLUMN:
        return texts
    if unknown := [text for text in texts if find_emotion(text) is None]:
        raise EmodnaError("unknown emotion", where=path, field=f"classes.{name}", value=unknown[0], valid=EMOTIONS)
    return tuple(str(find_emotion(text)) for text in texts)
