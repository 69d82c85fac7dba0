"""Tests of the paper's scores."""

import itertools
from collections import Counter
from statistics import fmean

import pytest

from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE, CORPORA, PAPER_TABLES, PaperScoreKey, load_paper_scores

METHODS = ("source-only", "dann", "dan", "jan", "cdan", "bsp", "clstm", "addi", "difl", "caam", "emo-dna")


def test_scores_are_exactly_those_of_the_tables() -> None:
    assert Counter(key.table for key in load_paper_scores()) == {"2": 154, "3": 154, "4": 24, "5": 20, "6": 16}
    expected = {
        PaperScoreKey(number, task, row.paper_name, source, score)
        for number, paper_table in PAPER_TABLES.items()
        for task in paper_table.tasks
        for row in paper_table.rows
        for source in ((*CORPORA, AVERAGE) if paper_table.layout == "sources" else (AVERAGE,))
        for score in paper.SCORES
    }
    assert expected == set(load_paper_scores())


def test_main_result_matches_the_paper() -> None:
    scores = load_paper_scores()
    assert scores[PaperScoreKey("2", "arousal", "emo-dna", AVERAGE, "war")] == (74.3, 0.3)
    f1 = [scores[PaperScoreKey("3", "valence", method, AVERAGE, "f1")].mean for method in METHODS]
    assert f1 == [29.4, 47.8, 51.8, 54.6, 56.0, 54.0, 54.7, 57.4, 55.8, 54.7, 57.5]


@pytest.mark.parametrize(("table", "task"), [("2", "arousal"), ("3", "valence")])
def test_averages_are_means_of_the_columns(table: str, task: str) -> None:
    """Check that all 30 scenarios have equal weight. The paper rounds scores to a tenth."""
    scores = load_paper_scores()
    for method, score in itertools.product(METHODS, paper.SCORES):
        keys = [PaperScoreKey(table, task, method, source, score) for source in CORPORA]
        mean = fmean(scores[key].mean for key in keys)
        assert scores[keys[0]._replace(source=AVERAGE)].mean == pytest.approx(mean, abs=0.1 + 1e-9), keys[0]
