"""Methods and scores of Tables 2 to 6 of Ye et al. 2023, arXiv 2308.02190.

Our tables add two baselines (Source Only, with and without the target's batch norm statistics) and the upper bound, an
oracle. This module needs no torch.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, NamedTuple

from emodna.model.bench.method_spec import MethodSpec
from emodna.pipeline.tasks import TASKS

CORPORA: Final = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")
"""The paper's corpora, in the order of its columns. Their 30 ordered pairs are its scenarios."""
AVERAGE: Final = "average"
SCORES: Final = ("war", "f1")
"""Scores in the paper, as keys of result.json."""
SEEDS: Final = 3
"""Runs of each scenario in the paper."""


class PaperScoreKey(NamedTuple):
    """Table, row and column of a score in the paper."""

    table: str
    task: str
    method: str
    """Name in paper.csv."""
    source: str
    """A corpus, or `AVERAGE` for the mean over all."""
    score: str


class PaperScore(NamedTuple):
    """Mean and standard deviation of three runs in percent, as printed in the paper."""

    mean: float
    std: float


@cache
def load_paper_scores() -> Mapping[PaperScoreKey, PaperScore]:
    """Load all scores of the paper's tables from paper.csv."""
    text = resources.files("emodna.model.bench").joinpath("paper.csv").read_text(encoding="utf-8")
    return {
        PaperScoreKey(row["table"], row["task"], row["method"], row["source"], row["metric"]): PaperScore(
            float(row["mean_percent"]), float(row["std_percent"])
        )
        for row in csv.DictReader(text.splitlines())
    }


def find_paper_score(task: str, method: str, score: str, source: str = AVERAGE) -> PaperScore | None:
    """Return a method's score in Table 2 (arousal) or 3 (valence): of one source, or the average; None if absent."""
    return load_paper_scores().get(PaperScoreKey("2" if task == "arousal" else "3", task, method, source, score))


Layout = Literal["sources", "averages"]
"""Columns of a table: each source corpus and the average in one task, or only the averages in both tasks."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of one of the paper's tables."""

    method: MethodSpec
    paper_name: str
    """Name in paper.csv."""
    base: MethodSpec | None = None
    """Table 5: the same method without L_SCL, the reference of the gain."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One of the paper's tables."""

    title: str
    tasks: tuple[str, ...]
    layout: Layout
    rows: tuple[PaperRow, ...]

    @property
    def methods(self) -> list[MethodSpec]:
        """Methods of its rows, their methods without L_SCL, the baselines and the upper bound."""
        bases = [row.base for row in self.rows if row.base is not None]
        return list(dict.fromkeys([*(row.method for row in self.rows), *bases, *BASELINES, UPPER_BOUND]))


BASELINES: Final = (MethodSpec("source-only"), MethodSpec.parse("source-only:target_bn=true"))
SVM: Final = "svm"
"""Method that is a baseline of every table of an experiment that has it. The paper has no such row."""
UPPER_BOUND: Final = MethodSpec("upper-bound")
"""Method trained on the target only. It has one run per target, which counts for all sources."""


def is_upper_bound(spec: MethodSpec) -> bool:
    """Return True for the upper bound on any feature set."""
    return spec.on(None) == UPPER_BOUND


_COMPARISON: Final = tuple(
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
    "2": PaperTable("Methods, arousal", ("arousal",), "sources", _COMPARISON),
    "3": PaperTable("Methods, valence", ("valence",), "sources", _COMPARISON),
    "4": PaperTable("Parts of Emo-DNA", TASKS, "averages", _PARTS),
    "5": PaperTable("L_SCL added to other methods", TASKS, "averages", _WITH_SCL),
    "6": PaperTable("Pseudo-labels of Emo-DNA", TASKS, "averages", _THRESHOLDS),
}
"""The paper's tables by number."""

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
"""Emo-DNA with one setting changed at a time: settings that the paper leaves open (docs/METHODS.md)."""
