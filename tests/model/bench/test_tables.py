"""Tests of the means in tables against values by hand, also for unfinished experiments."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import AVERAGE, CORPORA, SENSITIVITY_METHODS, UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, RunSpec
from emodna.model.bench.table_data import DIFFERENCE, Cell, Table
from emodna.model.bench.tables import average_by_source, choose_pairs_and_seeds, make_table
from tests.model.bench.builders import CLASSES, Score, fail_run, finish_runs, write_experiment

POSITION = {name: position for position, name in enumerate(CORPORA)}


def get_cell(table: Table, row: str, column: str = AVERAGE, score: str = "war", task: str | None = None) -> Cell:
    """Return a cell of a table, by default of its first task."""
    (table_row,) = (table_row for table_row in table.rows if table_row.name == row)
    task = task or table.blocks[0].columns[0][0]
    (cell,) = (cell for (t, c, s), cell in table_row.cells.items() if (t, c.name, s) == (task, column, score))
    return cell


def score_by_position(run: RunSpec) -> float:
    """Return 10 plus the source's position in tens and the target's in ones, and 3 more for seed 1."""
    return 10 + 10 * POSITION[run.src] + POSITION[run.tgt] + 3 * run.seed


def score_opposite_seeds(run: RunSpec) -> float:
    """Return 50, and 70 or 30 for seed 1, so that the mean over all pairs is the same in both seeds."""
    up = (POSITION[run.src] + POSITION[run.tgt] + (POSITION[run.src] > POSITION[run.tgt])) % 2
    return 50 + 20 * run.seed * (1 if up else -1)


def make_experiment(
    out: Path, rows: Sequence[str | MethodSpec], score: Score = score_by_position, **options: object
) -> Experiment:
    experiment = write_experiment(out, rows, **options)  # type: ignore[arg-type]
    finish_runs(experiment, score)
    return experiment


def test_constant_predictors_match_documented_scores(tmp_path: Path) -> None:
    """The values are in METHODS.md, section 1.3."""
    experiment = write_experiment(tmp_path, ["dann"])
    arousal, valence = make_table(experiment, "2"), make_table(experiment, "3")

    def format_scores(found: Table, name: str, score: str) -> list[str]:
        return [f"{get_cell(found, name, column, score).mean:.1f}" for column in (*CORPORA, AVERAGE)]

    assert format_scores(arousal, "always_high", "war") == ["61.7", "63.4", "60.8", "65.2", "61.7", "62.6", "62.5"]
    assert format_scores(arousal, "always_high", "f1") == ["76.1", "77.3", "75.4", "78.8", "76.1", "76.7", "76.7"]
    assert format_scores(valence, "always_high", "war") == ["45.6", "50.0", "47.0", "43.5", "46.3", "45.6", "46.3"]
    assert format_scores(valence, "always_high", "f1") == ["61.9", "66.5", "63.2", "60.2", "62.5", "61.9", "62.7"]
    assert format_scores(valence, "always_low", "war") == ["54.4", "50.0", "53.0", "56.5", "53.7", "54.4", "53.7"]
    assert format_scores(arousal, "always_low", "war")[-1] == "37.5"
    assert format_scores(arousal, "always_low", "f1")[-1] == format_scores(valence, "always_low", "f1")[-1] == "0.0"
    assert [format_scores(each, "majority", "war")[-1] for each in (arousal, valence)] == ["62.7", "57.1"]
    for name in ("always_high", "always_low", "majority"):
        assert set(format_scores(arousal, name, "uar")) == set(format_scores(valence, name, "uar")) == {"50.0"}


def test_means_over_targets_then_sources(tmp_path: Path) -> None:
    """Source 0, targets 1 to 5: 10 + mean(1..5) = 13, and 16 for seed 1. Source 5: 60 + mean(0..4) = 62."""
    found = make_table(make_experiment(tmp_path, ["dann"]), "2")
    assert get_cell(found, "dann", "casia").mean == pytest.approx(14.5)
    assert get_cell(found, "dann", "savee").mean == pytest.approx(63.5)
    assert get_cell(found, "dann", AVERAGE).mean == pytest.approx(10 + 25 + 2.5 + 1.5)
    assert get_cell(found, "dann", AVERAGE, "f1").mean == pytest.approx(40)
    assert get_cell(found, "dann", AVERAGE, "macro_f1").mean == pytest.approx(42)
    # Two seeds that differ by 3 have a sample deviation of 3 / sqrt(2).
    assert get_cell(found, "dann", "casia").std == pytest.approx(3 / sqrt(2))
    assert get_cell(found, "dann", AVERAGE).std == pytest.approx(3 / sqrt(2))
    assert len(get_cell(found, "dann", AVERAGE).pairs) == 30


def test_deviation_is_that_of_the_mean(tmp_path: Path) -> None:
    found = make_table(make_experiment(tmp_path, ["dann"], score_opposite_seeds), "2")
    # Of 30 pairs, 15 go up and 15 down. Of 5 pairs of a source, 3 go one way and 2 the other: 4 on average.
    assert get_cell(found, "dann", AVERAGE).std == pytest.approx(0)
    assert [get_cell(found, "dann", name).std for name in CORPORA] == pytest.approx([4 / sqrt(2)] * 6)


def test_upper_bound_counts_for_all_sources(tmp_path: Path) -> None:
    """The upper bound has one run per target, here with the target's position as its score."""
    experiment = make_experiment(tmp_path, ["dann", UPPER_BOUND], lambda run: 10.0 * POSITION[run.tgt])
    assert sum(run.method == UPPER_BOUND for run in experiment.runs) == 2 * 2 * 6
    found = make_table(experiment, "2")
    assert get_cell(found, "upper-bound", "casia").mean == pytest.approx(30)
    assert get_cell(found, "upper-bound", "savee").mean == pytest.approx(20)
    assert len(get_cell(found, "upper-bound").pairs) == 30
    assert not [gap for gap in found.gaps if UPPER_BOUND in gap.methods]


