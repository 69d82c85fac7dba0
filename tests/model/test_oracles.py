"""Oracles learn from the target's labels as documented, and every result says so."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.checkpoint import load_tensors, strip_prefix
from emodna.model.data.batch import TARGET
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, FoldStream, LabelledTargetStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.errors import ConfigError, RunError, TrainingError
from emodna.model.evaluation.folds import Folds, split_into_folds
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.metrics import assign_labels, scores
from emodna.model.run_folder import RunFolder
from emodna.model.runs.card import render_card
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, Task
from tests.model.methods.test_every_method import small
from tests.model.small import (
    InterruptAt,
    Interruption,
    assert_same_tensors,
    fit_small,
    make_batches,
    make_manifest_store,
    read_emotions,
    read_log,
    read_model,
)

CPU = torch.device("cpu")
#: Emo-DNA, and a method with L_SCL added, with the target's labels instead of pseudo-labels.
WITH_LABELS = [
    pytest.param("emo-dna", {"threshold": "oracle-labels"}, id="emo-dna"),
    pytest.param("dan", {"threshold": "oracle-labels", "add": "scl"}, id="dan --add scl", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def bound(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of the upper bound with two folds of one speaker each; tests must not write to it."""
    run = tmp_path_factory.mktemp("bound") / "run"
    fit_small(source, target, run, method="upper-bound", steps=6)
    return run


def windows(store: FeatureStore) -> CorpusWindows:
    return CorpusWindows(store, Framer(24, "silence", Statistics.identity(40), MfccSet().silence), ("de", "en"))


def swap_classes(emotions: Mapping[str, str]) -> dict[str, str]:
    return {path: "sadness" if emotion in ("anger", "happiness") else "anger" for path, emotion in emotions.items()}


class TestLabelledTarget:
    def test_batches_are_those_of_the_target_with_labels(self, target: FeatureStore) -> None:
        labels = target.labels("arousal").copy()
        labels[::3] = -1
        blind = TargetStream(windows(target), batch_size=10, seed=3)
        labelled = LabelledTargetStream(windows(target), labels, batch_size=10, seed=3)
        for step in range(4):
            found = labelled.batch(step)
            assert found.labels.tolist() == labels[labelled.numbers(step)].tolist()
            tensors = found.tensors
            del tensors["labels"]
            assert_same_tensors(tensors, blind.batch(step).tensors)


@pytest.mark.parametrize(("method", "given"), WITH_LABELS)
class TestLabelsForPseudoLabels:
    def test_target_labels_change_the_weights_unless_their_loss_has_no_weight(
        self,
        method: str,
        given: dict[str, str],
        source: FeatureStore,
        target: FeatureStore,
        roots: dict[str, Path],
        tmp_path: Path,
    ) -> None:
        emotions = read_emotions(target)
        for name, each in (("right", emotions), ("wrong", swap_classes(emotions))):
            store = make_manifest_store(roots["emodb"], each, tmp_path / name)
            result = fit_small(source, store, tmp_path / name / "run", method=method, settings=given, steps=2)
            assert result["supervision"] == "oracle-labels"
            assert all(line["confident"] == 1 for line in read_log(tmp_path / name / "run"))
        assert read_model(tmp_path / "right" / "run") != read_model(tmp_path / "wrong" / "run")

        weightless = {**given, "scl_weight": "0"}
        found = fit_small(source, target, tmp_path / "none", method=method, settings=weightless, steps=1)
        assert found["supervision"] == "source"


