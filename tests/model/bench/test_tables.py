"""The arithmetic of the tables, against values worked out by hand, and what partial benchmarks make of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.model.bench.paper import AVERAGE, CORPORA, SENSITIVITY_METHODS, UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, MethodSpec, RunSpec
from emodna.model.bench.tables import DIFFERENCE, Cell, Table, average_by_source, choose_pairs_and_seeds, make_table
from emodna.pipeline.emotions import Task
from tests.model.bench.builders import CLASSES, Score, fail_run, finish_runs, write_experiment

PLACE = {name: place for place, name in enumerate(CORPORA)}


def figure(found: Table, row: str, column: str = AVERAGE, score: str = "war", task: Task | None = None) -> Cell:
    """A figure of a table; of its first task, unless told otherwise."""
    (line,) = (line for line in found.rows if line.name == row)
    task = task or found.blocks[0].columns[0][0]
    (spot,) = (spot for spot in line.cells if (spot[0], spot[1].name, spot[2]) == (task, column, score))
    return line.cells[spot]


def steady(run: RunSpec) -> float:
    """The source's place in tens, the target's in ones, and 3 more in seed 1."""
    return 10 + 10 * PLACE[run.src] + PLACE[run.tgt] + 3 * run.seed


def opposed(run: RunSpec) -> float:
    """Seeds that differ by 20 on every pair, upwards and downwards in turn: no matter to the mean over all pairs."""
    up = (PLACE[run.src] + PLACE[run.tgt] + (PLACE[run.src] > PLACE[run.tgt])) % 2
    return 50 + 20 * run.seed * (1 if up else -1)


def made(
    out: Path, rows: Sequence[str | MethodSpec], score: Score = steady, but: Sequence[RunSpec] = (), **asked: object
) -> Experiment:
    experiment = write_experiment(out, rows, **asked)  # type: ignore[arg-type]
    finish_runs(experiment, score, but)
    return experiment


def test_constant_predictors_match_documented_scores(tmp_path: Path) -> None:
    """METHODS 1.3."""
    experiment = write_experiment(tmp_path, ["dann"])
    arousal, valence = make_table(experiment, "2"), make_table(experiment, "3")

    def shown(found: Table, name: str, score: str) -> list[str]:
        return [f"{figure(found, name, column, score).mean:.1f}" for column in (*CORPORA, AVERAGE)]

    assert shown(arousal, "always_high", "war") == ["61.7", "63.4", "60.8", "65.2", "61.7", "62.6", "62.5"]
    assert shown(arousal, "always_high", "f1") == ["76.1", "77.3", "75.4", "78.8", "76.1", "76.7", "76.7"]
    assert shown(valence, "always_high", "war") == ["45.6", "50.0", "47.0", "43.5", "46.3", "45.6", "46.3"]
    assert shown(valence, "always_high", "f1") == ["61.9", "66.5", "63.2", "60.2", "62.5", "61.9", "62.7"]
    assert shown(valence, "always_low", "war") == ["54.4", "50.0", "53.0", "56.5", "53.7", "54.4", "53.7"]
    assert shown(arousal, "always_low", "war")[-1] == "37.5"
    assert shown(arousal, "always_low", "f1")[-1] == shown(valence, "always_low", "f1")[-1] == "0.0"
    assert [shown(each, "majority", "war")[-1] for each in (arousal, valence)] == ["62.7", "57.1"]
    for name in ("always_high", "always_low", "majority"):
        assert set(shown(arousal, name, "uar")) == set(shown(valence, name, "uar")) == {"50.0"}


def test_means_over_targets_then_sources(tmp_path: Path) -> None:
    """Of source 0, targets 1 to 5: 10 + mean(1..5) = 13, and 16 in seed 1; of source 5: 60 + mean(0..4) = 62."""
    found = make_table(made(tmp_path, ["dann"]), "2")
    assert figure(found, "dann", "casia").mean == pytest.approx(14.5)
    assert figure(found, "dann", "savee").mean == pytest.approx(63.5)
    assert figure(found, "dann", AVERAGE).mean == pytest.approx(10 + 25 + 2.5 + 1.5)
    assert figure(found, "dann", AVERAGE, "f1").mean == pytest.approx(40)
    assert figure(found, "dann", AVERAGE, "macro_f1").mean == pytest.approx(42)
    # Two seeds, 3 apart: 3 / sqrt(2) of a sample.
    assert figure(found, "dann", "casia").std == pytest.approx(3 / sqrt(2))
    assert figure(found, "dann", AVERAGE).std == pytest.approx(3 / sqrt(2))
    assert len(figure(found, "dann", AVERAGE).pairs) == 30


def test_deviation_is_that_of_the_mean(tmp_path: Path) -> None:
    """Every pair moves by 20 between the seeds, in turn upwards and downwards: their mean does not."""
    found = make_table(made(tmp_path, ["dann"], opposed), "2")
    # 30 pairs, as many up as down; of a source, 5 pairs: 3 one way and 2 the other, 4 in the mean.
    assert figure(found, "dann", AVERAGE).std == pytest.approx(0)
    assert [figure(found, "dann", name).std for name in CORPORA] == pytest.approx([4 / sqrt(2)] * 6)


def test_upper_bound_counts_for_all_sources(tmp_path: Path) -> None:
    """It is run once per target, here with the target's place as its score."""
    experiment = made(tmp_path, ["dann", UPPER_BOUND], lambda run: 10.0 * PLACE[run.tgt])
    assert sum(run.method == UPPER_BOUND for run in experiment.runs) == 2 * 2 * 6
    found = make_table(experiment, "2")
    assert figure(found, "upper-bound", "casia").mean == pytest.approx(30)
    assert figure(found, "upper-bound", "savee").mean == pytest.approx(20)
    assert len(figure(found, "upper-bound").pairs) == 30
    assert not [gap for gap in found.gaps if UPPER_BOUND in gap.methods]


