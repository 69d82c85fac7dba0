"""The paper's own numbers: Tables 2 to 6 of Ye et al. 2023, arXiv 2308.02190, cited in paper.csv. It needs no torch."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

CORPORA: Final = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")
"""In the order of its columns. Every ordered pair of them is a scenario: 30."""
AVERAGE: Final = "average"
SCORES: Final = ("war", "f1")
"""All that it reports; as keys of result.json."""
SEEDS: Final = 3
"""Runs of each scenario."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number stands."""

    table: str
    task: str
    method: str
    """As paper.csv spells it."""
    source: str
    """A corpus, or AVERAGE."""
    score: str


@dataclass(frozen=True, slots=True)
class Cited:
    """Mean and standard deviation of three runs, in percent, as printed."""

    mean: float
    std: float


@cache
def cited() -> Mapping[Place, Cited]:
    """All numbers of the paper's tables."""
    text = resources.files("emodna.model.bench.tables").joinpath("paper.csv").read_text(encoding="utf-8")
    return MappingProxyType(
        {
            Place(line["table"], line["task"], line["method"], line["source"], line["metric"]): Cited(
                float(line["mean_percent"]), float(line["std_percent"])
            )
            for line in csv.DictReader(text.splitlines())
        }
    )


def in_tables_2_and_3(task: str, method: str, score: str) -> Cited | None:
    """Average of a method over all scenarios of a task."""
    table = {"arousal": "2", "valence": "3"}[task]
    return cited().get(Place(table, task, method, AVERAGE, score))
