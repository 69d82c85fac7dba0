"""What a table of a benchmark is, however it is shown: plain data. It needs no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from emodna.model.bench.paper import Cited
from emodna.model.bench.scores import Pair
from emodna.model.bench.spec import Experiment, MethodInfo, MethodSpec
from emodna.model.bench.tables.columns import Column
from emodna.model.bench.tables.gaps import Gap
from emodna.model.bench.wording import class_name
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import Task

Kind = Literal["entry", "floor", "ceiling", "constant"]
Mark = Literal["same", "below"]

DIFFERENCE: Final = "difference"
"""Beside the scores, in the study of sensitivity: UAR less that of the first row, in the same seeds."""
CALLED: Final = "called_class_1"
"""Beside the scores, in the table by pairs: the share of the target that is called class 1, in percent."""
SAME: Final = 1e-9
"""In percent: scores are floats, of sums in another order."""
SHOWN: Final = 0.05
"""In percent: what is nearer to each other reads alike, with one decimal."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean in a table, in percent."""

    mean: float | None = None
    """None where nothing is done."""
    std: float | None = None
    """Of this mean over the seeds; None of one seed, and of constants."""
    seeds: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()
    """Over which it is taken."""
    complete: bool = False
    """Whether these are all that belong into the column."""
    constant: float | None = None
    """The best constant answer on exactly these pairs."""
    cited: Cited | None = None
    """The paper's number."""
    gain: float | None = None
    """Table 5: what L_SCL adds, over exactly these pairs and seeds."""
    cited_gain: float | None = None
    """The same in the paper."""
    best: bool = False
    """Of the column's entries, where all are of the same pairs."""
    cited_best: bool = False
    """In the paper."""

    @property
    def mark(self) -> Mark | None:
        """How it stands to the best constant answer, where it is not above it by what can be seen."""
        if self.mean is None or self.constant is None or self.mean > self.constant + SHOWN:
            return None
        return "below" if self.mean < self.constant - SHOWN else "same"

    @property
    def comparable(self) -> bool:
        """Whether ours and the paper's number are of the same pairs."""
        return self.cited is not None and self.mean is not None and self.complete

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where they can be compared."""
        return self.mean - self.cited.mean if self.cited and self.mean is not None and self.complete else None


Spot = tuple[Task, Column, str]
"""Where a figure stands in its line: task, column, score."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table."""

    kind: Kind
    name: str
    """The row as `--methods` spells it, or a constant's name."""
    label: str
    """What it is called, with (our reading) and (oracle)."""
    paper: str | None
    """What the paper calls it."""
    named: MethodInfo | None
    """None of a constant, and of a row that the benchmark does not have."""
    figures: Mapping[Spot, Figure]


@dataclass(frozen=True, slots=True)
class Block:
    """What stands side by side: columns by scores."""

    title: str
    columns: tuple[tuple[Task, Column], ...]
    scores: tuple[str, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        """Over each of a column's numbers."""
        called = f"% {class_name((task for task, _ in self.columns), 1)}"
        names = {**SCORE_NAMES, DIFFERENCE: "difference", CALLED: called}
        return tuple(names[score] for score in self.scores)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with all that has to be known beside it."""

    name: str
    title: str
    bench: Experiment
    seeds: tuple[int, ...]
    """Of the benchmark."""
    blocks: tuple[Block, ...]
    lines: tuple[Line, ...]
    gaps: tuple[Gap, ...]
    absent: tuple[str, ...]
    """The paper's corpora that the benchmark does not have."""
    rows: tuple[MethodSpec, ...]
    """All that has to be run for it."""
    not_shown: tuple[MethodSpec, ...]
    """Rows of the benchmark that have finished cells of its tasks, and no line in it."""

    @property
    def shared(self) -> Mapping[Pair, int]:
        """Its pairs that have cells, and whose target is partly in the source; with how many recordings."""
        spots = {(task, pair) for block in self.blocks for task, column in block.columns for pair in column.pairs}
        run = {(cell.src, cell.tgt) for cell in self.bench.runs if (cell.task, (cell.src, cell.tgt)) in spots}
        return {pair: count for pair, count in self.bench.shared.items() if pair in run}

    def of(self, *kinds: Kind) -> Iterator[Line]:
        """Its lines of some kinds."""
        return (line for line in self.lines if line.kind in kinds)
