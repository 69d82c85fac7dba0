"""Caption, notes and gaps of a table of an experiment, in plain sentences that each format escapes in its own way."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from emodna.cli.bench import format_count
from emodna.model.bench import paper
from emodna.model.bench.paper import PAPER_TABLES
from emodna.model.bench.results import GAP_REASONS, RUNNABLE_REASONS, Gap
from emodna.model.bench.spec import MAX_NAMES, note_shared_recordings, shorten_list
from emodna.model.bench.tables import Cell, Table
from emodna.model.config import DEFAULT_STEPS
from emodna.model.label import ORACLE, OUR_READING
from emodna.pipeline.emotions import TASKS


def caption(table: Table) -> str:
    """Return the caption."""
    if table.name in PAPER_TABLES:
        return f"Table {table.name} of Ye et al. 2023 (arXiv 2308.02190): {table.title}. Ours beside the paper's, in %."
    return f"{table.title}, in %."


def notes(table: Table) -> Iterator[str]:
    """Yield how to read a table: conditions, arithmetic, and the signs that occur in it."""
    cells = [cell for line in table.rows for cell in line.cells.values()]
    seeds = table.experiment.seeds
    yield _describe_conditions(table)
    yield "WAR is accuracy; F1 is that of class 1 (high, positive); a constant answer has a UAR of 50."
    if table.name in PAPER_TABLES:
        yield "Mean over the targets of each source, then over the sources."
    if any(cell.std is not None for cell in cells):
        yield "\u00b1: standard deviation (n - 1) over the seeds, of that mean."
    elif len(seeds) == 1:
        yield "One seed: no standard deviation."
    if any(cell.seeds and cell.seeds != seeds for cell in cells):
        yield "A seed counts only where it has all pairs of a mean: fewer are told in the cell."
    if any(cell.mean is not None and not cell.complete for cell in cells):
        yield "n/m: so many pairs are there of those that belong into the mean."
    yield from _explain_signs(table, cells)
    yield from (f"{note}." for note in note_shared_recordings(table.shared_recordings))
    if table.not_shown:
        labels = [table.experiment.methods[spec].label for spec in table.not_shown]
        yield f"Not in this table: {shorten_list(labels)}; emodna-bench table pairs shows every row."


def _describe_conditions(table: Table) -> str:
    conditions, seeds = table.experiment.conditions, table.experiment.seeds
    usual = "" if conditions.steps == DEFAULT_STEPS else f" (default: {DEFAULT_STEPS})"
    count = f" (the paper: {paper.SEEDS} runs)" if table.name in PAPER_TABLES else ""
    parts = [
        f"{conditions.steps} steps{usual}",
        f"{_format_seeds(seeds)}{count}",
        f"features {conditions.feature_set}",
        f"device {conditions.device}",
    ]
    if conditions.settings:
        parts.append("settings " + " ".join(f"{key}={value}" for key, value in conditions.settings.items()))
    return f"Ours: {'; '.join(parts)}."


def _explain_signs(table: Table, cells: Sequence[Cell]) -> Iterator[str]:
    marks = {cell.mark for cell in cells}
    if "same" in marks:
        below = "; < below it" if "below" in marks else ""
        yield f"= no better than the best constant answer on the same pairs{below}."
    elif "below" in marks:
        yield "< below the best constant answer on the same pairs."
    if any(cell.difference is not None for cell in cells):
        yield "difference: ours less the paper's."
    if any(cell.paper_score and not cell.comparable for cell in cells):
        yield "[brackets]: the paper's number, which is of all its pairs; ours is not, so the two cannot be compared."
    if any(cell.gain is not None or cell.paper_gain is not None for cell in cells):
        yield "\u2191 \u2193: better or worse than the same method without L_SCL."
    if table.name == "sensitivity":
        yield "difference: UAR less that of the first row, over the same pairs and seeds."
    if table.name == "pairs":
        shares = dict.fromkeys(head for block in table.blocks for head in block.headings if head.startswith("% "))
        always = next(line.label for line in table.select_rows("constant"))
        yield f"{', '.join(shares)}: how much of the target is called so; how much of it is so: WAR of {always}."
    labels = [line.label for line in table.rows]
    if any(f"({ORACLE})" in label for label in labels):
        yield f"({ORACLE}): knows the target's labels."
    if any(f"({OUR_READING})" in label for label in labels):
        yield f"({OUR_READING}): the original leaves open how it is done, or could not be read."
    own = [name for name in table.experiment.corpora if name not in paper.CORPORA]
    if own and any(column.in_paper for block in table.blocks for _, column in block.columns):
        yield f"{', '.join(own)}: not of the paper's corpora; the paper's columns and the average are without them."


def missing(table: Table) -> Iterator[str]:
    """Yield what a table lacks, and the command that would mend it."""
    if table.absent:
        yield f"not in this benchmark: {', '.join(table.absent)}"
    yield from (_describe_gap(gap) for reason in GAP_REASONS for gap in table.gaps if gap.reason == reason)
    if wanted := command(table):
        yield f"to run what is missing: {wanted}"


def command(table: Table) -> str | None:
    """Return the command that runs what is missing; None if nothing is."""
    gaps = [gap for gap in table.gaps if gap.reason in RUNNABLE_REASONS]
    experiment, conditions = table.experiment, table.experiment.conditions
    if gaps and all(gap.reason == "failed" for gap in gaps):  # run leaves out what has failed
        return shlex.join(["emodna-bench", "retry", "--out", str(experiment.out)])
    if not (gaps or table.absent):
        return None
    specs = dict.fromkeys(spec for gap in gaps for spec in gap.methods)
    parts = ["emodna-bench", "run"]
    parts += ["--table", table.name] if table.name != "pairs" else _repeat_option("--methods", specs)
    if table.name not in PAPER_TABLES:  # otherwise its tasks are those of the table
        parts += _repeat_option("--tasks", [task for task in TASKS if any(task in gap.tasks for gap in gaps)])
    parts += _repeat_option("--corpora", experiment.corpora)
    parts += ["--seeds", str(len(experiment.seeds))]
    parts += ["--steps", str(conditions.steps)] * (conditions.steps != DEFAULT_STEPS)
    parts += _repeat_option("--set", [f"{key}={value}" for key, value in conditions.settings.items()])
    parts += ["--feature-set", conditions.feature_set, "--device", conditions.device]
    parts += ["--threads", str(conditions.threads)] * (conditions.threads != 1)
    caches = {Path(corpus.store).parent.parent for corpus in experiment.corpora.values()}
    if len(caches) == 1 and caches != {Path("cache").absolute()}:
        parts += ["--cache", str(*caches)]
    return shlex.join([*parts, "--out", str(experiment.out)])


def _repeat_option(option: str, values: Iterable[object]) -> list[str]:
    return [part for value in values for part in (option, str(value))]


def _describe_gap(gap: Gap) -> str:
    error = f": {gap.error}" if gap.error else ""
    runs = format_count(gap.run_count, "cell")
    methods = ", ".join(map(str, gap.methods))
    pairs = format_count(gap.pairs, "pair")
    if len(gap.pairs) <= MAX_NAMES:
        pairs = ", ".join(f"{src} -> {tgt}" for src, tgt in gap.pairs)
    return f"{gap.reason}: {runs} of {' and '.join(gap.tasks)}: {methods}; {pairs}; {_format_seeds(gap.seeds)}{error}"


def _format_seeds(seeds: Sequence[int]) -> str:
    """Return `seed 0`, `seeds 0 to 4` or `seeds 0, 2, 3`."""
    run = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    numbers = f"{seeds[0]} to {seeds[-1]}" if run else ", ".join(map(str, seeds))
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {numbers}"
