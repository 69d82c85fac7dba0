"""What is said below a table of a benchmark, in plain sentences: each form escapes them in its own way."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from emodna.cli.bench.options import STEPS
from emodna.model.bench import paper
from emodna.model.bench.presets import PRESETS
from emodna.model.bench.scores import Pair
from emodna.model.bench.tables.data import Figure, Table
from emodna.model.bench.tables.gaps import RUNNABLE, WHY, Gap
from emodna.model.bench.wording import NAMED, few, shared_notes
from emodna.model.label import ORACLE, OUR_READING
from emodna.pipeline.emotions import TASKS


def caption(table: Table) -> str:
    """What the table is."""
    if table.name in PRESETS:
        return f"Table {table.name} of Ye et al. 2023 (arXiv 2308.02190): {table.title}. Ours beside the paper's, in %."
    return f"{table.title}, in %."


def notes(table: Table) -> Iterator[str]:
    """How to read it: conditions, arithmetic, and the signs that occur in it."""
    figures = [figure for line in table.lines for figure in line.figures.values()]
    yield _conditions(table)
    yield "WAR is accuracy; F1 is that of class 1 (high, positive); a constant answer has a UAR of 50."
    if table.name in PRESETS:
        yield "Mean over the targets of each source, then over the sources."
    if any(figure.std is not None for figure in figures):
        yield "\u00b1: standard deviation (n - 1) over the seeds, of that mean."
    elif len(table.seeds) == 1:
        yield "One seed: no standard deviation."
    if any(figure.seeds and figure.seeds != table.seeds for figure in figures):
        yield "A seed counts only where it has all pairs of a mean: fewer are told in the cell."
    if any(figure.mean is not None and not figure.complete for figure in figures):
        yield "n/m: so many pairs are there of those that belong into the mean."
    yield from _signs(table, figures)
    for note in shared_notes(table.shared):
        yield f"{note}."
    if table.not_shown:
        labels = [table.bench.methods[row].label for row in table.not_shown]
        yield f"Not in this table: {few(labels)}; emodna-bench table pairs shows every row."


def _conditions(table: Table) -> str:
    conditions = table.bench.conditions
    usual = "" if conditions.steps == STEPS else f" (default: {STEPS})"
    count = f" (the paper: {paper.SEEDS} runs)" if table.name in PRESETS else ""
    parts = [
        f"{conditions.steps} steps{usual}",
        f"{'seed' if len(table.seeds) == 1 else 'seeds'} {_joined(table.seeds)}{count}",
        f"features {conditions.feature_set}",
        f"device {conditions.device}",
    ]
    if conditions.settings:
        parts.append("settings " + " ".join(f"{key}={value}" for key, value in conditions.settings.items()))
    return f"Ours: {'; '.join(parts)}."


def _signs(table: Table, figures: Sequence[Figure]) -> Iterator[str]:
    marks = {figure.mark for figure in figures}
    found = {"same": "= no better than the best constant answer on the same pairs", "below": "< below it"}
    if said := [words for mark, words in found.items() if mark in marks]:
        yield (
            "; ".join(said).replace("< below it", "< below the best constant answer on the same pairs", len(said) == 1)
            + "."
        )
    if any(figure.difference is not None for figure in figures):
        yield "difference: ours less the paper's."
    if any(figure.cited and not figure.comparable for figure in figures):
        yield "[brackets]: the paper's number, which is of all its pairs; ours is not, so the two cannot be compared."
    if any(figure.gain is not None or figure.cited_gain is not None for figure in figures):
        yield "\u2191 \u2193: better or worse than the same method without L_SCL."
    if table.name == "sensitivity":
        yield "difference: UAR less that of the first row, over the same pairs and seeds."
    if table.name == "pairs":
        shares = dict.fromkeys(head for block in table.blocks for head in block.headings if head.startswith("% "))
        always = next(line.label for line in table.of("constant"))
        yield f"{', '.join(shares)}: how much of the target is called so; how much of it is so: WAR of {always}."
    labels = [line.label for line in table.lines]
    if any(f"({ORACLE})" in label for label in labels):
        yield f"({ORACLE}): knows the target's labels."
    if any(f"({OUR_READING})" in label for label in labels):
        yield f"({OUR_READING}): the original leaves open how it is done, or could not be read."
    own = [name for name in table.bench.corpora if name not in paper.CORPORA]
    if own and any(column.cited for block in table.blocks for _, column in block.columns):
        yield f"{', '.join(own)}: not of the paper's corpora; the paper's columns and the average are without them."


def missing(table: Table) -> Iterator[str]:
    """What it lacks, and the command that would mend it."""
    if table.absent:
        yield f"not in this benchmark: {', '.join(table.absent)}"
    for why in WHY:
        for gap in table.gaps:
            if gap.why == why:
                yield _gap(gap)
    if wanted := command(table):
        yield f"to run what is missing: {wanted}"


def command(table: Table) -> str | None:
    """The command that runs what is missing; None if nothing is."""
    open_ = [gap for gap in table.gaps if gap.why in RUNNABLE]
    bench, conditions = table.bench, table.bench.conditions
    if open_ and all(gap.why == "failed" for gap in open_):  # run leaves out what has failed
        return shlex.join(["emodna-bench", "retry", "--out", str(bench.out)])
    if not (open_ or table.absent):
        return None
    rows = dict.fromkeys(row for gap in open_ for row in gap.rows)
    asked = (
        ["--table", table.name] if table.name != "pairs" else [part for row in rows for part in ("--methods", str(row))]
    )
    parts = ["emodna-bench", "run", *asked]
    if table.name not in PRESETS:  # otherwise its tasks are those of the table
        parts += [part for task in TASKS if any(task in gap.tasks for gap in open_) for part in ("--tasks", task)]
    parts += [part for corpus in bench.corpora for part in ("--corpora", corpus)]
    parts += ["--seeds", str(len(table.seeds))] + ["--steps", str(conditions.steps)] * (conditions.steps != STEPS)
    parts += [part for key, value in conditions.settings.items() for part in ("--set", f"{key}={value}")]
    parts += ["--feature-set", conditions.feature_set, "--device", conditions.device]
    parts += ["--threads", str(conditions.threads)] * (conditions.threads != 1)
    caches = {Path(corpus.store).parent.parent for corpus in bench.corpora.values()}
    if len(caches) == 1 and caches != {Path("cache").absolute()}:
        parts += ["--cache", str(*caches)]
    return shlex.join([*parts, "--out", str(bench.out)])


def _gap(gap: Gap) -> str:
    error = f": {gap.error}" if gap.error else ""
    cells = f"{gap.cells} {'cell' if gap.cells == 1 else 'cells'}"
    rows = ", ".join(map(str, gap.rows))
    seeds = f"{'seed' if len(gap.seeds) == 1 else 'seeds'} {_joined(gap.seeds)}"
    return f"{gap.why}: {cells} of {' and '.join(gap.tasks)}: {rows}; {_pairs(gap.pairs)}; {seeds}{error}"


def _pairs(pairs: Sequence[Pair]) -> str:
    if len(pairs) > NAMED:
        return f"{len(pairs)} pairs"
    return ", ".join(f"{src} -> {tgt}" for src, tgt in pairs)


def _joined(numbers: Sequence[int]) -> str:
    """0 to 4, or 0, 2, 3."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
