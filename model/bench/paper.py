"""The paper's numbers: Tables 2 to 6 of Ye et al. 2023, arXiv 2308.02190, copied into paper.csv. It needs no torch."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

CORPORA: Final = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")
"""In the order of its columns. Every ordered pair of them is a scenario: 30."""
AVERAGE: Final = "average"
SCORES: Final = ("war", "f1")
"""All that it reports; as keys of result.json."""
SEEDS: Final = 3
"""Runs of each scenario."""


class Place(NamedTuple):
    """Place of a number in the paper."""

    table: str
    task: str
    method: str
    """As paper.csv spells it."""
    source: str
    """A corpus, or AVERAGE."""
    score: str


class Cited(NamedTuple):
    """Mean and standard deviation of three runs, in percent, as printed."""

    mean: float
    std: float


@cache
def cited() -> Mapping[Place, Cited]:
    """Return all numbers of the paper's tables."""
    text = resources.files("emodna.model.bench").joinpath("paper.csv").read_text(encoding="utf-8")
    return {
        Place(line["table"], line["task"], line["method"], line["source"], line["metric"]): Cited(
            float(line["mean_percent"]), float(line["std_percent"])
        )
        for line in csv.DictReader(text.splitlines())
    }


def in_tables_2_and_3(task: str, method: str, score: str, source: str = AVERAGE) -> Cited | None:
    """Return the number of a method over all scenarios of a task, or over those of one source."""
    return cited().get(Place("2" if task == "arousal" else "3", task, method, source, score))
