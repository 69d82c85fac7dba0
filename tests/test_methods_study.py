"""What the study of all methods says of a score beside the constant answers."""

from typing import Any

from tests.benchmarks.methods import BELOW, NO_BETTER, Row, marks, summary


def result(uar: float, war: float) -> dict[str, Any]:
    scores = {"uar": uar, "war": war, "f1": 90.0, "macro_f1": 60.0}
    constant = {"uar": 50.0, "war": 58.5, "f1": 73.8, "macro_f1": 36.9}
    return {**scores, "constant": {"always_high": constant, "always_low": {**constant, "war": 41.5}}}


def test_a_constant_answer_is_not_above_the_constants() -> None:
    assert marks(result(70.0, 60.0)) == {}
    assert marks(result(50.0, 58.5)) == {"uar": NO_BETTER, "war": NO_BETTER}
    assert marks(result(49.0, 60.0)) == {"uar": BELOW}


def test_the_summary_counts_what_is_above_and_names_the_rest() -> None:
    rows = {"good": result(70.0, 60.0), "collapsed": result(50.0, 58.5), "wrong": result(40.0, 60.0)}
    (line,) = summary({("a", "b"): {Row(name, name): each for name, each in rows.items()}})
    assert "above every constant in all scores: 1 of 3" in line
    assert "(UAR 50): collapsed; below that: wrong." in line
