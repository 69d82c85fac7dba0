"""Tests of emotion features of finished runs, UMAP, distances, and their figures."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emodna.model.bench import analysis
from emodna.model.bench.analysis import (
    CorpusFeatures,
    compute_distances,
    compute_input_means,
    compute_run_distances,
    extract_features,
    proxy_a_distance,
    sample_rows,
    squared_mmd,
)
from emodna.model.bench.figure_data import DotMark, FigureData, ScatterMark
from emodna.model.bench.figures import FigureOptions, NoFigureDataError, make_figure
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import BenchError
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.store import FeatureStore


def find_run(experiment: Experiment, method: str) -> RunSpec:
    return next(run for run in experiment.runs if str(run.method) == method)


def draw_normal(n: int, seed: int, width: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, width))


class TestFeatures:
    def test_features_are_the_input_of_the_classifier(
        self, small_experiment: Experiment, source: FeatureStore, target: FeatureStore
    ) -> None:
        run = find_run(small_experiment, "emo-dna")
        found = extract_features(small_experiment, run)
        assert found is not None
        model = TrainedModel.load(small_experiment.run_folder(run).path)
        network = model.method.network
        for side, store in zip(found, (source, target), strict=True):
            labels = store.labels("arousal")
            rows = np.flatnonzero(labels >= 0)
            assert side.ids == [store.ids[row] for row in rows]
            assert np.array_equal(side.labels, labels[rows])
            expected = model.probabilities([(store[row], float(store.peak_db[row])) for row in rows])[:, 1]
            logits = network.classifier(torch.from_numpy(side.values))  # type: ignore[union-attr, operator]
            np.testing.assert_allclose(logits.softmax(1)[:, 1].detach().numpy(), expected, atol=1e-6)

    def test_input_features_are_means_over_time(self, small_experiment: Experiment, target: FeatureStore) -> None:
        found = compute_input_means(small_experiment, find_run(small_experiment, "emo-dna"))[1]
        row = target.find_row(found.ids[3])
        np.testing.assert_allclose(found.values[3], target[row].mean(axis=0), rtol=1e-6)

    def test_changed_store_raises_an_error(self, small_experiment: Experiment, tmp_path: Path) -> None:
        corpora = {name: replace(corpus, fingerprint="0" * 64) for name, corpus in small_experiment.corpora.items()}
        experiment = replace(small_experiment, out=tmp_path, corpora=corpora)
        with pytest.raises(BenchError, match="changed since"):
            compute_input_means(experiment, find_run(experiment, "emo-dna"))

    def test_sample_has_labelled_utterances_or_all_without_labels(self) -> None:
        assert sample_rows(np.array([0, -1, 1, -1, 1], np.int8)).tolist() == [0, 2, 4]
        assert sample_rows(np.full(3, -1, np.int8)).tolist() == [0, 1, 2]

    def test_sample_keeps_class_proportions(self) -> None:
        labels = np.repeat(np.array([0, 1, -1], np.int8), [3000, 1000, 500])
        rows = sample_rows(labels, 400)
        assert np.bincount(labels[rows]).tolist() == [300, 100]
        assert rows.tolist() == sorted(set(rows.tolist()))
        assert np.array_equal(rows, sample_rows(labels, 400))
        rare = np.repeat(np.array([0, 1], np.int8), [3000, 1])
        assert (rare[sample_rows(rare, 100)] == 1).any()


class TestProxyADistance:
    def test_separate_sets_have_distance_2(self) -> None:
        assert proxy_a_distance(draw_normal(40, 0), draw_normal(60, 1) + 20) == pytest.approx(2)

    @pytest.mark.parametrize("sizes", [(300, 300), (500, 60)])
    def test_samples_of_one_distribution_have_distance_0(self, sizes: tuple[int, int]) -> None:
        assert proxy_a_distance(draw_normal(sizes[0], 0), draw_normal(sizes[1], 1)) == pytest.approx(0, abs=0.3)

    def test_distance_ignores_scale(self) -> None:
        source, target = draw_normal(50, 0), draw_normal(50, 1) + 0.7
        scale = np.array([1e-3, 1, 50, 1e4])
        expected = proxy_a_distance(source, target)
        assert proxy_a_distance(source * scale + 7, target * scale + 7) == pytest.approx(expected)


class TestMmd:
    def test_samples_of_one_distribution_have_mmd_0_on_average(self) -> None:
        small = np.array([squared_mmd(draw_normal(8, seed), draw_normal(8, seed + 100)) for seed in range(40)], float)
        assert small.mean() == pytest.approx(0, abs=0.02)
        assert small.min() < 0

    def test_mmd_grows_with_the_distance(self) -> None:
        found = [squared_mmd(draw_normal(60, 0), draw_normal(60, 1) + shift) or 0 for shift in (0, 0.5, 1, 4)]
        assert found == sorted(found)

    def test_mmd_ignores_scale_and_constant_values(self) -> None:
        source, target = draw_normal(50, 0), draw_normal(30, 1) + 0.7
        expected = squared_mmd(source, target)
        assert squared_mmd(source * 1e3 + 5, target * 1e3 + 5) == pytest.approx(expected)
        constant = [np.column_stack([each, np.full(len(each), 3.0)]) for each in (source, target)]
        constant[0][0, -1] += 1e-9
        assert squared_mmd(*constant) == pytest.approx(expected)


def test_distances_are_none_for_few_utterances_and_0_for_constants() -> None:
    assert proxy_a_distance(draw_normal(4, 0), draw_normal(50, 1)) is None
    assert squared_mmd(draw_normal(1, 0), draw_normal(9, 1)) is None
    assert proxy_a_distance(np.ones((20, 3)), np.ones((20, 3))) == pytest.approx(0)
    assert squared_mmd(np.ones((20, 3)), np.ones((20, 3))) == pytest.approx(0)


def test_distances_by_class_ignore_the_proportions_of_the_classes() -> None:
    low_values, high_values = draw_normal(200, 0), draw_normal(200, 1) + 6

    def make_features(low: int, high: int) -> CorpusFeatures:
        values = np.concatenate([low_values[:low], high_values[:high]]) + 0.01 * draw_normal(low + high, low)
        return CorpusFeatures("", [], np.repeat(np.array([0, 1], np.int8), [low, high]), values.astype(np.float32))

    one, other = make_features(200, 50), make_features(50, 200)
    found = compute_distances(one, other)
    assert compute_distances(one, other, 3)["classes"] == [*found["classes"], {"pad": None, "mmd": None}]
    assert found["all"]["pad"] > 1
    assert [each["pad"] for each in found["classes"]] == [pytest.approx(0, abs=0.4)] * 2


def test_distances_are_cached_by_model(small_experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = find_run(small_experiment, "source-only")
    first = compute_run_distances(small_experiment, run)
    monkeypatch.setattr(TrainedModel, "embeddings", lambda *_: None)
    assert compute_run_distances(small_experiment, run) == first
    monkeypatch.setattr(analysis, "hash_model", lambda *_: "another model")
    assert compute_run_distances(small_experiment, run) is None


@pytest.fixture
def umap_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace UMAP by the first two features; return the number of points of each call."""
    calls: list[int] = []

    def first_two(values: NDArray[Any]) -> NDArray[Any]:
        calls.append(len(values))
        return values[:, :2]

    monkeypatch.setattr(analysis, "fit_umap", first_two)
    monkeypatch.setattr(analysis, "hash_model", lambda experiment, run: f"{experiment.run_name(run)}, stand-in")
    return calls