@pytest.mark.parametrize(("war", "mark"), [(62.0, "below"), (62.66, "same"), (62.72, "same"), (63.0, None)])
def test_scores_are_marked_against_the_best_constant_predictor(tmp_path: Path, war: float, mark: str | None) -> None:
    """The target's majority has a WAR of 62.69 in arousal: what reads 62.7, too, is as good."""
    assert figure(make_table(made(tmp_path, ["dann"], lambda _: war), "2"), "dann").mark == mark


def test_best_method_of_a_column_is_marked(tmp_path: Path) -> None:
    found = make_table(
        made(tmp_path, ["dann", "dan", "upper-bound"], lambda run: 70.0 + (run.method.name == "dan")), "2"
    )
    assert figure(found, "dan").best
    assert not figure(found, "dann").best
    assert not figure(found, "upper-bound").best
    assert figure(found, "emo-dna").paper_best
    assert not figure(found, "dan").paper_best


def test_gains_are_relative_to_the_method_without_l_scl(tmp_path: Path) -> None:
    rows = ["dann", "dann:add=scl", "cdan", "cdan:add=scl", "jan:add=scl"]
    experiment = made(
        tmp_path, rows, lambda run: 50.0 + 2 * bool(run.method.settings) * (-1 if run.method.name == "cdan" else 1)
    )
    found = make_table(experiment, "5")
    assert figure(found, "dann:add=scl").gain == pytest.approx(2)
    assert figure(found, "cdan:add=scl").gain == pytest.approx(-2)
    assert figure(found, "jan:add=scl").gain is None
    assert (figure(found, "cdan:add=scl").paper_gain or 0) < 0 < (figure(found, "dann:add=scl").paper_gain or 0)


def test_constant_predictors_use_the_pairs_of_the_task(tmp_path: Path) -> None:
    """Savee came later, for valence alone."""
    experiment = write_experiment(tmp_path, ["dann"], corpora=("emodb", "ravdess", "savee"))
    cells = [run for run in experiment.runs if run.task == "valence" or "savee" not in (run.src, run.tgt)]
    experiment = replace(experiment, runs=tuple(cells))
    finish_runs(experiment, steady)
    arousal, valence = (make_table(experiment, name) for name in ("2", "3"))
    there = figure(arousal, "always_high", "emodb")
    assert (there.pairs, there.mean) == ((("emodb", "ravdess"),), pytest.approx(100 * 960 / 1440))
    assert figure(arousal, "always_high", "savee").mean is None
    assert figure(arousal, "dann").constant == figure(arousal, "majority").mean
    assert len(figure(valence, "always_high").pairs) == 6


