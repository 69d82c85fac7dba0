"""Adaptation without the source: the estimates against loops and hand-computed values, and runs on small corpora."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model.adaptation import ADAPTATIONS
from emodna.model.adaptation.base import Outputs
from emodna.model.adaptation.prior import estimate_priors
from emodna.model.adaptation.run import AdaptRequest, adapt, resolve_adaptation
from emodna.model.adaptation.shot import assign_centroids, find_centroids
from emodna.model.adaptation.t3a import find_prototypes
from emodna.model.checkpoint import load_tensors
from emodna.model.data.stream import CorpusWindows, SourceStream
from emodna.model.data.target_labels import draw_target_labels
from emodna.model.errors import ConfigError, RunError
from emodna.model.evaluation.evaluate import evaluate_run
from emodna.model.fit import fit
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store
from emodna.model.provenance import read_audio, read_corpora
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, make_emotion_task
from tests.model.small import (
    InterruptAt,
    Interruption,
    SilentCallback,
    fit_small,
    make_manifest_store,
    prepare_store,
    read_emotions,
    read_model,
)

CPU = torch.device("cpu")


def run_adaptation(base: Path, target: FeatureStore, out: Path, **fields: Any) -> dict[str, Any]:
    callback = fields.pop("callback", None) or SilentCallback()
    return adapt(AdaptRequest(base, target, out=out, **fields), callback)


@pytest.fixture(scope="module")
def base(roots: dict[str, Path], target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of four classes whose source store is gone."""
    folder = tmp_path_factory.mktemp("base")
    source = prepare_store("ravdess", roots["ravdess"], folder / "cache")
    fields = {"method": "source-only", "steps": 20, "task": make_emotion_task(["emobox4"])}
    fit_small(source, target, folder / "run", **fields)
    shutil.rmtree(source.path)
    return folder / "run"


class TestPriors:
    def test_estimate_equals_hand_computed_rounds(self) -> None:
        # Each round multiplies the odds of class 1 by those of its share against those of the training.
        found, prior = 0.4, 0.4
        for _ in range(2000):
            odds = [p / (1 - p) * (found / (1 - found)) / (prior / (1 - prior)) for p in (0.9, 0.7, 0.1)]
            found = sum(each / (1 + each) for each in odds) / 3
        posteriors = np.array([[0.1, 0.9], [0.3, 0.7], [0.9, 0.1]])
        assert estimate_priors(posteriors, np.array([0.6, 0.4])) == pytest.approx([1 - found, found], abs=1e-6)

    @pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2), (0.1, 0.2, 0.3, 0.4)])
    def test_shares_of_exact_posteriors_are_found(self, shares: tuple[float, ...]) -> None:
        rng, classes = np.random.default_rng(0), len(shares)
        truth = rng.choice(classes, 40_000, p=shares)
        values = rng.normal(truth * 1.5, 1)
        likelihoods = np.exp(-0.5 * (values[:, None] - 1.5 * np.arange(classes)) ** 2)
        training = np.arange(1, classes + 1) / sum(range(1, classes + 1))
        posteriors = likelihoods * training
        posteriors /= posteriors.sum(axis=1, keepdims=True)
        assert estimate_priors(posteriors, training) == pytest.approx(np.array(shares), abs=0.02)

    def test_training_shares_stay_if_they_are_the_mean(self) -> None:
        posteriors = np.array([[0.2, 0.8], [0.8, 0.2]])
        assert estimate_priors(posteriors, np.array([0.5, 0.5])) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_prior_of_a_run_is_that_of_its_labelled_batches(
    source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path, class_weights: str
) -> None:
    task = make_emotion_task(["anger", "neutral", "sadness"])
    emotions = {path: each.replace("sadness", "") for path, each in read_emotions(source).items()}
    third = make_manifest_store(roots["ravdess"], emotions, tmp_path / "cache", name="third")
    settings = {"class_weights": class_weights, "target_labels": "1"}
    fit_small([source, third], target, tmp_path / "a", method="source-only", task=task, settings=settings)
    plan = resolve_adaptation(AdaptRequest(tmp_path / "a", target, "prior", out=tmp_path / "b"))
    stream = SourceStream(
        [(CorpusWindows(each, plan.model.framer, []), each.labels(task)) for each in (source, third)],
        batch_size=8,
        seed=0,
        class_weights=class_weights,
        target=(plan.windows, draw_target_labels(target, task, 1, 0).labels),
    )
    labels = np.concatenate([each.labels for each in stream._corpora])
    expected = np.bincount(labels, stream.weights) / len(labels)
    assert expected.min() < 0.32
    assert plan.prior == pytest.approx(expected)