def list_utterances(figure: FigureData) -> Iterator[tuple[str, str]]:
    for mark in figure.panels[0].marks:
        assert isinstance(mark, ScatterMark)
        yield from ((mark.name, text) for text in mark.texts or ())


@pytest.mark.usefixtures("umap_sizes")
class TestUmapFigures:
    def test_umap_shows_corpus_and_class_of_each_utterance(
        self, small_experiment: Experiment, source: FeatureStore, target: FeatureStore
    ) -> None:
        choice = FigureOptions(methods=(MethodSpec("emo-dna"), MethodSpec("cdan")))
        figure = make_figure("features-methods", small_experiment, choice)
        assert [panel.title for panel in figure.panels] == [small_experiment.methods[MethodSpec("emo-dna")].label]
        styles = [(mark.colour, mark.marker) for mark in figure.panels[0].marks if isinstance(mark, ScatterMark)]
        assert styles == [(0, 0), (1, 0), (0, 1), (1, 1)]
        expected = [
            (f"{store.snapshot.corpus} ({role}), {('low', 'high')[label]}", utterance)
            for store, role in ((source, "source"), (target, "target"))
            for utterance, label in zip(store.ids, store.labels("arousal").tolist(), strict=True)
        ]
        assert sorted(list_utterances(figure)) == sorted(expected)
        assert "Left out: cdan (not finished)" in figure.note
        assert set(figure.facts["missing"]) == {"cdan"}

    def test_umap_needs_two_methods_by_default(self, small_experiment: Experiment) -> None:
        with pytest.raises(NoFigureDataError, match=r"only emo-dna .*valid: source-only, emo-dna"):
            make_figure("features-parts", small_experiment, FigureOptions())

    def test_umap_is_cached_and_recomputed_if_the_cache_is_damaged(
        self, small_experiment: Experiment, umap_sizes: list[int]
    ) -> None:
        choice = FigureOptions(methods=(MethodSpec("source-only"),))
        first = make_figure("features-parts", small_experiment, choice)
        umap_sizes.clear()
        assert make_figure("features-parts", small_experiment, choice) == first
        assert umap_sizes == []
        name = small_experiment.run_name(find_run(small_experiment, "source-only"))
        (small_experiment.out / "analysis" / f"{name}.json").write_text("{")
        assert make_figure("features-parts", small_experiment, choice) == first
        assert len(umap_sizes) == 1

    def test_error_names_the_missing_methods(self, small_experiment: Experiment) -> None:
        with pytest.raises(NoFigureDataError, match=r"v2, v4, v3, emo-dna \(arousal, source emodb\)"):
            make_figure("features-parts", small_experiment, FigureOptions(src="emodb"))
        with pytest.raises(NoFigureDataError, match="of dann"):
            make_figure("features-parts", small_experiment, FigureOptions(methods=(MethodSpec("dann"),)))

    def test_method_without_features_is_left_out(
        self, small_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(analysis, "hash_model", lambda *_: "another model")
        monkeypatch.setattr(TrainedModel, "embeddings", lambda *_: None)
        with pytest.raises(NoFigureDataError, match=r"emo-dna \(has no common features"):
            make_figure("features-methods", small_experiment, FigureOptions(methods=(MethodSpec("emo-dna"),)))

    def test_missing_umap_raises_an_error(self, small_experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(analysis, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda *_: None)))
        with pytest.raises(BenchError, match=r"emodna\[figures\]") as caught:
            make_figure("features-methods", small_experiment, FigureOptions(methods=(MethodSpec("emo-dna"),)))
        assert not isinstance(caught.value, NoFigureDataError)