def test_seed_without_a_pair_is_left_out(tmp_path: Path) -> None:
    """Seed 1 lacks one target of casia: with it, the mean would be of other pairs."""
    experiment = write_experiment(tmp_path, ["dann"])
    (hole,) = (
        run for run in experiment.runs if (run.src, run.tgt, run.task, run.seed) == ("casia", "savee", "arousal", 1)
    )
    finish_runs(experiment, steady, [hole])
    found = make_table(experiment, "2")
    there = figure(found, "dann", "casia")
    assert (there.mean, there.std, there.seeds) == (pytest.approx(13), None, (0,))
    assert there.comparable
    assert figure(found, "dann", "emodb").seeds == (0, 1)
    assert figure(found, "dann").seeds == (0,)
    (gap,) = (gap for gap in found.gaps if gap.reason == "waiting")
    assert (gap.methods, gap.pairs, gap.seeds) == ((MethodSpec("dann"),), (("casia", "savee"),), (1,))


def test_pair_that_failed_in_all_seeds_is_a_gap(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, ["dann", "dan"], tasks=["arousal"])
    holes = [run for run in experiment.runs if (run.src, run.tgt, run.method.name) == ("casia", "savee", "dann")]
    finish_runs(experiment, lambda run: 50 + steady(run), holes)
    for run in holes:
        fail_run(experiment, run, "no memory")
    found = make_table(experiment, "2")
    there = figure(found, "dann", "casia")
    assert there.mean == pytest.approx(60 + 2.5 + 1.5)  # targets 1 to 4
    assert (len(there.pairs), there.comparable, there.seeds) == (4, False, (0, 1))
    assert not figure(found, "dan", "casia").best  # the two are of other pairs
    assert figure(found, "dan", "emodb").best
    (gap,) = (gap for gap in found.gaps if gap.reason == "failed")
    assert (gap.tasks, gap.pairs, gap.seeds, gap.error) == (("arousal",), (("casia", "savee"),), (0, 1), "no memory")
    assert gap.run_count == 2


def test_unlabelled_targets_and_damaged_results_are_gaps(tmp_path: Path) -> None:
    classes = {**CLASSES, "savee": ((0, 0), (0, 0))}
    experiment = write_experiment(tmp_path, ["dann"], tasks=["arousal"], seeds=1, classes=classes)
    finish_runs(experiment, lambda run: None if run.tgt in ("savee", "emovo") else 50.0)
    found = make_table(experiment, "2")
    reason = {gap.reason: {tgt for _, tgt in gap.pairs} for gap in found.gaps if MethodSpec("dann") in gap.methods}
    assert reason == {"unlabelled": {"savee"}, "failed": {"emovo"}}
    assert len(figure(found, "dann", "casia").pairs) == 3
    assert len(figure(found, "always_high", "casia").pairs) == 4


def test_sensitivity_is_relative_to_the_first_method(tmp_path: Path) -> None:
    rows = list(SENSITIVITY_METHODS)

    def score(run: RunSpec) -> float:
        return 50.0 + 7 * run.seed + (2 + run.seed) * rows.index(run.method)

    conditions = Conditions(300, "mfcc40-x")
    experiment = made(tmp_path, rows, score, corpora=("emodb", "ravdess"), tasks=["arousal"], conditions=conditions)
    found = make_table(experiment, "sensitivity")
    second = str(rows[1])
    assert [block.columns[0][1].name for block in found.blocks] == ["emodb -> ravdess", "ravdess -> emodb", AVERAGE]
    assert figure(found, second, score="uar").mean == pytest.approx((54 + 62) / 2)
    there = figure(found, second, score=DIFFERENCE)
    assert there.mean == pytest.approx(2.5)
    assert there.std == pytest.approx(sqrt(0.5))
    assert figure(found, str(rows[0]), score=DIFFERENCE).mean is None
    assert found.gaps == ()


def scores_of_pairs(seed: int) -> dict[tuple[str, str], dict[int, float]]:
    """Random scores of pairs by seeds, some of which are missing."""
    draw = random.Random(seed)
    corpora = CORPORA[: draw.randint(2, 6)]
    pairs = [(src, tgt) for src in corpora for tgt in corpora if src != tgt]
    return {pair: {number: draw.uniform(0, 100) for number in range(3) if draw.random() < 0.8} for pair in pairs}


@given(st.integers(0, 10_000))
def test_mean_has_the_pairs_of_the_fullest_seed(seed: int) -> None:
    found = scores_of_pairs(seed)
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
    experiment = made(tmp_path, ["dann", "upper-bound"])
    mixed = replace(experiment, runs=tuple(random.Random(1).sample(experiment.runs, len(experiment.runs))))
    assert make_table(mixed, "2").rows == make_table(experiment, "2").rows
    assert make_table(mixed, "2").gaps == make_table(experiment, "2").gaps
