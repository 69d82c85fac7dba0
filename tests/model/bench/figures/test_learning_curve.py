"""Tests of the learning curve over target labels."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.model.bench.compare import find_source_only, list_default_methods
from emodna.model.bench.figure_data import LineMark
from emodna.model.bench.figures import FigureOptions, NoFigureDataError, make_figure
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import Scores, collect_results, select_scores
from emodna.model.bench.spec import Experiment
from emodna.model.label import SEMI_SUPERVISED
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL
from tests.model.bench.builders import RunKey, fake_experiment, make_run

COUNTS = {"dan": 0, "dan:target_labels=1": 1, "dan:target_labels=3": 3}


@pytest.fixture
def experiment(target: FeatureStore, tmp_path: Path) -> Experiment:
    """Return an experiment with random predictions of three numbers of labels and two seeds, and one other method."""
    specs = (*COUNTS, "source-only")
    keys: list[RunKey] = [("ravdess", "emodb", "arousal", spec, seed) for spec in specs for seed in (0, 1)]
    made = fake_experiment(tmp_path, dict.fromkeys(keys, 60.0), stores={"emodb": target})
    for key in keys:
        generator = np.random.default_rng([key[4], len(key[3])])
        columns = {"id": target.ids, "label": pa.array(generator.integers(0, 2, len(target)), pa.int8())}
        if count := COUNTS.get(key[3], 0):
            columns["training_label"] = pa.array(draw_rows(target, count, key[4]))
        pq.write_table(pa.table(columns), made.run_folder(make_run(key)).predictions)
    infos = {
        spec: replace(info, supervision=SEMI_SUPERVISED) if "target_labels" in spec.overrides else info
        for spec, info in made.methods.items()
    }
    return replace(made, methods=infos)


def draw_rows(store: FeatureStore, count: int, seed: int) -> list[bool]:
    order = np.random.default_rng(seed).permutation(len(store))
    return [row in order[: 2 * count] for row in range(len(store))]


def test_runs_of_all_numbers_are_scored_on_the_utterances_that_the_largest_leaves_over(
    experiment: Experiment, target: FeatureStore
) -> None:
    figure = make_figure("learning-curve", experiment, FigureOptions())
    (panel,) = figure.panels
    (line,) = panel.marks
    assert isinstance(line, LineMark)
    truth = target.labels(AROUSAL)
    expected: dict[int, list[float]] = {}
    for spec, count in COUNTS.items():
        for seed in (0, 1):
            folder = experiment.run_folder(make_run(("ravdess", "emodb", "arousal", spec, seed)))
            predicted = pq.read_table(folder.predictions)["label"].to_pylist()
            used = draw_rows(target, 3, seed)
            recalls = []
            for label in (0, 1):
                rows = [row for row in range(len(target)) if truth[row] == label and not used[row]]
                recalls.append(100 * fmean(predicted[row] == label for row in rows))
            expected.setdefault(count, []).append(fmean(recalls))
    assert line.x == [0, 1, 3]
    assert line.y == pytest.approx([fmean(values) for values in expected.values()])
    assert line.low is not None
    assert line.low[1] == pytest.approx(fmean(expected[1]) - stdev(expected[1]))
    assert line.name == "dan"
    assert panel.x_ticks == [0, 1, 3]


def test_a_method_with_one_number_of_labels_gives_no_curve(experiment: Experiment) -> None:
    with pytest.raises(NoFigureDataError):
        make_figure("learning-curve", experiment, FigureOptions(methods=(MethodSpec("source-only"),)))


def test_semi_supervised_methods_are_compared_only_if_they_are_named(experiment: Experiment) -> None:
    scores = Scores.from_table(select_scores(collect_results(experiment)))
    assert list(map(str, list_default_methods(experiment, scores))) == ["dan", "source-only"]
    few = MethodSpec.parse("dan:target_labels=3")
    assert str(find_source_only(few)) == "source-only:target_labels=3"