@pytest.mark.slow  # numba compiles for some ten seconds
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_separates_clusters_and_is_deterministic() -> None:
    values = np.concatenate([draw_normal(30, 0, 8), draw_normal(30, 1, 8) + 20]).astype(np.float32)
    points = analysis.fit_umap(values)
    assert points.shape == (60, 2)
    assert np.array_equal(points, analysis.fit_umap(values))
    within = max(np.ptp(points[:30], axis=0).max(), np.ptp(points[30:], axis=0).max())
    assert np.linalg.norm(points[:30].mean(axis=0) - points[30:].mean(axis=0)) > within
    assert analysis.fit_umap(values[:6]).shape == (6, 2)


class TestDistancesFigure:
    def test_figure_compares_each_method_with_source_only(self, small_experiment: Experiment) -> None:
        figure = make_figure("distances", small_experiment, FigureOptions())
        assert len(figure.panels) == 4
        values = []
        for panel in figure.panels:
            before, after = panel.marks
            assert isinstance(before, DotMark)
            assert isinstance(after, DotMark)
            assert [label.partition(" ")[0] for label in before.categories] == ["source-only", "emo-dna"]
            assert before.values[0] == before.values[1] is not None
            assert after.values[0] is None
            values.append(after.values[1])
            assert panel.least_width > 0
            ((_, reference),) = panel.references
            assert np.isfinite(reference)
        assert "lowest to highest pair" not in figure.note
        emo_dna = figure.facts["cells"][small_experiment.run_name(find_run(small_experiment, "emo-dna"))]
        means = {key: np.mean([each[key] for each in emo_dna["classes"]]) for key in ("pad", "mmd")}
        assert values == pytest.approx([emo_dna["all"]["pad"], means["pad"], emo_dna["all"]["mmd"], means["mmd"]])
        json.dumps(figure.facts, allow_nan=False)
