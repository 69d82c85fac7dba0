"""The linear support vector machine: its optimum, its runs, and the options that it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.svm import LinearSVC

from emodna.model.bench.analysis import extract_features
from emodna.model.bench.grid import describe_method, plan_experiment
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Conditions
from emodna.model.bench.worker import train_run
from emodna.model.data.normalisation import Statistics
from emodna.model.data.pooling import PooledStore
from emodna.model.data.stream import CorpusWindows, SourceStream
from emodna.model.data.windows import Framer
from emodna.model.errors import ConfigError
from emodna.model.fit import fit
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import svm
from emodna.model.methods.svm import Svm, SvmConfig
from emodna.model.request import FitRequest, resolve_request
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from tests.model.small import (
    InterruptAt,
    Interruption,
    SilentCallback,
    Stores,
    make_batches,
    make_manifest_store,
    read_emotions,
    read_log,
    read_model,
)


def fit_svm(
    source: FeatureStore | list[FeatureStore], target: FeatureStore, out: Path, *, callback: Any = None, **request: Any
) -> dict[str, Any]:
    sources = source if isinstance(source, list) else [source]
    return fit(FitRequest(sources, target, method="svm", out=out, **request), callback or SilentCallback())


def read_run(run: Path) -> tuple[bytes, list[float], list[dict[str, float]]]:
    table = pq.read_table(run / "predictions.parquet")
    return read_model(run), table["probability"].to_pylist(), read_log(run)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fit_is_the_minimum_of_the_documented_objective(classes: int) -> None:
    batch, _ = make_batches(40, dim=6, frames=1, labels=[row % classes for row in range(40)])
    weights = np.random.default_rng(0).uniform(0.5, 2, 40)
    method = Svm(6, SvmConfig(C=2.0), 0, classes)
    terms = method.fit(batch, weights)
    logits = method.predict(batch.features, batch.lengths)
    inputs = torch.cat([batch.features.flatten(1), torch.ones(40, 1)], 1).double()
    total = {"hinge": 0.0, "norm": 0.0, "total": 0.0}
    for label in range(classes) if classes > 2 else [1]:
        w, b = method.classifier.weight[label].double(), method.classifier.bias[label].double()
        parameters = torch.cat([w, b[None]]).detach().requires_grad_()
        slack = (1 - (2.0 * (batch.labels == label) - 1) * (inputs @ parameters)).clamp_min(0)
        hinge = 2.0 / 6 * (torch.as_tensor(weights) * slack**2).sum()
        objective = parameters @ parameters / 2 + hinge
        (gradient,) = torch.autograd.grad(objective, parameters)
        assert gradient.abs().max() < 1e-2 * hinge
        for name, value in (("hinge", hinge), ("norm", objective - hinge), ("total", objective)):
            total[name] += value.item()
        torch.testing.assert_close(logits[:, label], (inputs @ parameters).float().detach())
    assert terms == pytest.approx(total)
    assert classes > 2 or not logits[:, 0].any()
    assert torch.equal(method.classifier(method.embed(batch.features, batch.lengths)), logits)
    machine = LinearSVC(C=2.0 / 6, dual=False).fit(inputs[:, :6], batch.labels, sample_weight=weights)
    decisions = machine.decision_function(inputs[:, :6])
    np.testing.assert_allclose(logits.detach().numpy()[:, classes == 2 :].squeeze(), decisions, atol=1e-5)
    assert logits.argmax(1).tolist() == machine.predict(inputs[:, :6]).tolist()


def test_a_solver_that_does_not_converge_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(svm, "_MAX_ITERATIONS", 1)
    batch, _ = make_batches(40, dim=6, frames=1)
    Svm(6, SvmConfig(), 0).fit(replace(batch, features=1e3 * batch.features), np.ones(40))
    assert "before it converged" in caplog.text


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_sources_and_balanced_classes_have_equal_total_weights(class_weights: Any, pair: Stores) -> None:
    labels = [np.array([0] * 3 + [1] * 9, np.int8), np.array([-1, 1, 0, 0, 0, 0], np.int8)]
    corpora = []
    for store, own in zip(pair, labels, strict=True):
        framer = Framer(1, "mask", Statistics.identity(80), None)
        padded = np.concatenate([own, np.full(len(store) - len(own), -1, np.int8)])
        corpora.append((CorpusWindows(PooledStore(store), framer, []), padded))
    stream = SourceStream(corpora, batch_size=4, seed=0, class_weights=class_weights)
    weights = stream.weights
    batch = stream.gather(np.arange(len(stream)))
    assert weights.mean() == pytest.approx(1)
    high = weights[batch.labels.numpy() == 1].sum() / len(stream)
    # Without balance, both sources weigh 1/2, with 9 of 12 and 1 of 5 utterances in class 1.
    assert high == pytest.approx(0.5 if class_weights == "balanced" else (9 / 12 + 1 / 5) / 2)


class TestRun:
    def test_a_run_is_complete_and_deterministic_and_its_model_predicts_again(
        self, pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        result = fit_svm(*pair, tmp_path / "run", seed=0)
        assert not caplog.messages
        fit_svm(*pair, tmp_path / "other", seed=7)
        assert read_run(tmp_path / "run") == read_run(tmp_path / "other")  # nothing is random
        assert (result["label"], result["steps"], result["selected_step"]) == ("svm", 1, 1)
        (line,) = read_log(tmp_path / "run")
        assert line["total"] == pytest.approx(line["hinge"] + line["norm"])
        assert (tmp_path / "run" / "done").exists()
        model = TrainedModel.load(tmp_path / "run")
        assert predict_store(model, pair[1])[:, 1].tolist() == read_run(tmp_path / "run")[1]

    def test_a_killed_run_is_fitted_again(self, pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(Interruption):
            fit_svm(*pair, tmp_path / "run", callback=InterruptAt(1))
        resumed = fit_svm(*pair, tmp_path / "run", resume=True)
        fit_svm(*pair, tmp_path / "whole")
        assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")
        assert fit_svm(*pair, tmp_path / "run", resume=True) == resumed
        assert not caplog.messages

    def test_target_labels_change_nothing_and_balanced_classes_do(
        self, pair: Stores, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = read_emotions(pair[1])
        speakers = dict(zip(emotions, pair[1].column("speaker"), strict=True))
        reversed_emotions = dict(zip(emotions, reversed(emotions.values()), strict=True))
        for name, labels in (("right", emotions), ("wrong", reversed_emotions)):
            target = make_manifest_store(roots["emodb"], labels, tmp_path / name, speaker=speakers)
            fit_svm(pair[0], target, tmp_path / name / "run", settings={"normalisation": "per-speaker"})
        assert read_run(tmp_path / "right" / "run") == read_run(tmp_path / "wrong" / "run")
        options: dict[str, Any] = {"source": pair[1], "target": pair[0], "task": "valence"}
        changed = {"class_weights": "balanced", "C": "2"}
        result = fit_svm(**options, out=tmp_path / "balanced", settings=changed)
        assert result["label"] == "svm (C=2.0, class_weights=balanced)"
        fit_svm(**options, out=tmp_path / "plain", settings={"C": "2"})
        assert read_run(tmp_path / "balanced")[1] != read_run(tmp_path / "plain")[1]

    def test_several_sources_are_used(self, pair: Stores, roots: dict[str, Path], tmp_path: Path) -> None:
        third = make_manifest_store(
            roots["emodb"], dict(list(read_emotions(pair[1]).items())[:16]), tmp_path, name="third"
        )
        fit_svm([pair[0], third], pair[1], tmp_path / "both")
        fit_svm(pair[0], pair[1], tmp_path / "one")
        assert read_run(tmp_path / "both")[1] != read_run(tmp_path / "one")[1]

    def test_settings_without_effect_are_named_and_are_in_no_label(
        self, pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        changed = {"batch_size": "8", "frames": "32", "learning_rate": "0.1"}
        result = fit_svm(*pair, tmp_path / "run", steps=50, settings=changed)
        assert caplog.messages == [
            "svm is fitted at once, so these settings have no effect: steps, batch_size, frames, learning_rate"
        ]
        assert result["label"] == "svm"
        fit_svm(*pair, tmp_path / "plain")
        assert read_run(tmp_path / "run") == read_run(tmp_path / "plain")


@pytest.mark.parametrize(
    ("field", "request_fields"),
    [
        ("select", {"select": "snd"}),
        ("oracle_analysis", {"oracle_analysis": True}),
        ("compile", {"compile": True}),
        ("cuda_graph", {"cuda_graph": True}),
    ],
)
def test_options_of_training_steps_are_refused(
    field: str, request_fields: dict[str, Any], pair: Stores, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="without training steps") as raised:
        fit_svm(*pair, tmp_path / "run", **request_fields)
    assert raised.value.field == field
    assert not (tmp_path / "run").exists()


def test_a_network_is_refused_for_the_reason_that_there_is_none(pair: Stores) -> None:
    with pytest.raises(ConfigError, match="svm, which always reads statistics over the whole utterance"):
        resolve_request(FitRequest([pair[0]], pair[1], method="svm", settings={"network": "statistics"}))


def test_a_method_spec_refuses_settings_without_effect_that_are_shared_by_other_methods() -> None:
    conditions = Conditions(50, make_feature_set("mfcc40").name, {"batch_size": "8", "frames": "32"})
    assert describe_method(MethodSpec("svm"), conditions).label == "svm"
    for spec in ("svm:steps=5", "svm:frames=32"):
        with pytest.raises(ConfigError) as raised:
            describe_method(MethodSpec.parse(spec), conditions)
        assert "\n" not in json.dumps(str(raised.value))
        assert raised.value.field == "methods"


def test_runs_of_an_experiment_have_no_warnings_and_statistics_as_features(
    pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conditions = Conditions(20, make_feature_set("mfcc40").name, {"batch_size": "8"})
    experiment = plan_experiment(tmp_path, pair, [(["arousal"], [MethodSpec("svm")])], 1, conditions)
    experiment.write()
    run = experiment.runs[0]
    assert train_run(experiment, run)["label"] == "svm"
    assert not caplog.messages
    sides = extract_features(experiment, run)
    assert sides is not None
    # They are standardised by the statistics of the source.
    assert sides[0].values.shape[1] == 80
    np.testing.assert_allclose(sides[0].values.mean(axis=0), 0, atol=1e-3)
