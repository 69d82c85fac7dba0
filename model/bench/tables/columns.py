"""Columns of the paper's tables: which pairs a mean is taken over.

They are the paper's six source corpora, each over its five targets among the six, and their average. A benchmark with
corpora of one's own besides has further columns: from each of them over all its targets, and to each of them over all
its sources. Those are not in the average, which stays the paper's. A benchmark with no pair of the paper's corpora has
a column for each of its own, and their average.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE
from emodna.model.bench.scores import Pair
from emodna.model.bench.spec import Experiment


@dataclass(frozen=True, slots=True)
class Column:
    """A mean over pairs."""

    name: str
    """`casia`, `average`, or `own ->` and `-> own` of a corpus of one's own, or `a -> b` of a single pair."""
    pairs: tuple[Pair, ...]
    """All that belong into it, whether the benchmark has them or not."""
    cited: bool = False
    """Whether the paper has such a column."""


def columns_of(bench: Experiment) -> list[Column]:
    """The columns of a benchmark, the average last."""
    ours = set(bench.corpora)
    cited = list(itertools.permutations(paper.CORPORA, 2))
    if not any(set(pair) <= ours for pair in cited):
        all_ = list(itertools.permutations(bench.corpora, 2))
        return [_from(name, f"{name} ->", all_) for name in bench.corpora] + [Column(AVERAGE, tuple(all_))]
    own = [name for name in bench.corpora if name not in paper.CORPORA]
    others = list(itertools.permutations([*paper.CORPORA, *own], 2))
    others = [pair for pair in others if set(pair) <= ours]
    return [
        *(replace(_from(name, name, cited), cited=True) for name in paper.CORPORA),
        *(_from(name, f"{name} ->", others) for name in own),
        *(Column(f"-> {name}", tuple(pair for pair in others if pair[1] == name)) for name in own),
        Column(AVERAGE, tuple(cited), cited=True),
    ]


def _from(src: str, name: str, pairs: Sequence[Pair]) -> Column:
    return Column(name, tuple(pair for pair in pairs if pair[0] == src))
