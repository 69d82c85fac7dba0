"""Tests of figures from logs and predictions of runs."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from emodna.model.bench.figure_data import HeatmapMark, LineMark
from emodna.model.bench.figures import FigureOptions, NoFigureDataError, make_figure
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Experiment
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import RunKey, fake_experiment, write_log, write_predictions


def make_key(row: str, seed: int = 0, src: str = "ravdess", tgt: str = "emodb") -> RunKey:
    return (src, tgt, "arousal", row, seed)


class TestConfusion:
    def make_experiment(self, out: Path, target: FeatureStore, *rows: str, seeds: int = 2) -> Experiment:
        cells = {make_key(row, seed): 60.0 for row in rows for seed in range(seeds)}
        return fake_experiment(out, cells, stores={"emodb": target})

    def test_confusion_sums_seeds_in_percent_of_the_true_class(self, target: FeatureStore, tmp_path: Path) -> None:
        experiment = self.make_experiment(tmp_path, target, "emo-dna")
        truth = target.labels("arousal").astype(int)
        low, high = int((truth == 0).sum()), int((truth == 1).sum())
        # Seed 0 predicts all correctly, seed 1 always high. The order of the rows must not matter.
        write_predictions(experiment, make_key("emo-dna", 0), target.ids[::-1], truth[::-1].tolist())
        write_predictions(experiment, make_key("emo-dna", 1), target.ids, np.ones_like(truth).tolist())
        figure = make_figure("confusion", experiment, FigureOptions())
        assert figure.facts["counts"] == {"emo-dna": [[low, low], [0, 2 * high]]}
        assert figure.facts["seeds"] == {"emo-dna": [0, 1]}
        (matrix,) = figure.panels[0].marks
        assert isinstance(matrix, HeatmapMark)
        assert matrix.values == [[50.0, 50.0], [0.0, 100.0]]
        assert tuple(matrix.rows) == tuple(matrix.columns) == ("low", "high")
        assert figure.title == "Confusion, ravdess -> emodb, arousal"
        json.dumps(asdict(figure), allow_nan=False)

    def test_confusion_shows_chosen_methods_in_order(self, target: FeatureStore, tmp_path: Path) -> None:
        experiment = self.make_experiment(tmp_path, target, "emo-dna", "upper-bound", "dan", seeds=1)
        for row in ("emo-dna", "dan", "upper-bound"):
            write_predictions(experiment, make_key(row), target.ids, [1] * len(target))
        figure = make_figure("confusion", experiment, FigureOptions())
        assert [panel.title for panel in figure.panels] == ["emo-dna", "dan"]
        chosen = FigureOptions(src="savee", tgt="emodb", methods=(MethodSpec("upper-bound"), MethodSpec("jan")))
        figure = make_figure("confusion", experiment, chosen)  # runs of the upper bound count for all sources
        assert [panel.title for panel in figure.panels] == ["upper-bound"]
        assert "Not finished: jan." in figure.note

    def test_confusion_without_the_targets_store_raises_an_error(self, target: FeatureStore, tmp_path: Path) -> None:
        experiment = fake_experiment(tmp_path, {make_key("emo-dna"): 60.0})
        write_predictions(experiment, make_key("emo-dna"), target.ids, [1] * len(target))
        with pytest.raises(NoFigureDataError, match="the store of emodb, which has the labels, is missing"):
            make_figure("confusion", experiment, FigureOptions())


class TestOverSteps:
    def make_experiment(self, out: Path) -> Experiment:
        uars = {make_key(row, seed): 60.0 for row in ("dan:add=scl", "emo-dna") for seed in (0, 1)}
        experiment = fake_experiment(out, uars)
        for seed in (0, 1):
            losses = {"emotion": 0.25, "mmd": 0.75, "total": 1.0}
            values = {**losses, "threshold": 0.5 + seed * 0.1, "confident": 0.25 * seed}
            lines = [{"step": step, **values} for step in (10, 20, 30)[: 3 - seed]]
            write_log(experiment, make_key("emo-dna", seed), lines)
            write_log(experiment, make_key("dan:add=scl", seed), [{"step": 10, "confident": 1.0}])
        return experiment

    def test_threshold_is_a_mean_over_seeds_at_common_steps(self, tmp_path: Path) -> None:
        figure = make_figure("threshold", self.make_experiment(tmp_path), FigureOptions())
        (panel,) = figure.panels
        threshold, confident = panel.marks
        assert isinstance(threshold, LineMark)
        assert isinstance(confident, LineMark)
        assert threshold.x == [10, 20]
        assert threshold.y == pytest.approx([0.55, 0.55])
        assert (threshold.low, threshold.high) == ([0.5, 0.5], [0.6, 0.6])
        assert (confident.y, confident.low, confident.high) == ([0.125] * 2, [0.0] * 2, [0.25] * 2)
        assert figure.facts["seeds"] == {"emo-dna, ravdess -> emodb": [0, 1]}
        json.dumps(asdict(figure), allow_nan=False)

    def test_methods_have_panels_and_one_seed_has_no_band(self, tmp_path: Path) -> None:
        rows = tuple(map(MethodSpec.parse, ("dan:add=scl", "emo-dna", "jan")))
        figure = make_figure("threshold", self.make_experiment(tmp_path), FigureOptions(methods=rows, seed=0))
        first, second = figure.panels
        assert (first.title, second.title) == ("dan:add=scl, ravdess -> emodb", "emo-dna, ravdess -> emodb")
        assert [mark.name for mark in first.marks] == ["confident share"]  # a fixed threshold is not logged
        assert isinstance(second.marks[0], LineMark)
        assert second.marks[0].low is None
        assert "Not finished: jan." in figure.note

    def test_losses_are_terms_and_total(self, tmp_path: Path) -> None:
        (panel,) = make_figure("losses", self.make_experiment(tmp_path), FigureOptions()).panels
        lines = [(mark.name, mark.y[0], mark.colour) for mark in panel.marks if isinstance(mark, LineMark)]
        assert lines == [("emotion", 0.25, 0), ("mmd", 0.75, 1), ("total", 1.0, 2)]

    def test_figure_shows_at_most_six_pairs(self, tmp_path: Path) -> None:
        sources = [f"s{number}" for number in range(7)]
        uars = {make_key("emo-dna", src=src): 60.0 for src in sources}
        experiment = fake_experiment(tmp_path, uars, languages=dict.fromkeys([*sources, "emodb"], "de"))
        for src in sources:
            write_log(experiment, make_key("emo-dna", src=src), [{"step": 1, "threshold": 0.5}])
        figure = make_figure("threshold", experiment, FigureOptions())
        assert len(figure.panels) == 6
        assert "Pairs not shown: s6 -> emodb." in figure.note
        (panel,) = make_figure("threshold", experiment, FigureOptions(src="s6")).panels
        assert panel.title == "emo-dna, s6 -> emodb"

    @pytest.mark.parametrize(
        ("name", "values"), [("threshold", "threshold"), ("prototypes", "prototypes_"), ("losses", "terms of a loss")]
    )
    def test_values_without_logs_raise_an_error(self, name: str, values: str, tmp_path: Path) -> None:
        experiment = fake_experiment(tmp_path, {make_key("dan"): 60.0})
        write_log(experiment, make_key("dan"), [{"step": 1, "odd": 0.5}])
        with pytest.raises(NoFigureDataError, match=f"no finished run of any method logs {values}"):
            make_figure(name, experiment, FigureOptions())
