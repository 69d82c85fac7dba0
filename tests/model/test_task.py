"""Tests of the task of a run: classes that corpora share, the labels that it needs, and utterances without one."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from emodna.model.errors import ConfigError, TrainingError
from emodna.model.task import count_left_out, digest_labels, find_published_emotions, resolve_task
from emodna.pipeline.corpora.iemocap import Iemocap
from emodna.pipeline.tasks import AROUSAL, Task, make_emotion_task
from tests.plugins import install_plugin

MOOD = Task("content", ("bad", "good"), (("low",), ("high", "top")), "mood")
PLUGIN = """
from emodna.pipeline.corpora.base import CorpusInfo, PathCorpus

class Studio(PathCorpus):
    name = "studio"
    info = CorpusInfo(title="s", licence="l", layout="x", emotions={"A": "anger", "F": "fear", "N": "neutral"})
    def describe(self, path): return None
"""


class Rows:
    """A store as far as tasks read it."""

    def __init__(self, corpus: str, emotions: list[str | None], **columns: list[Any]) -> None:
        self.snapshot = SimpleNamespace(corpus=corpus)
        self.table = pa.table({"emotion": pa.array(emotions, pa.string()), **columns})
        self.column_names, self.columns = self.table.column_names, self.table.select

    def __len__(self) -> int:
        return len(self.table)

    def labels(self, task: Task) -> NDArray[np.int8]:
        if task.column not in self.column_names:
            return np.full(len(self), -1, np.int8)
        return task.assign_labels(self.table[task.column])


def resolve(task: Task | str, *stores: Rows) -> Task:
    *sources, target = stores
    return resolve_task(task, sources, target)  # type: ignore[arg-type]


SOURCE = Rows(
    "own", ["anger", "calm", "fear", "neutral", "sadness", None], mood=["low", "high", "odd", "", None, "top"]
)
TARGET = Rows("emodb", ["boredom", None, None, None, None, None])


class TestClasses:
    def test_classes_are_those_of_the_sources_that_the_targets_publication_lists(self) -> None:
        # No label of the target is read: it has none of these.
        assert resolve("emotion", SOURCE, TARGET).classes == ("anger", "fear", "neutral", "sadness")
        other = Rows("ravdess", ["fear", "anger", "sadness", "happiness"])
        assert resolve("emotion", SOURCE, other, TARGET).classes == ("anger", "fear", "sadness")

    def test_a_target_without_a_publication_takes_the_sources_classes_with_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            task = resolve("emotion", SOURCE, Rows("calls", ["happiness", None]))
        assert task.classes == ("anger", "calm", "fear", "neutral", "sadness")
        assert "calls" in caplog.text

    def test_too_few_shared_emotions_and_unknown_names_are_errors(self) -> None:
        with pytest.raises(ConfigError, match=r"own, emodb share only anger"):
            resolve("emotion", Rows("own", ["anger", "calm"]), TARGET)
        with pytest.raises(ConfigError, match="valid: arousal, valence, emotion"):
            resolve("emotions", SOURCE, TARGET)
        with pytest.raises(TrainingError, match="all labels are anger"):
            resolve("emotion", Rows("own", ["anger", None]), TARGET)

    @pytest.mark.parametrize(
        ("corpus", "emotions"),
        [
            ("emodb", "anger boredom disgust fear happiness neutral sadness"),
            ("emodb-4000hz", "anger boredom disgust fear happiness neutral sadness"),
            ("iemocap", "anger happiness neutral sadness"),
            ("iemocap-seven-class", "anger disgust fear happiness neutral sadness surprise"),
            ("iemocap-all-channel1", "anger disgust fear happiness neutral sadness surprise"),
            ("studio", "anger fear neutral"),
            ("calls", None),
        ],
    )
    def test_published_emotions_are_those_of_subsets_and_packages_too(
        self, corpus: str, emotions: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = install_plugin(tmp_path / "plugin", {"studio": "studio_corpus:Studio"}, studio_corpus=PLUGIN)
        monkeypatch.syspath_prepend(folder)
        assert find_published_emotions(corpus) == (None if emotions is None else set(emotions.split()))

    def test_every_subset_of_a_corpus_has_published_emotions(self) -> None:
        assert all(find_published_emotions(f"iemocap-{subset}") for subset in Iemocap.subsets)


class TestLabels:
    def test_a_source_of_one_class_names_the_values_of_its_column(self) -> None:
        only = Rows("own", [None] * 3, mood=["low", "odd", "odd"])
        with pytest.raises(TrainingError, match=r"all content labels are bad.*'odd' \(2\), 'low' \(1\)"):
            resolve(MOOD, only, TARGET)
        many = Rows("own", [None] * 99, mood=[str(number) for number in range(99)])
        with pytest.raises(TrainingError, match=r"no content labels: .* and 91 more") as raised:
            resolve(MOOD, many, TARGET)
        assert len(str(raised.value)) < 250

    def test_a_source_without_the_column_names_those_it_has(self) -> None:
        with pytest.raises(TrainingError, match="no column mood, only mode"):
            resolve(MOOD, Rows("own", ["anger"], mode=["low"]), SOURCE)

    def test_a_class_that_no_source_has_is_named(self) -> None:
        with pytest.raises(TrainingError, match="no labels of emotion happiness"):
            resolve(make_emotion_task(["emobox4"]), SOURCE, TARGET)

    def test_a_target_needs_no_column(self) -> None:
        assert resolve(MOOD, SOURCE, TARGET) is MOOD

    def test_utterances_without_a_class_are_counted_by_value(self) -> None:
        assert count_left_out(SOURCE, MOOD) == {"unknown": 2, "odd": 1}  # type: ignore[arg-type]
        emotions = make_emotion_task(["anger", "fear"])
        assert count_left_out(SOURCE, emotions) == dict.fromkeys(["calm", "neutral", "sadness", "unknown"], 1)  # type: ignore[arg-type]
        assert count_left_out(TARGET, MOOD) == {"without a column mood": 6}  # type: ignore[arg-type]

    def test_the_digest_of_labels_changes_with_the_column_only(self) -> None:
        changed = Rows("own", SOURCE.table["emotion"].to_pylist(), mood=["low", "low", "odd", "", None, "top"])
        same = Rows("own", [None] * 6, mood=["low", "top", "even", None, None, "high"])
        first, second, third = (digest_labels([each], MOOD) for each in (SOURCE, changed, same))  # type: ignore[list-item]
        assert (first != second, first == third) == (True, True)
        assert digest_labels([SOURCE], AROUSAL) == {}  # type: ignore[list-item]
