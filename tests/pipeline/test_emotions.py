"""Tests of the labels of the two tasks: Table 1 of the paper."""

from emodna.pipeline.tasks import AROUSAL, CLASS_NAMES, TASKS, VALENCE

LOW_AROUSAL = {"boredom", "calm", "neutral", "sadness"}
HIGH_AROUSAL = {"anger", "disgust", "fear", "happiness", "surprise"}
NEGATIVE = {"anger", "boredom", "disgust", "fear", "sadness"}
POSITIVE = {"calm", "happiness", "neutral", "surprise"}


def test_labels_of_both_tasks_are_those_of_table_1() -> None:
    assert {*AROUSAL.members[1]} == HIGH_AROUSAL
    assert {*AROUSAL.members[0]} == LOW_AROUSAL
    assert {*VALENCE.members[1]} == POSITIVE
    assert {*VALENCE.members[0]} == NEGATIVE


def test_class_1_is_high_or_positive() -> None:
    assert TASKS == ("arousal", "valence")
    assert CLASS_NAMES["arousal"] == ("low", "high")
    assert CLASS_NAMES["valence"] == ("negative", "positive")