@pytest.mark.parametrize("members", [1, 3, 100])
@pytest.mark.parametrize("classes", [2, 4])
def test_prototypes_equal_naive_loops(members: int, classes: int) -> None:
    features, logits = torch.randn(30, 5), 3 * torch.randn(30, classes)
    prototypes, sizes = find_prototypes(features, logits, members)
    for label in range(classes):
        own = []
        for feature, row in zip(features.tolist(), logits.softmax(1).tolist(), strict=True):
            if max(row) == row[label]:
                length = math.sqrt(sum(value**2 for value in feature))
                own.append((-sum(p * math.log(p) for p in row), [value / length for value in feature]))
        chosen = [feature for _, feature in sorted(own)[:members]]
        total = [sum(values) for values in zip(*chosen, strict=True)]
        length = math.sqrt(sum(value**2 for value in total))
        assert prototypes[label].tolist() == pytest.approx([value / length for value in total], abs=1e-5)
        assert sizes[label] == len(chosen)


@pytest.mark.parametrize("classes", [2, 4])
def test_centroids_equal_naive_loops(classes: int) -> None:
    outputs = Outputs(torch.randn(40, 3), 2 * torch.randn(40, classes))
    rows = []
    for feature in outputs.features.tolist():
        length = math.sqrt(sum(value**2 for value in feature) + 1)
        rows.append([value / length for value in (*feature, 1.0)])

    def find_nearest(row: list[float], centroids: list[list[float]]) -> int:
        cosines = [
            sum(a * b for a, b in zip(row, each, strict=True)) / math.sqrt(sum(value**2 for value in each))
            for each in centroids
        ]
        return cosines.index(max(cosines))

    weights = outputs.logits.softmax(1).tolist()
    first = [
        [
            sum(w[k] * row[i] for w, row in zip(weights, rows, strict=True)) / sum(w[k] for w in weights)
            for i in range(4)
        ]
        for k in range(classes)
    ]
    nearest = [find_nearest(row, first) for row in rows]
    expected = []
    for label in range(classes):
        own = [row for row, each in zip(rows, nearest, strict=True) if each == label]
        expected.append([sum(values) / len(own) for values in zip(*own, strict=True)] if own else first[label])
    centroids = find_centroids(outputs)
    np.testing.assert_allclose(centroids, expected, atol=1e-5)
    assert assign_centroids(outputs.features, centroids).tolist() == [find_nearest(row, expected) for row in rows]


