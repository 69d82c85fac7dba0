"""The tables of Ye et al. 2023, arXiv 2308.02190: the methods in Tables 2 to 6, and their numbers from paper.csv.

Our tables have a floor and a ceiling besides: Source Only, also with the target's batch norm statistics, and the upper
bound, which learns from the target's labels. It needs no torch.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, NamedTuple

from emodna.model.bench.spec import MethodSpec
from emodna.pipeline.emotions import TASKS, Task

CORPORA: Final = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")
"""In the order of its columns. Every ordered pair of them is a scenario: 30."""
AVERAGE: Final = "average"
SCORES: Final = ("war", "f1")
"""Scores that the paper reports, as keys of result.json."""
SEEDS: Final = 3
"""Runs of each scenario."""


class PaperScoreKey(NamedTuple):
    """Place of a number in the paper."""

    table: str
    task: str
    method: str
    """Method as spelled in paper.csv."""
    source: str
    """A corpus, or AVERAGE."""
    score: str


class PaperScore(NamedTuple):
    """Mean and standard deviation of three runs, in percent, as printed."""

    mean: float
    std: float


@cache
def load_paper_scores() -> Mapping[PaperScoreKey, PaperScore]:
    """Return all numbers of the paper's tables."""
    text = resources.files("emodna.model.bench").joinpath("paper.csv").read_text(encoding="utf-8")
    return {
        PaperScoreKey(line["table"], line["task"], line["method"], line["source"], line["metric"]): PaperScore(
            float(line["mean_percent"]), float(line["std_percent"])
        )
        for line in csv.DictReader(text.splitlines())
    }


def find_paper_score(task: str, method: str, score: str, source: str = AVERAGE) -> PaperScore | None:
    """Return the number of a method over all scenarios of a task, or over those of one source."""
    return load_paper_scores().get(PaperScoreKey("2" if task == "arousal" else "3", task, method, source, score))


Layout = Literal["sources", "averages"]
"""Columns of a table: every source corpus and the average, of one task; or the averages alone, of both tasks."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of one of the paper's tables."""

    method: MethodSpec
    paper_name: str
    """Its name in paper.csv."""
    base: MethodSpec | None = None
    """Table 5: the method without L_SCL, from which arrows are drawn."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table by its number in the paper."""

    title: str
    tasks: tuple[Task, ...]
    layout: Layout
    entries: tuple[PaperRow, ...]

    @property
    def methods(self) -> list[MethodSpec]:
        """Methods that it needs: its entries, those that entries are compared with, floor and ceiling."""
        bases = [entry.base for entry in self.entries if entry.base is not None]
        return list(dict.fromkeys([*(entry.method for entry in self.entries), *bases, *BASELINES, UPPER_BOUND]))


BASELINES: Final = (MethodSpec("source-only"), MethodSpec.parse("source-only:target_bn=true"))
UPPER_BOUND: Final = MethodSpec("upper-bound")
"""The source has no part in it: it is run once per target, from the first source, and stands for all of them."""

_COMPARED: Final = tuple(
    PaperRow(MethodSpec(name), name)
    for name in ("source-only", "dann", "dan", "jan", "cdan", "bsp", "clstm", "addi", "difl", "caam", "emo-dna")
)
_PARTS: Final = (
    PaperRow(MethodSpec("source-only"), "V1 source-only"),
    PaperRow(MethodSpec("v2"), "V2 w/o decouple+align"),
    PaperRow(MethodSpec("v3"), "V3 w/o decouple"),
    PaperRow(MethodSpec("v4"), "V4 w/o align"),
    PaperRow(MethodSpec("v5"), "V5 w/o decoupling"),
    PaperRow(MethodSpec("emo-dna"), "emo-dna"),
)
_WITH_SCL: Final = tuple(
    PaperRow(MethodSpec.parse(f"{name}:add=scl"), f"{name}+scl", base=MethodSpec(name))
    for name in ("dann", "dan", "jan", "cdan", "bsp")
)
_THRESHOLDS: Final = (
    PaperRow(MethodSpec.parse("emo-dna:scl_weight=0"), "emo-dna w/o scl"),
    PaperRow(MethodSpec.parse("emo-dna:threshold=none"), "emo-dna w/o threshold"),
    PaperRow(MethodSpec.parse("emo-dna:threshold=fixed:0.9"), "emo-dna fixed threshold"),
    PaperRow(MethodSpec("emo-dna"), "emo-dna adaptive threshold"),
)

PAPER_TABLES: Final[Mapping[str, PaperTable]] = {
    "2": PaperTable("Methods, arousal", ("arousal",), "sources", _COMPARED),
    "3": PaperTable("Methods, valence", ("valence",), "sources", _COMPARED),
    "4": PaperTable("Parts of Emo-DNA", TASKS, "averages", _PARTS),
    "5": PaperTable("L_SCL added to other methods", TASKS, "averages", _WITH_SCL),
    "6": PaperTable("Pseudo-labels of Emo-DNA", TASKS, "averages", _THRESHOLDS),
}
"""By number, as `--table` takes it."""

SENSITIVITY_METHODS: Final = (
    MethodSpec("emo-dna"),
    *(
        MethodSpec.parse(f"emo-dna:{setting}")
        for setting in (
            "normalisation=none",
            "normalisation=per-corpus",
            "batch_norm=separate",
            "padding=mask",
            "tcn_pooling=last",
            "threshold_momentum=0.9",
            "threshold_momentum=0.999",
            "mmd_estimator=linear-ring",
            "prototype_temperature=1.0",
            "reduction=sum",
            "steps=1000",
        )
    ),
)
"""One factor at a time: what the paper leaves open and what may outweigh its losses (docs/METHODS.md)."""
