"""Emotion features of finished cells, their plane, and the figures made of them."""

from __future__ import annotations

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
from emodna.model.bench.analysis import features_of, inputs_of, sample
from emodna.model.bench.figures import Choice, NothingToShow, make_figure
from emodna.model.bench.pictures import Dots, Picture, Points
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.errors import BenchError
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.store import FeatureStore


def cell_of(bench: Experiment, row: str) -> RunSpec:
    return next(cell for cell in bench.runs if str(cell.method) == row)


class TestFeatures:
    def test_are_what_the_classifier_answers_from(
        self, small_bench: Experiment, source: FeatureStore, target: FeatureStore
    ) -> None:
        cell = cell_of(small_bench, "emo-dna")
        found = features_of(small_bench, cell)
        assert found is not None
        model = TrainedModel.load(small_bench.run_folder(cell).path)
        network = model.method.network
        for side, store in zip(found, (source, target), strict=True):
            labels = store.labels("arousal")
            rows = np.flatnonzero(labels >= 0)
            assert side.ids == [store.ids[row] for row in rows]
            assert np.array_equal(side.labels, labels[rows])
            expected = model.probabilities([(store[row], float(store.peak_db[row])) for row in rows])
            logits = network.classifier(torch.from_numpy(side.values))  # type: ignore[union-attr, operator]
            np.testing.assert_allclose(logits.softmax(1)[:, 1].detach().numpy(), expected, atol=1e-6)

    def test_of_the_input_are_means_over_time(self, small_bench: Experiment, target: FeatureStore) -> None:
        found = inputs_of(small_bench, "ravdess", "emodb", "arousal")[1]
        row = target.row_of(found.ids[3])
        np.testing.assert_allclose(found.values[3], target[row].mean(axis=0), rtol=1e-6)

    def test_of_a_store_that_has_changed_are_refused(self, small_bench: Experiment, tmp_path: Path) -> None:
        corpora = {name: replace(corpus, fingerprint="0" * 64) for name, corpus in small_bench.corpora.items()}
        other = Experiment(tmp_path, small_bench.conditions, corpora, small_bench.methods, small_bench.runs)
        with pytest.raises(BenchError, match="has changed"):
            inputs_of(other, "ravdess", "emodb", "arousal")


class TestDraw:
    def test_leaves_out_what_has_no_label(self) -> None:
        assert sample(np.array([0, -1, 1, -1, 1], np.int8)).tolist() == [0, 2, 4]

    def test_takes_everything_where_there_is_no_label(self) -> None:
        assert sample(np.full(3, -1, np.int8)).tolist() == [0, 1, 2]

    def test_keeps_the_shares_of_the_classes(self) -> None:
        labels = np.repeat(np.array([0, 1, -1], np.int8), [3000, 1000, 500])
        rows = sample(labels, 400)
        assert np.bincount(labels[rows]).tolist() == [300, 100]
        assert rows.tolist() == sorted(set(rows.tolist()))
        assert np.array_equal(rows, sample(labels, 400))

    def test_keeps_one_of_a_rare_class(self) -> None:
        assert (np.repeat(np.array([0, 1], np.int8), [3000, 1])[sample(np.repeat([0, 1], [3000, 1]), 100)] == 1).any()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """UMAP's stand-in, the first two values: the number of points of each call."""
    calls: list[int] = []

    def first_two(values: NDArray[Any]) -> NDArray[Any]:
        calls.append(len(values))
        return values[:, :2]

    monkeypatch.setattr(analysis, "plane", first_two)
    monkeypatch.setattr(analysis, "model_key", lambda bench, cell: f"{bench.run_name(cell)}, stand-in")
    return calls


def utterances(picture: Picture) -> Iterator[tuple[str, str]]:
    for mark in picture.panels[0].marks:
        assert isinstance(mark, Points)
        assert mark.texts is not None
        yield from ((mark.name, text) for text in mark.texts)