class TestRuns:
    @pytest.mark.parametrize("method", ADAPTATIONS)
    def test_an_adapted_run_is_like_any_other(
        self, base: Path, target: FeatureStore, tmp_path: Path, method: str
    ) -> None:
        steps = 8 if method == "shot" else None
        result = run_adaptation(base, target, tmp_path / "a", method=method, steps=steps)
        assert {each.name for each in (tmp_path / "a").iterdir()} >= {
            *("config.json", "result.json", "predictions.parquet", "model.safetensors"),
            *("MODEL_CARD.md", "corpora.json", "audio.parquet", "done"),
        }
        loaded = FinishedRun.load(tmp_path / "a", CPU)
        probabilities = predict_store(loaded.model, target)
        before = predict_store(FinishedRun.load(base, CPU).adapt_model(target), target)
        assert not np.array_equal(probabilities, before)
        written = pq.read_table(tmp_path / "a" / "predictions.parquet")
        for number, name in enumerate(loaded.model.task.probability_columns):
            assert written[name].to_pylist() == probabilities[:, number].tolist()
        evaluation, _ = evaluate_run(loaded, target)
        assert {key: evaluation[key] for key in ("uar", "war", "constant")} == {
            key: result[key] for key in ("uar", "war", "constant")
        }
        assert evaluation["label"] == result["label"]
        assert result["label"].endswith(f"-> {method}" + (" (steps=8)" if steps else ""))
        assert [(each.role, each.name) for each in read_corpora(RunFolder(tmp_path / "a"))] == [
            ("source", "ravdess"),
            ("target", "emodb"),
        ]
        audio, earlier = (read_audio(RunFolder(each)) for each in (tmp_path / "a", base))
        assert audio is not None
        assert earlier is not None
        assert audio["source"].equals(earlier["source"])
        card = (tmp_path / "a" / "MODEL_CARD.md").read_text()
        assert f"adapted by {method}, {f'{steps} steps' if steps else 'without training steps'}, seed 0" in card
        assert ("model of step" in card) == bool(steps)
        run_adaptation(base, target, tmp_path / "b", method=method, steps=steps)
        assert read_model(tmp_path / "a") == read_model(tmp_path / "b")

    @pytest.mark.parametrize("chunk", [7, 256])
    def test_each_batch_norm_has_the_statistics_of_the_target(
        self, base: Path, target: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
    ) -> None:
        monkeypatch.setattr("emodna.model.adaptation.base._CHUNK", chunk)
        run_adaptation(base, target, tmp_path / "a", method="adabn")
        model = FinishedRun.load(tmp_path / "a", CPU).model
        norms = [each for each in model.method.modules() if isinstance(each, torch.nn.BatchNorm1d)]
        inputs: dict[torch.nn.Module, torch.Tensor] = {}
        for norm in norms:
            norm.register_forward_hook(lambda layer, given, _output: inputs.update({layer: given[0]}))
        windows = [model.window(target[row], float(target.peak_db[row])) for row in range(len(target))]
        model.classify(windows)  # one batch
        assert len(inputs) == len(norms) > 1
        for norm in norms:
            values = inputs[norm].double().transpose(0, 1).flatten(1)
            np.testing.assert_allclose(norm.get_buffer("running_mean"), values.mean(1), atol=1e-5)
            np.testing.assert_allclose(norm.get_buffer("running_var"), values.var(1), rtol=1e-4)

    def test_shot_keeps_the_classifier_and_resumes(self, base: Path, target: FeatureStore, tmp_path: Path) -> None:
        fields = {"method": "shot", "steps": 12, "select": "information-maximisation"}
        run_adaptation(base, target, tmp_path / "a", **fields)
        with pytest.raises(Interruption):
            run_adaptation(base, target, tmp_path / "b", callback=InterruptAt(10), **fields)
        run_adaptation(base, target, tmp_path / "b", resume=True, **fields)
        assert read_model(tmp_path / "a") == read_model(tmp_path / "b")
        adapted, before = (load_tensors(RunFolder(each).model)[0] for each in (tmp_path / "a", base))
        changed = {name for name in before if not torch.equal(before[name], adapted[name])}
        assert not any("classifier" in name for name in changed)
        assert any("encoder" in name for name in changed)
        selection = json.loads((tmp_path / "a" / "selection.json").read_text())
        assert selection["select"] == "information-maximisation"

    def test_a_correction_of_priors_shifts_the_bias_only(
        self, base: Path, target: FeatureStore, tmp_path: Path
    ) -> None:
        result = run_adaptation(base, target, tmp_path / "a", method="prior")
        adapted, before = (load_tensors(RunFolder(each).model)[0] for each in (tmp_path / "a", base))
        names = {name for name in before if name.startswith("method.") and not torch.equal(before[name], adapted[name])}
        assert names == {"method.network.classifier.bias"}
        shift = (adapted["method.network.classifier.bias"] - before["method.network.classifier.bias"]).double()
        shares = result["adaptation"]
        ratios = [shares["target_priors"][each] / shares["source_priors"][each] for each in shares["source_priors"]]
        assert (shift - shift.mean()).tolist() == pytest.approx(
            [math.log(each) - np.mean(np.log(ratios)) for each in ratios], abs=1e-4
        )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"method": "none"}, "method"),
        ({"method": "prior", "steps": 3}, "steps"),
        ({"method": "t3a", "settings": {"filter": "0"}}, "filter"),
        ({"method": "shot", "select": "source-accuracy"}, "select"),
        ({"method": "t3a", "select": "entropy"}, "select"),
    ],
)
def test_wrong_requests_are_refused(
    base: Path, target: FeatureStore, tmp_path: Path, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(EmodnaError) as error:
        run_adaptation(base, target, tmp_path / "a", **fields)
    assert error.value.field == field
    assert not (tmp_path / "a").exists()


def test_models_that_a_method_cannot_adapt_are_refused(
    base: Path, source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        run_adaptation(base, source, tmp_path / "a")
    assert (error.value.field, error.value.value) == ("target", "ravdess")
    fit(FitRequest([source], target, method="svm", out=tmp_path / "svm"), SilentCallback())
    fields: dict[str, Any] = {"method": "dann", "settings": {"network": "statistics"}, "steps": 2}
    fit(FitRequest([source], target, out=tmp_path / "dann", **fields), SilentCallback())
    for run, method in (("svm", "shot"), ("svm", "adabn"), ("dann", "adabn")):  # dann: in the discriminator only
        with pytest.raises(ConfigError) as error:
            run_adaptation(tmp_path / run, target, tmp_path / method, method=method, steps=None)
        assert error.value.field == "method"
        assert not (tmp_path / method).exists()
    run_adaptation(base, target, tmp_path / "prior", method="prior")
    run_adaptation(tmp_path / "prior", target, tmp_path / "later", method="adabn")
    for run in ("prior", "later"):
        with pytest.raises(ConfigError) as error:
            run_adaptation(tmp_path / run, target, tmp_path / "again", method="prior")
        assert error.value.value == "prior"
    shutil.copytree(base, tmp_path / "old")
    (tmp_path / "old" / "corpora.json").unlink()
    with pytest.raises(RunError):
        run_adaptation(tmp_path / "old", target, tmp_path / "again", steps=1)
    assert not (tmp_path / "again").exists()
    with pytest.raises(RunError):
        run_adaptation(tmp_path / "nothing", target, tmp_path / "b")


def test_a_run_remembers_the_corpora_before_and_whose_labels_it_used(
    source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
) -> None:
    third = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path / "cache", name="third")
    fit_small(source, target, tmp_path / "base", method="source-only", task=AROUSAL, settings={"target_labels": "1"})
    run_adaptation(tmp_path / "base", third, tmp_path / "a", method="t3a")
    run_adaptation(tmp_path / "a", third, tmp_path / "b", method="adabn")
    for name in ("a", "b"):
        corpora = read_corpora(RunFolder(tmp_path / name))
        assert [(each.role, each.name) for each in corpora] == [
            ("source", "ravdess"),
            ("target", "third"),
            ("target", "emodb"),
        ]
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["supervision"], config["labelled_target"]) == ("semi-supervised", "emodb")
        assert set(config["exposure"]) == {"ravdess", "emodb", "third"}
        card = (tmp_path / name / "MODEL_CARD.md").read_text()
        assert "2 utterances of emodb" in card
        assert "utterances of third" in card.split("## Performance")[1]
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert result["excluded"] == 2  # of the same recordings
