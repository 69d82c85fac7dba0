"""Content of a table of an experiment as plain numbers and text, without its layout. Needs no torch."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from emodna.model.bench.method_spec import MethodInfo, MethodSpec
from emodna.model.bench.paper import PaperScore
from emodna.model.bench.results import CLASS_1_SHARE, Gap
from emodna.model.bench.spec import Experiment, Pair
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.tasks import CLASS_NAMES, TASKS

RowKind = Literal["entry", "floor", "ceiling", "constant"]
"""entry: a method. floor: a baseline. ceiling: an oracle. constant: a constant predictor."""
Pairs = tuple[Pair, ...]

DIFFERENCE: Final = "difference"
"""Score of the sensitivity study: UAR minus the UAR of the first method with the same seeds."""

#: Difference, in points, below which scores with one decimal look equal.
_VISIBLE_DIFFERENCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a mean over pairs."""

    name: str
    """`casia` or `average`; `own ->` or `-> own` for a corpus outside the paper; `a -> b` for one pair."""
    pairs: tuple[Pair, ...]
    """Pairs of the mean, also those that the experiment lacks."""
    in_paper: bool = False
    """True if the paper has this column."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean in percent with its context."""

    mean: float | None = None
    """None without finished runs."""
    std: float | None = None
    """Sample standard deviation (n - 1) over the seeds; None for one seed and constant predictors."""
    seeds: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()
    complete: bool = False
    """True if `pairs` are all pairs of the column."""
    constant: float | None = None
    """Score of the best constant predictor on the same pairs."""
    paper_score: PaperScore | None = None
    gain: float | None = None
    """Table 5: gain from L_SCL on the same pairs and seeds."""
    paper_gain: float | None = None
    best: bool = False
    """True for the best method of the column, if all methods have the same pairs."""
    paper_best: bool = False
    """True for the best method of the column in the paper."""
    exposure: Exposure = "no"
    """Exposure of the features to the targets of the mean."""

    @property
    def mark(self) -> Literal["same", "below"] | None:
        """Relation to the best constant predictor; None if visibly above it."""
        if self.mean is None or self.constant is None or self.mean > self.constant + _VISIBLE_DIFFERENCE:
            return None
        return "below" if self.mean < self.constant - _VISIBLE_DIFFERENCE else "same"

    @property
    def difference(self) -> float | None:
        """Our score minus the paper's, if both are over the same pairs."""
        score = self.paper_score if self.complete else None
        return None if score is None or self.mean is None else self.mean - score.mean

    @property
    def comparable(self) -> bool:
        """True if our score and the paper's are over the same pairs."""
        return self.difference is not None


CellPosition = tuple[str, Column, str]
"""Task, column and score of a cell in its row."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table: a method or a constant predictor."""

    kind: RowKind
    name: str
    """Method spec as text, or name of a constant predictor."""
    label: str
    """Label with (our reading) and (oracle)."""
    paper_name: str | None
    info: MethodInfo | None
    """None for constant predictors and methods outside the experiment."""
    cells: Mapping[CellPosition, Cell]
    feature_set: str | None = None
    """Short name of the feature set; None for constant predictors."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a table: adjacent columns with the same scores."""

    title: str
    columns: tuple[tuple[str, Column], ...]
    scores: tuple[str, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the scores, the same in each column."""
        share = f"% {join_class_names((task for task, _ in self.columns), 1)}"
        names = {**SCORE_NAMES, DIFFERENCE: "difference", CLASS_1_SHARE: share}
        return tuple(names[score] for score in self.scores)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its gaps."""

    name: str
    title: str
    experiment: Experiment
    blocks: tuple[Block, ...]
    rows: tuple[TableRow, ...]
    gaps: tuple[Gap, ...]
    absent: tuple[str, ...]
    """Corpora of the paper outside the experiment."""
    not_shown: tuple[MethodSpec, ...]
    """Methods of the experiment with finished runs in these tasks, but without a row."""
    exposures: Mapping[str, Exposure] = field(default_factory=dict)
    """Exposure of each target whose scores are marked, over all rows."""
    other_feature_sets: tuple[str, ...] = ()
    """Short names of the experiment's feature sets that the table leaves out."""

    @property
    def feature_sets(self) -> list[str]:
        """Short names of the feature sets of its rows, in their order."""
        return list(dict.fromkeys(row.feature_set for row in self.rows if row.feature_set is not None))

    @property
    def shared_recordings(self) -> Mapping[Pair, int]:
        """`Experiment.shared_recordings` of the table's pairs that have runs."""
        positions = {(task, pair) for block in self.blocks for task, column in block.columns for pair in column.pairs}
        pairs = {run.pair for run in self.experiment.runs if (run.task, run.pair) in positions}
        return {pair: count for pair, count in self.experiment.shared_recordings.items() if pair in pairs}

    def select_rows(self, *kinds: RowKind) -> Iterator[TableRow]:
        """Return the rows of some kinds."""
        return (row for row in self.rows if row.kind in kinds)


def join_class_names(tasks: Iterable[str], label: int) -> str:
    """Return a class name: `high` for arousal, `positive` for valence, both for both, `class 1` for other tasks."""
    unique_tasks = set(tasks)
    names = [CLASS_NAMES[task][label] for task in TASKS if task in unique_tasks]
    return " / ".join([*names, *[f"class {label}"] * bool(unique_tasks - {*TASKS})])