class TestMissingLabels:
    def test_unlabelled_utterances_are_not_used(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = read_emotions(target)
        some = {path: emotion if place % 4 else "" for place, (path, emotion) in enumerate(emotions.items())}
        store = make_manifest_store(roots["emodb"], some, tmp_path)
        fit_small(source, store, tmp_path / "run", settings={"threshold": "oracle-labels"})  # 4 steps of 8 are all 32
        shares = [line["confident"] for line in read_log(tmp_path / "run")]
        assert np.mean(shares) == pytest.approx(24 / 32)

    def test_an_unlabelled_target_is_an_error(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        none = dict.fromkeys(read_emotions(target), "")
        speakers = dict(zip(none, target.column("speaker"), strict=True))
        store = make_manifest_store(roots["emodb"], none, tmp_path, speaker=speakers)
        for options in ({"settings": {"threshold": "oracle-labels"}}, {"method": "upper-bound"}):
            with pytest.raises(TrainingError, match="no arousal labels") as raised:
                fit_small(source, store, tmp_path / "run", **options)  # type: ignore[arg-type]
            assert (raised.value.field, raised.value.value) == ("target", "own")
        assert not (tmp_path / "run").exists()


def test_oracle_labels_without_l_scl_are_an_error(source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        fit_small(source, target, tmp_path, method="dan", settings={"threshold": "oracle-labels"})
    assert (raised.value.field, raised.value.value) == ("threshold", "oracle-labels")


class TestUpperBound:
    def make_method(self) -> UpperBound:
        method = small(UpperBound, dropout=0.0, folds=3)
        assert isinstance(method, UpperBound)
        return method

    def test_each_network_learns_from_its_rows_only(self) -> None:
        model, (labelled, target) = self.make_method(), make_batches(12, 4)
        terms = model.losses(labelled, target, torch.tensor(0))
        assert list(terms) == ["emotion_1", "emotion_2", "emotion_3"]
        for fold, term in enumerate(terms.values()):
            rows = range(fold, 12, 3)
            logits = model.get_fold_model(fold).predict(labelled.features[rows], labelled.lengths[rows])
            expected = [-logits[n].log_softmax(0)[labelled.labels[row]] for n, row in enumerate(rows)]
            assert term.item() == pytest.approx(sum(each.item() for each in expected) / 4, rel=1e-5)

        terms["emotion_2"].backward()
        with_gradient = {name.split(".")[1] for name, each in model.named_parameters() if each.grad is not None}
        assert with_gradient == {"1"}

    def test_networks_start_equal_and_predict_the_mean_log_probability(self) -> None:
        model, (labelled, _) = self.make_method().eval(), make_batches(5, 2)
        first, *others = (model.get_fold_model(fold).state_dict() for fold in range(3))
        for other in others:
            assert_same_tensors(first, other)
        for network in model.networks:
            torch.nn.init.normal_(network.network.classifier.weight)
        networks = map(model.get_fold_model, range(3))
        predictions = [each.predict(labelled.features, labelled.lengths).softmax(1) for each in networks]
        product = torch.stack(predictions).prod(0) ** (1 / 3)
        expected = product / product.sum(1, keepdim=True)
        found = model.predict(labelled.features, labelled.lengths).softmax(1)
        torch.testing.assert_close(found, expected)


class TestFoldStream:
    def test_each_network_gets_its_rows_only(self, target: FeatureStore) -> None:
        labels = target.labels("arousal")
        parts = [np.where(np.arange(32) % 3 == fold, np.int8(-1), labels) for fold in range(3)]
        stream = FoldStream(windows(target), parts, batch_size=7, seed=1)
        assert stream.batch_size == 21
        everything = TargetStream(windows(target), batch_size=32, seed=0).gather(np.arange(32)).features
        for step in range(6):
            batch = stream.batch(step)
            assert set(batch.corpus.tolist()) == {TARGET}
            for place, (features, label) in enumerate(zip(batch.features, batch.labels.tolist(), strict=True)):
                rows = [row for row in range(32) if torch.equal(everything[row], features)]
                assert any(row % 3 != place % 3 and labels[row] == label for row in rows)

    def test_a_network_does_not_get_the_labels_of_its_fold(self, target: FeatureStore) -> None:
        labels, of = target.labels("arousal"), np.arange(32) % 2
        changed = np.where(of == 0, 1 - labels, labels).astype(np.int8)
        streams = []
        for each in (labels, changed):
            folds = Folds(of, each, (("a",), ("b",)))
            parts = [folds.mask_labels(fold) for fold in range(2)]
            streams.append(FoldStream(windows(target), parts, batch_size=6, seed=1))
        for step in range(4):
            first, second = (stream.batch(step) for stream in streams)
            assert torch.equal(first.labels[::2], second.labels[::2])
            assert not torch.equal(first.labels[1::2], second.labels[1::2])


class Speakers:
    """The part of a store that folds use."""

    def __init__(self, labels: list[int], speakers: list[str | None]) -> None:
        self._labels = np.array(labels, np.int8)
        self._table = pa.table({"speaker": pa.array(speakers, pa.string())})
        self.snapshot = type("Snapshot", (), {"corpus": "calls"})

    def labels(self, task: Task) -> np.ndarray:  # noqa: ARG002
        return self._labels

    def columns(self, names: list[str]) -> Any:
        return self._table.select(names)


def make_folds(labels: list[int], speakers: list[str | None], count: int, seed: int = 0) -> Folds:
    return split_into_folds(Speakers(labels, speakers), AROUSAL, count, seed)  # type: ignore[arg-type]


class TestFolds:
    @settings(deadline=None, max_examples=20)
    @given(
        utterances=st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 6)), min_size=4, max_size=60),
        count=st.integers(2, 5),
        seed=st.integers(0, 2**40),
    )
    def test_each_speaker_is_in_one_fold(self, utterances: list[tuple[int, int]], count: int, seed: int) -> None:
        labels = [label for label, _ in utterances]
        speakers = [f"s{speaker}" if label >= 0 or speaker else None for label, speaker in utterances]
        try:
            folds = make_folds(labels, speakers, count, seed)
        except TrainingError:
            return
        heard = {str(speaker) for label, speaker in zip(labels, speakers, strict=True) if label >= 0}
        assert sorted(speaker for each in folds.speakers for speaker in each) == sorted(heard)
        assert all(folds.speakers)
        for row, speaker in enumerate(speakers):
            assert folds.of[row] == next((k for k, each in enumerate(folds.speakers) if speaker in each), -1)
        for fold, each in enumerate(folds.speakers):
            trained = folds.mask_labels(fold)
            assert {0, 1} <= set(trained.tolist())
            for row, speaker in enumerate(speakers):
                assert trained[row] == (-1 if speaker in each else labels[row])

    def test_folds_depend_on_the_seed(self) -> None:
        speakers: list[str | None] = [f"s{n // 4}" for n in range(48)]
        found = [make_folds([0, 1] * 24, speakers, 4, seed).speakers for seed in (0, 0, 1)]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize(
        ("labels", "speakers", "problem"),
        [
            ([-1, -1, -1, -1], "abab", "no arousal labels"),
            ([0, 1, 0, 1], ["a", None, "b", "b"], "1 labelled utterances"),
            ([0, 1, 0, 1], "abab", "only 2 speakers"),
            ([0, 1, 0, 1], "abca", "too few arousal labels"),
            ([0, 0, 1, 1, 0, 0], "abccad", "no utterance of high is left"),
        ],
        ids=["no labels", "unknown speaker", "two speakers", "few", "one class"],
    )
    def test_impossible_folds_are_an_error(self, labels: list[int], speakers: Any, problem: str) -> None:
        with pytest.raises(TrainingError, match=f"calls.*: .*{problem}"):
            make_folds(labels, list(speakers), 3)

    def test_a_class_that_one_speaker_has_is_an_error(self) -> None:
        # The batches of all networks hold the same classes in turn.
        task = Task("mood", ("a", "b", "c"), (("a",), ("b",), ("c",)))
        corpus: Any = Speakers([0, 1] * 3 + [2, 2, 2], list("xxyyzzzzz"))
        with pytest.raises(TrainingError, match="without z, the speakers of one fold, no utterance of c is left"):
            split_into_folds(corpus, task, 3, 0)