@pytest.mark.parametrize(("war", "mark"), [(62.0, "below"), (62.66, "same"), (62.72, "same"), (63.0, None)])
def test_scores_are_marked_against_the_best_constant_predictor(tmp_path: Path, war: float, mark: str | None) -> None:
    """The majority predictor has a WAR of 62.69 in arousal; scores that round to 62.7 count as equal."""
    assert get_cell(make_table(make_experiment(tmp_path, ["dann"], lambda _: war), "2"), "dann").mark == mark


def test_best_method_of_a_column_is_marked(tmp_path: Path) -> None:
    methods = ["dann", "dan", "upper-bound"]
    found = make_table(make_experiment(tmp_path, methods, lambda run: 70.0 + (run.method.name == "dan")), "2")
    assert get_cell(found, "dan").best
    assert not get_cell(found, "dann").best
    assert not get_cell(found, "upper-bound").best
    assert get_cell(found, "emo-dna").paper_best
    assert not get_cell(found, "dan").paper_best


def test_gains_are_relative_to_the_method_without_l_scl(tmp_path: Path) -> None:
    rows = ["dann", "dann:add=scl", "cdan", "cdan:add=scl", "jan:add=scl"]
    experiment = make_experiment(
        tmp_path, rows, lambda run: 50.0 + 2 * bool(run.method.settings) * (-1 if run.method.name == "cdan" else 1)
    )
    found = make_table(experiment, "5")
    assert get_cell(found, "dann:add=scl").gain == pytest.approx(2)
    assert get_cell(found, "cdan:add=scl").gain == pytest.approx(-2)
    assert get_cell(found, "jan:add=scl").gain is None
    assert (get_cell(found, "cdan:add=scl").paper_gain or 0) < 0 < (get_cell(found, "dann:add=scl").paper_gain or 0)


def test_constant_predictors_use_the_pairs_of_the_task(tmp_path: Path) -> None:
    """Savee has runs of valence only."""
    experiment = write_experiment(tmp_path, ["dann"], corpora=("emodb", "ravdess", "savee"))
    runs = [run for run in experiment.runs if run.task == "valence" or "savee" not in (run.src, run.tgt)]
    experiment = replace(experiment, runs=tuple(runs))
    finish_runs(experiment, score_by_position)
    arousal, valence = (make_table(experiment, name) for name in ("2", "3"))
    cell = get_cell(arousal, "always_high", "emodb")
    assert (cell.pairs, cell.mean) == ((("emodb", "ravdess"),), pytest.approx(100 * 960 / 1440))
    assert get_cell(arousal, "always_high", "savee").mean is None
    assert get_cell(arousal, "dann").constant == get_cell(arousal, "majority").mean
    assert len(get_cell(valence, "always_high").pairs) == 6


def test_seed_without_a_pair_is_left_out(tmp_path: Path) -> None:
    """Seed 1 lacks one target of casia, so its mean would be over other pairs."""
    experiment = write_experiment(tmp_path, ["dann"])
    missing = RunSpec("casia", "savee", "arousal", MethodSpec("dann"), 1)
    finish_runs(experiment, score_by_position, [missing])
    found = make_table(experiment, "2")
    cell = get_cell(found, "dann", "casia")
    assert (cell.mean, cell.std, cell.seeds) == (pytest.approx(13), None, (0,))
    assert cell.comparable
    assert get_cell(found, "dann", "emodb").seeds == (0, 1)
    assert get_cell(found, "dann").seeds == (0,)
    (gap,) = (gap for gap in found.gaps if gap.reason == "waiting")
    assert (gap.methods, gap.pairs, gap.seeds) == ((MethodSpec("dann"),), (("casia", "savee"),), (1,))


