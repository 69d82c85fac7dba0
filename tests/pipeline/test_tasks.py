"""Tests of tasks: the built-in ones, classes of emotions, and task files on columns of any type."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.emotions import EMOTIONS, SYNONYMS
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.tasks import (
    AROUSAL,
    BUILT_IN_TASKS,
    CLASS_PRESETS,
    TASKS,
    VALENCE,
    Task,
    describe_task,
    make_emotion_task,
    read_task,
    read_task_file,
)

LOW_AROUSAL = {"boredom", "calm", "neutral", "sadness"}
HIGH_AROUSAL = {"anger", "disgust", "fear", "happiness", "surprise"}
NEGATIVE = {"anger", "boredom", "disgust", "fear", "sadness"}
POSITIVE = {"calm", "happiness", "neutral", "surprise"}

SATISFIED = Task("satisfied", ("unsatisfied", "satisfied"), (("no", "0"), ("yes", "1")), "satisfied")

#: Texts without digits, which may be numbers, and without the letters of true and false.
texts = st.text("ab xyzö'\"-=[]\u00a0", min_size=1, max_size=6)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    values = draw(st.lists(texts.map(str.strip).filter(bool), min_size=2, max_size=8, unique=True))
    classes = draw(st.lists(texts, min_size=2, max_size=len(values), unique=True))
    members = tuple(tuple(values[label :: len(classes)]) for label in range(len(classes)))
    return Task("mine", tuple(classes), members, draw(texts))


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


class TestBuiltInTasks:
    def test_labels_of_both_tasks_are_those_of_table_1(self) -> None:
        assert TASKS == ("arousal", "valence")
        assert (AROUSAL.classes, [*map(set, AROUSAL.members)]) == (("low", "high"), [LOW_AROUSAL, HIGH_AROUSAL])
        assert (VALENCE.classes, [*map(set, VALENCE.members)]) == (("negative", "positive"), [NEGATIVE, POSITIVE])

    @pytest.mark.parametrize("task", [AROUSAL, VALENCE])
    def test_every_emotion_has_a_label_and_unlabelled_utterances_none(self, task: Task) -> None:
        found = task.assign_labels(column([*EMOTIONS, None])).tolist()
        assert found == [int(emotion in task.members[1]) for emotion in EMOTIONS] + [-1]

    def test_a_document_of_an_earlier_run_names_only_the_task(self) -> None:
        assert describe_task(AROUSAL) == {"task": "arousal"}
        assert read_task({"task": "valence"}) is VALENCE


class TestDefinitions:
    @given(tasks())
    def test_a_task_survives_its_document(self, task: Task) -> None:
        again = read_task(describe_task(task))
        assert (again, again.hash) == (task, task.hash)

    def test_the_hash_is_that_of_name_classes_values_and_column(self) -> None:
        others = [
            *BUILT_IN_TASKS.values(),
            replace(SATISFIED, name="content"),
            replace(SATISFIED, classes=("no", "yes")),
            replace(SATISFIED, members=(("no",), ("yes", "1"))),
            replace(SATISFIED, column="content"),
        ]
        assert len({each.hash for each in (SATISFIED, *others)}) == len(others) + 1

    @given(st.data(), tasks())
    def test_labels_are_those_of_a_loop(self, data: st.DataObject, task: Task) -> None:
        known = st.sampled_from([value for listed in task.members for value in listed])
        values = data.draw(st.lists(known | texts | st.none(), max_size=12))
        expected = []
        for value in values:
            found = -1
            for label, listed in enumerate(task.members):
                found = label if value is not None and value.strip() in listed else found
            expected.append(found)
        assert task.assign_labels(column(values, pa.string())).tolist() == expected


class TestColumns:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (["yes", "no", "other", None], pa.string()),
            ([" yes ", "no\t", "", None], pa.large_string()),
            (["yes", "no", "other", None], pa.dictionary(pa.int8(), pa.string())),
            (["1", "0", "2", None], pa.string()),
            (["1.0", "0.000", "0.5", None], pa.string()),
            (["1,0", "0,00", "1,000", None], pa.string()),
            ([1, 0, 2, None], pa.int64()),
            ([1, 0, 2, None], pa.uint8()),
            ([1.0, 0.0, 0.5, None], pa.float64()),
            ([1.0, 0.0, float("nan"), None], pa.float32()),
            ([Decimal("1.0"), Decimal("0.0"), Decimal("0.1"), None], pa.decimal128(5, 1)),
        ],
    )
    def test_values_of_any_type_are_compared_as_text(self, values: list[Any], kind: pa.DataType) -> None:
        assert SATISFIED.assign_labels(column(values, kind)).tolist() == [1, 0, -1, -1]

    @pytest.mark.parametrize("values", [[True, False, None], ["True", "FALSE", None], ["true", "false", ""]])
    def test_booleans_are_true_and_false_in_any_case(self, values: list[Any], tmp_path: Path) -> None:
        task = write_task(tmp_path, column='"ok"', classes="[classes]\nbad = false\ngood = true")
        assert task.assign_labels(column(values)).tolist() == [1, 0, -1]

    def test_a_column_of_nulls_has_no_labels(self) -> None:
        assert SATISFIED.assign_labels(pa.chunked_array([pa.nulls(2)])).tolist() == [-1, -1]
        assert SATISFIED.assign_labels(pa.chunked_array([], pa.string())).tolist() == []

    def test_a_column_of_lists_is_an_error_that_names_it(self) -> None:
        with pytest.raises(EmodnaError, match=r"the column satisfied, whose values are list<.*int64>"):
            SATISFIED.assign_labels(column([[1]]))


class TestEmotions:
    def test_classes_are_sorted_emotions_or_those_of_a_preset(self) -> None:
        task = make_emotion_task(["Sad", "anger", "hap", "neu", "happiness"])
        assert task == make_emotion_task(["emobox4"])
        assert task.classes == CLASS_PRESETS["emobox4"] == ("anger", "happiness", "neutral", "sadness")
        assert task.members == tuple((each,) for each in task.classes)
        assert make_emotion_task(["emobox4", "fear"]).classes == ("anger", "fear", "happiness", "neutral", "sadness")

    @pytest.mark.parametrize("words", [["anger"], ["joy", "happy"], ["anger", ""], ["anger", "excited"]])
    def test_unknown_emotions_and_a_single_one_are_errors(self, words: list[str]) -> None:
        with pytest.raises(EmodnaError, match="classes") as caught:
            make_emotion_task(words)
        assert "\n" not in str(caught.value)


def write_task(folder: Path, *, name: str = '"mine"', column: str = '"mood"', classes: str, more: str = "") -> Task:
    path = folder / "task.toml"
    path.write_text(f"name = {name}\ncolumn = {column}\n{more}\n{classes}\n")
    return read_task_file(path)


class TestFiles:
    def test_a_file_has_classes_of_texts_and_numbers_in_its_order(self, tmp_path: Path) -> None:
        classes = '[classes]\n"not ok" = ["no", 1, 2.0, 0.5]\n"gut, ä" = "yes"\n"?" = ["true ", true]'
        task = write_task(tmp_path, classes=classes)
        assert task == Task("mine", ("not ok", "gut, ä", "?"), (("no", "1", "2", "0.5"), ("yes",), ("true",)), "mood")

    def test_emotions_are_the_default_column_and_may_be_synonyms(self, tmp_path: Path) -> None:
        path = tmp_path / "task.toml"
        words = [each[0] for each in SYNONYMS.values()]
        path.write_bytes(f'\ufeffname = "half"\r\n[classes]\r\na = {words[:4]}\r\nb = {words[4:]}\r\n'.encode())
        assert read_task_file(path) == Task("half", ("a", "b"), (EMOTIONS[:4], EMOTIONS[4:]), "emotion")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"name": '"My Task"'}, 'task.toml: name = "My Task": must be'),
            ({"name": f'"{"x" * 41}"'}, "must be 1 to 40"),
            ({"name": '"arousal"'}, "built-in"),
            ({"name": '"emotion"'}, "built-in"),
            ({"column": "3"}, "task.toml: column = 3: must be"),
            ({"more": "kind = 1"}, "task.toml: unknown key kind; valid: name, column, classes"),
            ({"classes": ""}, "task.toml: classes: must be a table"),
            ({"classes": "[classes]\na = 1"}, "task.toml: classes: must be a table"),
            ({"classes": "[classes]\na = 1\nb = []"}, "task.toml: classes.b = []: must list"),
            ({"classes": "[classes]\na = 1\nb = [2000-01-01]"}, "task.toml: classes.b = "),
            ({"classes": "[classes]\na = 1\nb = [1.0]"}, 'task.toml: classes.b = "1": the class a has this value, too'),
            ({"classes": '[classes]\na = 1\n" b" = 2'}, "task.toml: classes = "),
            (
                {"column": '"emotion"', "classes": '[classes]\na = "joy"\nb = "hapy"'},
                "classes.b: unknown emotion 'hapy'",
            ),
            ({"classes": "[classes"}, "task.toml: not valid TOML"),
        ],
    )
    def test_a_bad_file_is_one_line_with_file_and_key(
        self, tmp_path: Path, changes: dict[str, str], expected: str
    ) -> None:
        with pytest.raises(EmodnaError) as caught:
            write_task(tmp_path, **{"classes": "[classes]\na = 1\nb = 2", **changes})
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        for path in (tmp_path / "absent.toml", tmp_path):
            with pytest.raises(EmodnaError, match=str(path)):
                read_task_file(path)