class TestUpperBoundRun:
    def test_there_are_no_more_folds_than_speakers_and_a_remark(self, bound: Path) -> None:
        config = json.loads((bound / "config.json").read_text())
        assert config["decisive"]["method_config"]["folds"] == 2
        assert sorted(map(tuple, config["folds"])) == [("03",), ("08",)]
        assert config["remarks"] == ["the target has 2 speakers, so there are 2 folds, not 4"]

    def test_each_speaker_is_predicted_by_the_other_network(self, bound: Path, target: FeatureStore) -> None:
        model = TrainedModel.load(bound)
        assert isinstance(model.method, UpperBound)
        folds = json.loads((bound / "config.json").read_text())["folds"]
        written = pq.read_table(bound / "predictions.parquet")
        probabilities = written["probability"].to_numpy()
        by_fold = [predict_store(select_fold(model, fold), target)[:, 1] for fold in range(2)]
        for row, speaker in enumerate(written["speaker"].to_pylist()):
            own = next(fold for fold, speakers in enumerate(folds) if speaker in speakers)
            assert probabilities[row] == pytest.approx(by_fold[own][row], abs=1e-6)
            assert abs(by_fold[1 - own][row] - by_fold[own][row]) > 1e-5
        truth = target.labels("arousal").astype(np.int64)
        result = json.loads((bound / "result.json").read_text())
        assert result["uar"] == scores(truth, (probabilities >= 0.5).astype(np.int64), 2).uar

    def test_it_does_not_depend_on_the_source(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        emotions = dict(list(read_emotions(source).items())[::2])
        half = make_manifest_store(Path(source.snapshot.root), emotions, tmp_path, name="half")
        options: dict[str, Any] = {"method": "upper-bound", "steps": 2, "settings": {"normalisation": "none"}}
        for name, each in (("a", source), ("b", half)):
            fit_small(each, target, tmp_path / name, **options)
        first, second = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in "ab")
        assert_same_tensors(strip_prefix("method", first), strip_prefix("method", second))

    @pytest.mark.slow
    def test_it_learns_its_training_data(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        settings = {"channels": "16", "learning_rate": "0.01", "log_every": "60"}
        fit_small(source, target, tmp_path, method="upper-bound", steps=60, settings=settings)
        model, truth = TrainedModel.load(tmp_path), target.labels("arousal").astype(np.int64)
        for fold, speakers in enumerate(json.loads((tmp_path / "config.json").read_text())["folds"]):
            rows = np.flatnonzero(~np.isin(target.column("speaker"), speakers))
            predicted = assign_labels(predict_store(select_fold(model, fold), target, rows=rows))
            assert scores(truth[rows], predicted, 2).uar > 80

    def test_requests_that_it_cannot_fulfil_are_errors(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        unknown = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path)
        requests: list[tuple[str, dict[str, Any]]] = [
            ("select", {"select": "snd"}),
            ("oracle_analysis", {"oracle_analysis": True}),
            ("validation", {"settings": {"validation": "0.2"}}),
            ("folds", {"settings": {"folds": "1"}}),
            ("method", {"target": unknown}),
        ]
        for field, each in requests:
            with pytest.raises(ConfigError) as raised:
                fit_small(source, out=tmp_path / "run", method="upper-bound", **{"target": target, **each})
            assert raised.value.field == field
        assert not (tmp_path / "run").exists()

    def test_changed_folds_prevent_a_resume(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        options: dict[str, Any] = {"method": "upper-bound", "settings": {"checkpoint_seconds": "0"}}
        with pytest.raises(Interruption):
            fit_small(source, target, tmp_path / "run", callback=InterruptAt(3), **options)
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        config["folds"].reverse()  # as if by another version of scikit-learn
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match="the folds have changed"):
            fit_small(source, target, tmp_path / "run", resume=True, **options)


def select_fold(model: TrainedModel, fold: int) -> TrainedModel:
    """Return the model with only the network of a fold."""
    assert isinstance(model.method, UpperBound)
    return replace(model, method=model.method.get_fold_model(fold))


class TestCards:
    def test_oracle_cards_say_so(self, bound: Path, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        fit_small(source, target, tmp_path / "run", steps=1, settings={"threshold": "oracle-labels"})
        for run, method in ((bound, "upper-bound"), (tmp_path / "run", "emo-dna")):
            text = render_card(RunFolder(run))
            assert f"# {method} (oracle) (" in text
            assert f"| {method} (oracle) (" in text
            assert "- oracle\n" in text or '- "oracle"\n' in text
            assert "were not used." not in text

    def test_cards_of_earlier_versions_without_supervision_do_not(self, trained_run: Path, tmp_path: Path) -> None:
        old = Path(shutil.copytree(trained_run, tmp_path / "old"))
        for name in ("config.json", "result.json"):
            content = json.loads((old / name).read_text())
            content.pop("supervision")
            (old / name).write_text(json.dumps(content))
        assert render_card(RunFolder(old)) == render_card(RunFolder(trained_run))
        assert "oracle" not in render_card(RunFolder(old))
        assert FinishedRun.load(old, CPU).description["supervision"] == "source"
