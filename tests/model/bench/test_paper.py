"""Tests of the paper's scores."""

from __future__ import annotations

from collections import Counter

import pytest

from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE, CORPORA, PAPER_TABLES, PaperScoreKey, load_paper_scores

METHODS = ("source-only", "dann", "dan", "jan", "cdan", "bsp", "clstm", "addi", "difl", "caam", "emo-dna")


def average(table: str, task: str, method: str, score: str) -> float:
    return load_paper_scores()[PaperScoreKey(table, task, method, AVERAGE, score)].mean


def test_scores_are_exactly_those_of_the_tables() -> None:
    assert Counter(place.table for place in load_paper_scores()) == {"2": 154, "3": 154, "4": 24, "5": 20, "6": 16}
    asked = {
        PaperScoreKey(number, task, row.paper_name, source, score)
        for number, paper_table in PAPER_TABLES.items()
        for task in paper_table.tasks
        for row in paper_table.rows
        for source in ((*CORPORA, AVERAGE) if paper_table.layout == "sources" else (AVERAGE,))
        for score in paper.SCORES
    }
    assert asked == set(load_paper_scores())


def test_main_result_matches_the_paper() -> None:
    found = load_paper_scores()[PaperScoreKey("2", "arousal", "emo-dna", AVERAGE, "war")]
    assert (found.mean, found.std) == (74.3, 0.3)
    assert [average("3", "valence", method, "f1") for method in METHODS] == [
        *(29.4, 47.8, 51.8, 54.6, 56.0, 54.0, 54.7, 57.4, 55.8, 54.7, 57.5)
    ]


@pytest.mark.parametrize(("table", "task"), [("2", "arousal"), ("3", "valence")])
def test_averages_are_means_of_the_columns(table: str, task: str) -> None:
    """So all 30 scenarios have equal weight. Printed scores are rounded to a tenth."""
    off = {
        (method, score): printed - mean
        for method in METHODS
        for score in paper.SCORES
        for printed in [average(table, task, method, score)]
        for mean in [
            sum(load_paper_scores()[PaperScoreKey(table, task, method, each, score)].mean for each in CORPORA)
            / len(CORPORA)
        ]
        if abs(printed - mean) > 0.1 + 1e-9
    }
    assert off == {}