def test_pair_that_failed_in_all_seeds_is_a_gap(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["dann", "dan"], tasks=["arousal"])
    failed = [run for run in experiment.runs if (run.src, run.tgt, run.method.name) == ("casia", "savee", "dann")]
    finish_runs(experiment, lambda run: 50 + score_by_position(run), failed)
    for run in failed:
        fail_run(experiment, run, "no memory")
    found = make_table(experiment, "2")
    cell = get_cell(found, "dann", "casia")
    assert cell.mean == pytest.approx(60 + 2.5 + 1.5)  # targets 1 to 4
    assert (len(cell.pairs), cell.comparable, cell.seeds) == (4, False, (0, 1))
    assert not get_cell(found, "dan", "casia").best  # the methods have different pairs
    assert get_cell(found, "dan", "emodb").best
    (gap,) = (gap for gap in found.gaps if gap.reason == "failed")
    assert (gap.tasks, gap.pairs, gap.seeds, gap.error) == (("arousal",), (("casia", "savee"),), (0, 1), "no memory")
    assert gap.run_count == 2


def test_unlabelled_targets_and_damaged_results_are_gaps(tmp_path: Path) -> None:
    classes = {**CLASSES, "savee": ((0, 0), (0, 0))}
    experiment = write_experiment(tmp_path, ["dann"], tasks=["arousal"], seeds=1, classes=classes)
    finish_runs(experiment, lambda run: None if run.tgt in ("savee", "emovo") else 50.0)
    found = make_table(experiment, "2")
    targets = {gap.reason: {tgt for _, tgt in gap.pairs} for gap in found.gaps if MethodSpec("dann") in gap.methods}
    assert targets == {"unlabelled": {"savee"}, "failed": {"emovo"}}
    assert len(get_cell(found, "dann", "casia").pairs) == 3
    assert len(get_cell(found, "always_high", "casia").pairs) == 4


def test_sensitivity_is_relative_to_the_first_method(tmp_path: Path) -> None:
    rows = list(SENSITIVITY_METHODS)

    def score(run: RunSpec) -> float:
        return 50.0 + 7 * run.seed + (2 + run.seed) * rows.index(run.method)

    options = {
        "corpora": ("emodb", "ravdess"),
        "tasks": ["arousal"],
        "conditions": Conditions(300, "mfcc40-22050hz-1d163ad7"),
    }
    found = make_table(make_experiment(tmp_path, rows, score, **options), "sensitivity")
    second = str(rows[1])
    assert [block.columns[0][1].name for block in found.blocks] == ["emodb -> ravdess", "ravdess -> emodb", AVERAGE]
    assert get_cell(found, second, score="uar").mean == pytest.approx((54 + 62) / 2)
    cell = get_cell(found, second, score=DIFFERENCE)
    assert cell.mean == pytest.approx(2.5)
    assert cell.std == pytest.approx(sqrt(0.5))
    assert get_cell(found, str(rows[0]), score=DIFFERENCE).mean is None
    assert found.gaps == ()


def draw_scores(seed: int) -> dict[tuple[str, str], dict[int, float]]:
    """Draw random scores of pairs by seed, with some missing."""
    draw = random.Random(seed)
    corpora = CORPORA[: draw.randint(2, 6)]
    pairs = [(src, tgt) for src in corpora for tgt in corpora if src != tgt]
    return {pair: {number: draw.uniform(0, 100) for number in range(3) if draw.random() < 0.8} for pair in pairs}


@given(st.integers(0, 10_000))
def test_mean_has_the_pairs_of_the_fullest_seed(seed: int) -> None:
    found = draw_scores(seed)
    by_seed = {number: {pair for pair in found if number in found[pair]} for number in range(3)}
    chosen = pairs, seeds = choose_pairs_and_seeds(found, list(found))
    if not pairs:
        assert not seeds
        assert not any(by_seed.values())
        return
    assert len(pairs) == max(map(len, by_seed.values()))
    assert set(seeds) == {number for number, own in by_seed.items() if own >= set(pairs)}
    mixed = {pair: dict(reversed(found[pair].items())) for pair in random.Random(seed).sample(list(found), len(found))}
    assert choose_pairs_and_seeds(mixed, list(found)) == chosen
    naive = [np.mean([found[pair][seeds[0]] for pair in pairs if pair[0] == src]) for src in {src for src, _ in pairs}]
    assert average_by_source({pair: found[pair][seeds[0]] for pair in pairs}) == pytest.approx(np.mean(naive))


def test_order_of_runs_does_not_matter(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, ["dann", "upper-bound"])
    mixed = replace(experiment, runs=tuple(random.Random(1).sample(experiment.runs, len(experiment.runs))))
    assert make_table(mixed, "2").rows == make_table(experiment, "2").rows
    assert make_table(mixed, "2").gaps == make_table(experiment, "2").gaps
