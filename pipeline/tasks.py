"""Tasks: the classes to recognise, and the values of an index column that belong to each class.

Arousal and valence are built in (Emo-DNA, Table 1). The paper's text does not show the valence of neutral and surprise.
Positive is the only reading that fits its results, and the convention of the cross-corpus literature (Schuller et al.
2010).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from emodna.pipeline.emotions import EMOTIONS, find_emotion
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:  # numpy and pyarrow would double the time of a program that only needs the names of tasks
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

EMOTION_COLUMN: Final = "emotion"
#: Name of the task whose classes are emotions themselves.
EMOTION_TASK: Final = "emotion"
#: Keys of a task file.
_KEYS: Final = ("name", "column", "classes")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
#: Greatest number of classes. Labels are int8.
_MAX_CLASSES: Final = 100
#: A whole number with one or two decimals, as pandas writes it next to missing cells; 1,000 may be a thousand.
_WHOLE: Final = re.compile(r"([+-]?\d+)(?:\.0+|,00?)")
_BOOLEANS: Final = ("true", "false")


@dataclass(frozen=True, slots=True)
class Task:
    """Two or more classes of utterances, by the value of a column of the store's index."""

    name: str
    classes: tuple[str, ...]
    """Name of each class, by its label 0, 1, ... Of two classes, probability and F1 are those of the second."""
    members: tuple[tuple[str, ...], ...]
    """Values of the column that belong to each class, as text (numbers 1, 0.5; booleans true, false).

    Utterances with other values have no label.
    """
    column: str = EMOTION_COLUMN

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def is_built_in(self) -> bool:
        """True for arousal and valence."""
        return BUILT_IN_TASKS.get(self.name) == self

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Columns of the probabilities in tables: that of class 1 of two classes, or one column for each class."""
        return ("probability",) if len(self) == 2 else tuple(f"probability_{name}" for name in self.classes)

    @property
    def hash(self) -> str:
        """Hash of the definition, 8 hexadecimal digits: tasks with equal hashes have the same labels."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def assign_labels(self, column: pa.ChunkedArray) -> NDArray[np.int8]:
        """Return the labels (n,) of the values of the column; -1 for values of no class and nulls.

        Raises EmodnaError: the values are no text, numbers or booleans.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            values = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
        except pa.ArrowException as error:
            problem = f"no classes can be made of the column {self.column}, whose values are {column.type}"
            raise EmodnaError(problem) from error
        label_of = {_normalise(value): label for label, listed in enumerate(self.members) for value in listed}
        labels = [label_of.get(_normalise(value), -1) for value in values.dictionary.to_pylist()]
        found: NDArray[np.int8] = np.array([*labels, -1], np.int8)[values.indices.fill_null(-1).to_numpy()]
        return found

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


def _normalise(value: str) -> str:
    """Return a value as `Task.members` has it: without spaces at its ends, 1.0 as 1, True as true."""
    value = value.strip()
    if found := _WHOLE.fullmatch(value):
        return found[1]
    return value.lower() if value.lower() in _BOOLEANS else value


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
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise EmodnaError(f"cannot be read: {error.strerror or error}", where=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EmodnaError(f"not valid TOML: {error}", where=path) from error
    if unknown := [key for key in content if key not in _KEYS]:
        raise EmodnaError(f"unknown key {unknown[0]}", where=path, valid=_KEYS)
    name, column = content.get("name"), content.get("column", EMOTION_COLUMN)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _make_key_error(path, "name", "must be 1 to 40 lower-case letters, digits and underscores", name)
    if name in (*TASKS, EMOTION_TASK):
        raise _make_key_error(path, "name", "the name of a built-in task; choose another", name)
    if not isinstance(column, str) or not column:
        raise _make_key_error(path, "column", "must be the name of a column", column)
    classes = content.get("classes")
    if not isinstance(classes, dict) or not 2 <= len(classes) <= _MAX_CLASSES:
        problem = f"must be a table, [classes], of 2 to {_MAX_CLASSES} classes: name = list of values"
        raise _make_key_error(path, "classes", problem)
    members = {each: _read_members(path, each, values, column) for each, values in classes.items()}
    owner: dict[str, str] = {}
    for each, values in members.items():
        for value in values:
            if (other := owner.setdefault(value, each)) != each:
                raise _make_key_error(path, f"classes.{each}", f"the class {other} has this value, too", value)
    return Task(name, tuple(members), tuple(members.values()), column)


def _read_members(path: Path, name: str, values: object, column: str) -> tuple[str, ...]:
    """Return the values of a class as `Task.members` has them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    listed, key = values if isinstance(values, list) else [values], f"classes.{name}"
    if name != name.strip() or not name.isprintable() or not name:
        raise _make_key_error(
            path, "classes", "the name of a class must be printable, without spaces at its ends", name
        )
    if not listed or not all(isinstance(each, str | int | float) for each in listed):
        raise _make_key_error(path, key, "must list values: texts, numbers, true or false", values)
    # The same conversion as that of a column.
    texts = [_normalise(pc.cast(pa.scalar(each), pa.string()).as_py()) for each in listed]
    if column == EMOTION_COLUMN:
        if unknown := [text for text in texts if find_emotion(text) is None]:
            raise EmodnaError(f"unknown emotion {unknown[0]!r}", where=f"{path}: {key}", valid=EMOTIONS)
        texts = [str(find_emotion(text)) for text in texts]
    return tuple(dict.fromkeys(texts))


def _make_key_error(path: Path, key: str, problem: str, value: object = None) -> EmodnaError:
    shown = "" if value is None else f" = {json.dumps(value, ensure_ascii=False, default=str)}"
    return EmodnaError(problem, where=f"{path}: {key}{shown}")