@pytest.mark.usefixtures("counted")
class TestPanels:
    def test_mark_corpus_and_class_of_every_utterance(
        self, small_bench: Experiment, source: FeatureStore, target: FeatureStore
    ) -> None:
        picture = make_figure(
            "features-methods", small_bench, Choice(methods=(MethodSpec("emo-dna"), MethodSpec("cdan")))
        )
        assert [panel.title for panel in picture.panels] == [small_bench.methods[MethodSpec("emo-dna")].label]
        assert [(mark.colour, mark.marker) for mark in picture.panels[0].marks if isinstance(mark, Points)] == [
            (0, 0),
            (1, 0),
            (0, 1),
            (1, 1),
        ]
        expected = {
            (f"{store.snapshot.corpus} ({role}), {('low', 'high')[label]}", utterance)
            for store, role in ((source, "source"), (target, "target"))
            for utterance, label in zip(store.ids, store.labels("arousal").tolist(), strict=True)
        }
        assert set(utterances(picture)) == expected
        assert len(list(utterances(picture))) == len(expected)
        assert "Left out: cdan (not finished)" in picture.note
        assert set(picture.facts["missing"]) == {"cdan"}

    def test_of_one_row_alone_are_nothing_unless_it_is_chosen(self, small_bench: Experiment) -> None:
        says = "only emo-dna is finished of v2, v4, v3, emo-dna.*--methods source-only --methods emo-dna"
        with pytest.raises(NothingToShow, match=says):
            make_figure("features-parts", small_bench, Choice())

    def test_are_worked_out_once(self, small_bench: Experiment, counted: list[int]) -> None:
        choice = Choice(methods=(MethodSpec("source-only"),))
        first = make_figure("features-parts", small_bench, choice)
        counted.clear()
        assert make_figure("features-parts", small_bench, choice) == first
        assert counted == []

    def test_are_worked_out_anew_where_the_file_is_damaged(self, small_bench: Experiment) -> None:
        choice = Choice(methods=(MethodSpec("source-only"),))
        first = make_figure("features-parts", small_bench, choice)
        name = small_bench.run_name(cell_of(small_bench, "source-only"))
        (small_bench.out / "analysis" / f"{name}.json").write_text("{")
        assert make_figure("features-parts", small_bench, choice) == first

    def test_without_a_finished_cell_say_which_would_do(self, small_bench: Experiment) -> None:
        with pytest.raises(NothingToShow, match=r"no finished cell of v2, v4, v3, emo-dna \(arousal, source emodb\)"):
            make_figure("features-parts", small_bench, Choice(src="emodb"))
        with pytest.raises(NothingToShow, match="of dann"):
            make_figure("features-parts", small_bench, Choice(methods=(MethodSpec("dann"),)))

    def test_of_a_method_without_features_are_left_out(
        self, small_bench: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(analysis, "model_key", lambda *_: "another model")
        monkeypatch.setattr(TrainedModel, "embeddings", lambda *_: None)
        with pytest.raises(NothingToShow, match=r"emo-dna \(has no features"):
            make_figure("features-methods", small_bench, Choice(methods=(MethodSpec("emo-dna"),)))

    def test_without_umap_say_how_to_get_it(self, small_bench: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(analysis, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda *_: None)))
        with pytest.raises(BenchError, match=r"needs umap-learn: pip install 'emodna\[figures\]'") as caught:
            make_figure("features-methods", small_bench, Choice(methods=(MethodSpec("emo-dna"),)))
        assert not isinstance(caught.value, NothingToShow)


@pytest.mark.slow  # numba compiles for some ten seconds
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_clusters_apart_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=(30, 8)), random.normal(size=(30, 8)) + 20]).astype(np.float32)
    points = analysis.plane(values)
    assert points.shape == (60, 2)
    assert np.array_equal(points, analysis.plane(values))
    within = max(np.ptp(points[:30], axis=0).max(), np.ptp(points[30:], axis=0).max())
    assert np.linalg.norm(points[:30].mean(axis=0) - points[30:].mean(axis=0)) > within
    assert analysis.plane(values[:6]).shape == (6, 2)


class TestDistancesFigure:
    def test_shows_each_method_beside_source_only(self, small_bench: Experiment) -> None:
        picture = make_figure("distances", small_bench, Choice())
        assert len(picture.panels) == 4
        cells = picture.facts["cells"]
        for panel in picture.panels:
            before, after = panel.marks
            assert isinstance(before, Dots)
            assert isinstance(after, Dots)
            assert list(before.categories) == ["source-only", "emo-dna"]
            assert before.values[0] == before.values[1] is not None
            assert after.values[0] is None
            assert panel.least_width > 0
            ((_, reference),) = panel.references
            assert np.isfinite(reference)
        assert "from the least to the largest" not in picture.note  # of one run
        adapted = cells[small_bench.run_name(cell_of(small_bench, "emo-dna"))]
        values = [panel.marks[1].values[1] for panel in picture.panels if isinstance(panel.marks[1], Dots)]
        assert values == [
            adapted["all"]["pad"],
            pytest.approx(np.mean([each["pad"] for each in adapted["classes"]])),
            adapted["all"]["mmd"],
            pytest.approx(np.mean([each["mmd"] for each in adapted["classes"]])),
        ]
        json.dumps(picture.facts, allow_nan=False)

    def test_is_nothing_without_finished_cells(self, small_bench: Experiment) -> None:
        with pytest.raises(NothingToShow, match="valence"):
            make_figure("distances", small_bench, Choice(task="valence"))
