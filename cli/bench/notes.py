"""Caption, notes and gaps of a table of an experiment, as plain text that each format escapes."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from emodna.cli.bench import format_count
from emodna.model.bench import paper
from emodna.model.bench.feature_sets import FeatureSetSummary
from emodna.model.bench.paper import PAPER_TABLES
from emodna.model.bench.results import GAP_REASONS, RUNNABLE_REASONS, Gap
from emodna.model.bench.spec import (
    MAX_NAMES,
    Conditions,
    Experiment,
    find_uneven_corpora,
    note_shared_recordings,
    shorten_list,
)
from emodna.model.bench.table_data import Cell, Table
from emodna.model.config import TrainConfig, as_settings
from emodna.model.label import ORACLE, OUR_READING, SEMI_SUPERVISED, note_exposure
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.tasks import TASKS

#: Sign of a score by its exposure.
EXPOSURE_SIGNS: Final[Mapping[Exposure, str]] = {"yes": "*", "unknown": "?"}


#: Usual defaults of settings whose defaults depend on the features.
_USUAL: Final = {**as_settings(TrainConfig()), "network": "paper"}


def format_caption(table: Table) -> str:
    """Return the caption of a table."""
    if table.name in PAPER_TABLES:
        paper_name = "Ye et al. 2023 (arXiv 2308.02190)"
        return f"Table {table.name} of {paper_name}: {table.title}. Our scores and the paper's in %."
    return f"{table.title}, in %."


def format_notes(table: Table) -> Iterator[str]:
    """Yield the notes of a table: conditions, definitions, and the meaning of its signs."""
    cells = [cell for row in table.rows for cell in row.cells.values()]
    seeds = table.experiment.seeds
    yield _describe_conditions(table)
    yield from _describe_feature_sets(table)
    tasks = {task for block in table.blocks for task, _ in block.columns}
    if tasks <= {*TASKS}:
        yield "WAR is accuracy. F1 is computed for class 1 (high, positive). A constant predictor has a UAR of 50."
    else:
        yield "WAR is accuracy. F1 is computed for class 1 of two classes."
        yield "A constant predictor has a UAR of 100 divided by the number of classes."
    if table.name in PAPER_TABLES:
        yield "Averages: over the targets of each source, then over the sources."
    if any(cell.std is not None for cell in cells):
        yield "\u00b1: standard deviation (n - 1) of the average over the seeds."
    elif len(seeds) == 1:
        yield "One seed: no standard deviation."
    if any(cell.seeds and cell.seeds != seeds for cell in cells):
        yield "k seeds: average of k seeds; a seed counts if it has all pairs of the average."
    if any(cell.mean is not None and not cell.complete for cell in cells):
        yield "k/n: average of k of the n pairs."
    yield from _explain_signs(table, cells)
    yield from (f"{note}." for note in note_shared_recordings(table.shared_recordings))
    if table.not_shown:
        labels = [table.experiment.methods[spec].label for spec in table.not_shown]
        yield f"Not in this table: {shorten_list(labels)}; emodna-bench table pairs shows all methods."


def _describe_conditions(table: Table) -> str:
    conditions, seeds = table.experiment.conditions, table.experiment.seeds
    feature_sets = {name: table.experiment.feature_sets[name] for name in table.feature_sets}
    count = f" (paper: {paper.SEEDS} runs)" if table.name in PAPER_TABLES else ""
    parts = [
        describe_steps(conditions, feature_sets),
        f"{_format_seeds(seeds)}{count}",
        "features " + ", ".join([*feature_sets] if len(feature_sets) > 1 else [conditions.feature_set]),
        f"device {conditions.device}",
    ]
    if conditions.settings:
        parts.append("settings " + " ".join(f"{key}={value}" for key, value in conditions.settings.items()))
    return f"Ours: {'; '.join(parts)}."


def describe_steps(conditions: Conditions, feature_sets: Mapping[str, FeatureSetSummary]) -> str:
    """Return the training steps of an experiment, with the defaults of its feature sets if they differ."""
    defaults = {name: each.steps for name, each in feature_sets.items()}
    by_name = ", ".join(f"{name} {steps}" for name, steps in defaults.items())
    is_uniform = len(set(defaults.values())) == 1
    if conditions.steps is None:
        return f"{next(iter(defaults.values()))} steps" if is_uniform else f"steps: {by_name}"
    if set(defaults.values()) == {conditions.steps}:
        return f"{conditions.steps} steps"
    return f"{conditions.steps} steps (default: {next(iter(defaults.values())) if is_uniform else by_name})"


def describe_names(experiment: Experiment) -> Iterator[str]:
    """Yield the short and the full name of each feature set, or the full name of the only one."""
    feature_sets = experiment.feature_sets
    yield from (
        f"{name} ({each.folder})" if len(feature_sets) > 1 else each.folder for name, each in feature_sets.items()
    )


def _describe_feature_sets(table: Table) -> Iterator[str]:
    """Yield the full names of several feature sets, and the defaults of each that are not those of all features."""
    experiment, names = table.experiment, table.feature_sets
    shared = experiment.conditions.settings
    differing = dict.fromkeys(key for name in names for key in experiment.feature_sets[name].defaults)
    for name in names:
        features = experiment.feature_sets[name]
        usual = {**_USUAL, **features.defaults}
        defaults = " ".join(f"{key}={usual[key]}" for key in differing if key in usual and key not in shared)
        defaults = f"; by default {defaults}" if defaults else ""
        if len(names) > 1 or defaults:
            yield f"{name}: {features.folder}{defaults}."
    if len(names) > 1 and (uneven := find_uneven_corpora(experiment)):
        corpora = ", ".join(uneven)
        yield f"Not the same utterances in all feature sets: {corpora}. Constant predictors are those of {names[0]}."
    if table.other_feature_sets:
        yield f"Other feature sets of the experiment: {', '.join(table.other_feature_sets)}; --feature-set shows one."


def _explain_signs(table: Table, cells: Sequence[Cell]) -> Iterator[str]:
    marks = {cell.mark for cell in cells}
    if "same" in marks:
        below = "; <: worse than it" if "below" in marks else ""
        yield f"=: equal to the best constant predictor on the same pairs{below}."
    elif "below" in marks:
        yield "<: worse than the best constant predictor on the same pairs."
    if any(cell.difference is not None for cell in cells):
        yield "difference: ours minus the paper's."
    if any(cell.paper_score and not cell.comparable for cell in cells):
        yield "[brackets]: the paper's average over all its pairs; not comparable: ours has fewer pairs."
    if any(cell.gain is not None or cell.paper_gain is not None for cell in cells):
        yield "\u2191 \u2193: better or worse than the same method without L_SCL."
    if table.name == "sensitivity":
        yield "difference: UAR minus the UAR of the first row, over the same pairs and seeds."
    if table.name == "pairs":
        shares = dict.fromkeys(head for block in table.blocks for head in block.headings if head.startswith("% "))
        always = next((row.label for row in table.select_rows("constant")), None)
        if shares:
            yield f"{', '.join(shares)}: share of the target predicted as this class; its true share: WAR of {always}."
    labels = [row.label for row in table.rows]
    for exposure, sign in EXPOSURE_SIGNS.items():
        marked = {corpus: each for corpus, each in table.exposures.items() if each == exposure}
        yield from (f"{sign}: {note}." for note in note_exposure(marked))
    if any(f"({ORACLE})" in label for label in labels):
        yield f"({ORACLE}): uses target labels."
    if any(f"({SEMI_SUPERVISED}" in label for label in labels):
        yield f"({SEMI_SUPERVISED}): trained with some target labels; its scores leave out the recordings of these."
    if any(f"({OUR_READING})" in label for label in labels):
        yield f"({OUR_READING}): the original paper leaves details open, or was not available."
    own_corpora = [name for name in table.experiment.corpora if name not in paper.CORPORA]
    if own_corpora and any(column.in_paper for block in table.blocks for _, column in block.columns):
        yield f"Not a corpus of the paper, and not in its columns or the average: {', '.join(own_corpora)}."


def format_gaps(table: Table) -> Iterator[str]:
    """Yield the gaps of a table, and the command that fills them."""
    if table.absent:
        yield f"not in this experiment: {', '.join(table.absent)}"
    yield from (_describe_gap(gap) for reason in GAP_REASONS for gap in table.gaps if gap.reason == reason)
    if command := make_command(table):
        yield f"to fill the gaps: {command}"


def make_command(table: Table) -> str | None:
    """Return the command that runs the missing runs; None if no run is missing."""
    gaps = [gap for gap in table.gaps if gap.reason in RUNNABLE_REASONS]
    experiment, conditions = table.experiment, table.experiment.conditions
    if gaps and all(gap.reason == "failed" for gap in gaps):  # emodna-bench run skips failed runs
        return shlex.join(["emodna-bench", "retry", "--out", str(experiment.out)])
    if not (gaps or table.absent):
        return None
    specs = dict.fromkeys(spec for gap in gaps for spec in gap.methods)
    parts = ["emodna-bench", "run"]
    parts += ["--table", table.name] if table.name != "pairs" else _repeat_option("--methods", specs)
    if table.name not in PAPER_TABLES:  # the other tables set their tasks
        missing = [task for task in experiment.tasks if any(task in gap.tasks for gap in gaps)]
        parts += _repeat_option("--tasks", missing)
    parts += _repeat_option("--corpora", experiment.corpora)
    parts += ["--seeds", str(len(experiment.seeds))]
    if conditions.steps is not None and any(
        conditions.steps != each.steps for each in experiment.feature_sets.values()
    ):
        parts += ["--steps", str(conditions.steps)]
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
    runs = format_count(gap.run_count, "run")
    methods = ", ".join(map(str, gap.methods))
    pairs = format_count(gap.pairs, "pair")
    if len(gap.pairs) <= MAX_NAMES:
        pairs = ", ".join(f"{src} -> {tgt}" for src, tgt in gap.pairs)
    return f"{gap.reason}: {runs} of {' and '.join(gap.tasks)}: {methods}; {pairs}; {_format_seeds(gap.seeds)}{error}"


def _format_seeds(seeds: Sequence[int]) -> str:
    """Return "seed 0", "seeds 0 to 4" or "seeds 0, 2, 3"."""
    is_range = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    numbers = f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {numbers}"
