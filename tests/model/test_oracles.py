"""What learns from the target's labels: how far it does, that it is kept apart, and that it is told everywhere."""

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

from emodna.model.checkpoint import load_tensors
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
#: Emo-DNA, and a method to which L_SCL is added, with the target's labels in place of pseudo-labels.
WITH_LABELS = [
    pytest.param("emo-dna", {"threshold": "oracle-labels"}, id="emo-dna"),
    pytest.param("dan", {"threshold": "oracle-labels", "add": "scl"}, id="dan --add scl", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def bound(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the upper bound, in two folds of one speaker each; not to be written to."""
    run = tmp_path_factory.mktemp("bound") / "run"
    fit_small(source, target, run, method="upper-bound", steps=6)
    return run


def windows(store: FeatureStore) -> CorpusWindows:
    return CorpusWindows(store, Framer(24, "silence", Statistics.identity(40), MfccSet().silence), ("de", "en"))


def relabelled(emotions: Mapping[str, str]) -> dict[str, str]:
    """High arousal for low, and low for high."""
    return {path: "sadness" if emotion in ("anger", "happiness") else "anger" for path, emotion in emotions.items()}


class TestLabelledTarget:
    def test_gives_the_batches_of_the_target_with_their_labels(self, target: FeatureStore) -> None:
        labels = target.labels("arousal").copy()
        labels[::3] = -1
        blind = TargetStream(windows(target), batch_size=10, seed=3)
        seeing = LabelledTargetStream(windows(target), labels, batch_size=10, seed=3)
        for step in range(4):
            found = seeing.batch(step)
            assert found.labels.tolist() == labels[seeing.numbers(step)].tolist()
            tensors = found.tensors
            del tensors["labels"]
            assert_same_tensors(tensors, blind.batch(step).tensors)


@pytest.mark.parametrize(("method", "given"), WITH_LABELS)
class TestLabelsForPseudoLabels:
    def test_change_the_weights_if_they_have_a_part(
        self,
        method: str,
        given: dict[str, str],
        source: FeatureStore,
        target: FeatureStore,
        roots: dict[str, Path],
        tmp_path: Path,
    ) -> None:
        emotions = read_emotions(target)
        for name, each in (("right", emotions), ("wrong", relabelled(emotions))):
            store = make_manifest_store(roots["emodb"], each, tmp_path / name)
            result = fit_small(source, store, tmp_path / name / "run", method=method, settings=given, steps=2)
            assert result["supervision"] == "oracle-labels"
            assert all(line["confident"] == 1 for line in read_log(tmp_path / name / "run"))
        assert read_model(tmp_path / "right" / "run") != read_model(tmp_path / "wrong" / "run")

        weightless = {**given, "scl_weight": "0"}
        found = fit_small(source, target, tmp_path / "none", method=method, settings=weightless, steps=1)
        assert found["supervision"] == "source"  # they have no part in it


class TestMissingLabels:
    def test_leave_utterances_out(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = read_emotions(target)
        some = {path: emotion if place % 4 else "" for place, (path, emotion) in enumerate(emotions.items())}
        store = make_manifest_store(roots["emodb"], some, tmp_path)
        fit_small(source, store, tmp_path / "run", settings={"threshold": "oracle-labels"})  # 4 steps of 8 are all 32
        shares = [line["confident"] for line in read_log(tmp_path / "run")]
        assert np.mean(shares) == pytest.approx(24 / 32)

    def test_of_all_utterances_are_refused(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        none = dict.fromkeys(read_emotions(target), "")
        speakers = dict(zip(none, target.column("speaker"), strict=True))
        store = make_manifest_store(roots["emodb"], none, tmp_path, speaker=speakers)
        for asked in ({"settings": {"threshold": "oracle-labels"}}, {"method": "upper-bound"}):
            with pytest.raises(TrainingError, match=r"own: no (label of arousal|arousal labels)"):
                fit_small(source, store, tmp_path / "run", **asked)  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()


def test_labels_without_l_scl_are_refused(source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threshold=oracle-labels: has no effect; it needs add=scl"):
        fit_small(source, target, tmp_path, method="dan", settings={"threshold": "oracle-labels"})


class TestUpperBound:
    def made(self) -> UpperBound:
        made = small(UpperBound, dropout=0.0, folds=3)
        assert isinstance(made, UpperBound)
        return made

    def test_trains_each_network_on_its_rows_and_no_other_s(self) -> None:
        model, (labelled, target) = self.made(), make_batches(12, 4)
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

    def test_begin_alike_and_predict_the_mean_of_the_log_probabilities(self) -> None:
        model, (labelled, _) = self.made().eval(), make_batches(5, 2)
        first, *others = (model.get_fold_model(fold).state_dict() for fold in range(3))
        for other in others:
            assert_same_tensors(first, other)
        for network in model.networks:
            torch.nn.init.normal_(network.network.classifier.weight)
        answers = [
            model.get_fold_model(fold).predict(labelled.features, labelled.lengths).softmax(1) for fold in range(3)
        ]
        product = torch.stack(answers).prod(0) ** (1 / 3)
        expected = product / product.sum(1, keepdim=True)
        found = model.predict(labelled.features, labelled.lengths).softmax(1)
        torch.testing.assert_close(found, expected)


class TestFoldStream:
    def test_gives_each_network_its_rows_and_no_other(self, target: FeatureStore) -> None:
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

    def test_of_a_network_does_not_know_the_labels_that_it_leaves_out(self, target: FeatureStore) -> None:
        labels, of = target.labels("arousal"), np.arange(32) % 2
        changed = np.where(of == 0, 1 - labels, labels).astype(np.int8)
        streams = []
        for each in (labels, changed):
            folds = Folds(of, each, (("a",), ("b",)))
            streams.append(
                FoldStream(windows(target), [folds.mask_labels(0), folds.mask_labels(1)], batch_size=6, seed=1)
            )
        for step in range(4):
            first, second = (stream.batch(step) for stream in streams)
            assert torch.equal(first.labels[::2], second.labels[::2])
            assert not torch.equal(first.labels[1::2], second.labels[1::2])


class Speakers:
    """A store as far as folds look at one."""

    def __init__(self, labels: list[int], speakers: list[str | None]) -> None:
        self._labels = np.array(labels, np.int8)
        self._table = pa.table({"speaker": pa.array(speakers, pa.string())})
        self.snapshot = type("Snapshot", (), {"corpus": "calls"})

    def labels(self, task: str) -> np.ndarray:  # noqa: ARG002
        return self._labels

    def columns(self, names: list[str]) -> Any:
        return self._table.select(names)


def shared_out(labels: list[int], speakers: list[str | None], count: int, seed: int = 0) -> Folds:
    return split_into_folds(Speakers(labels, speakers), "arousal", count, seed)  # type: ignore[arg-type]


class TestFolds:
    @settings(deadline=None, max_examples=20)
    @given(
        said=st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 6)), min_size=4, max_size=60),
        count=st.integers(2, 5),
        seed=st.integers(0, 2**40),
    )
    def test_keep_each_speaker_s_utterances_together(self, said: list[tuple[int, int]], count: int, seed: int) -> None:
        labels = [label for label, _ in said]
        speakers = [f"s{speaker}" if label >= 0 or speaker else None for label, speaker in said]
        try:
            folds = shared_out(labels, speakers, count, seed)
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

    def test_follow_from_the_seed(self) -> None:
        speakers: list[str | None] = [f"s{n // 4}" for n in range(48)]
        found = [shared_out([0, 1] * 24, speakers, 4, seed).speakers for seed in (0, 0, 1)]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize(
        ("labels", "speakers", "says"),
        [
            ([-1, -1, -1, -1], "abab", "no arousal labels"),
            ([0, 1, 0, 1], ["a", None, "b", "b"], "1 labelled utterances"),
            ([0, 1, 0, 1], "abab", "only 2 speakers"),
            ([0, 1, 0, 1], "abca", "too few arousal labels"),
            ([0, 0, 1, 1, 0, 0], "abccad", "one class"),
        ],
        ids=["no labels", "unknown speaker", "two speakers", "few", "one class"],
    )
    def test_that_cannot_be_are_refused(self, labels: list[int], speakers: Any, says: str) -> None:
        with pytest.raises(TrainingError, match=f"calls: .*{says}"):
            shared_out(labels, list(speakers), 3)


class TestUpperBoundRun:
    def test_has_no_more_folds_than_there_are_speakers_and_says_so(self, bound: Path) -> None:
        config = json.loads((bound / "config.json").read_text())
        assert config["decisive"]["method_config"]["folds"] == 2
        assert sorted(map(tuple, config["folds"])) == [("03",), ("08",)]
        assert config["remarks"] == ["the target has 2 speakers, so there are 2 folds, not 4"]

    def test_judges_each_utterance_by_the_network_that_has_not_heard_its_speaker(
        self, bound: Path, target: FeatureStore
    ) -> None:
        model = TrainedModel.load(bound)
        assert isinstance(model.method, UpperBound)
        folds = json.loads((bound / "config.json").read_text())["folds"]
        written = pq.read_table(bound / "predictions.parquet")
        probabilities = written["probability"].to_numpy()
        each = [predict_store(replaced(model, fold), target) for fold in range(2)]
        for row, speaker in enumerate(written["speaker"].to_pylist()):
            mine = next(fold for fold, speakers in enumerate(folds) if speaker in speakers)
            assert probabilities[row] == pytest.approx(each[mine][row], abs=1e-6)
            assert abs(each[1 - mine][row] - each[mine][row]) > 1e-5
        truth = target.labels("arousal").astype(np.int64)
        result = json.loads((bound / "result.json").read_text())
        assert result["uar"] == scores(truth, assign_labels(probabilities)).uar

    def test_owes_nothing_to_the_source(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        half = make_manifest_store(
            Path(source.snapshot.root), dict(list(read_emotions(source).items())[::2]), tmp_path, name="half"
        )
        asked: dict[str, Any] = {"method": "upper-bound", "steps": 2, "settings": {"normalisation": "none"}}
        for name, each in (("a", source), ("b", half)):
            fit_small(each, target, tmp_path / name, **asked)
        first, second = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in "ab")
        assert_same_tensors(first, second)

    @pytest.mark.slow
    def test_learns_what_it_is_trained_on(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        asked = {"channels": "16", "learning_rate": "0.01", "log_every": "60"}
        fit_small(source, target, tmp_path, method="upper-bound", steps=60, settings=asked)
        model, truth = TrainedModel.load(tmp_path), target.labels("arousal").astype(np.int64)
        for fold, speakers in enumerate(json.loads((tmp_path / "config.json").read_text())["folds"]):
            rows = np.flatnonzero(~np.isin(target.column("speaker"), speakers))
            predicted = assign_labels(predict_store(replaced(model, fold), target, rows=rows))
            assert scores(truth[rows], predicted).uar > 80

    def test_refuses_what_it_cannot_do(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        unknown = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path)
        asked: dict[str, dict[str, Any]] = {
            "--select snd: not for upper-bound": {"select": "snd"},
            "--oracle-analysis: not for upper-bound": {"oracle_analysis": True},
            "--set validation=0.2: not for upper-bound": {"settings": {"validation": "0.2"}},
            "--set folds=1: must be at least 2": {"settings": {"folds": "1"}},
            "over the target's speakers; 0 known, at least 2": {"target": unknown},
        }
        for says, each in asked.items():
            with pytest.raises(ConfigError, match=says):
                fit_small(source, out=tmp_path / "run", method="upper-bound", **{"target": target, **each})
        assert not (tmp_path / "run").exists()

    def test_does_not_go_on_with_other_folds(self, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        asked: dict[str, Any] = {"method": "upper-bound", "settings": {"checkpoint_seconds": "0"}}
        with pytest.raises(Interruption):
            fit_small(source, target, tmp_path / "run", callback=InterruptAt(3), **asked)
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        config["folds"].reverse()  # as another version of scikit-learn might have had it
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match="folds are no longer those"):
            fit_small(source, target, tmp_path / "run", resume=True, **asked)


def replaced(model: TrainedModel, fold: int) -> TrainedModel:
    """The model with the network of a fold alone."""
    assert isinstance(model.method, UpperBound)
    return replace(model, method=model.method.get_fold_model(fold))


class TestCards:
    def test_of_an_oracle_say_so(self, bound: Path, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
        fit_small(source, target, tmp_path / "run", steps=1, settings={"threshold": "oracle-labels"})
        for run, method in ((bound, "upper-bound"), (tmp_path / "run", "emo-dna")):
            text = render_card(RunFolder(run))
            assert f"# {method} (oracle) (" in text
            assert f"| {method} (oracle) (" in text
            assert "- oracle\n" in text or '- "oracle"\n' in text
            assert "were not used." not in text

    def test_of_runs_of_earlier_versions_that_name_no_supervision_do_not(
        self, trained_run: Path, tmp_path: Path
    ) -> None:
        old = Path(shutil.copytree(trained_run, tmp_path / "old"))
        for name in ("config.json", "result.json"):
            content = json.loads((old / name).read_text())
            content.pop("supervision")
            (old / name).write_text(json.dumps(content))
        assert render_card(RunFolder(old)) == render_card(RunFolder(trained_run))
        assert "oracle" not in render_card(RunFolder(old))
        assert FinishedRun.load(old, CPU).description["supervision"] == "source"
