"""A few labels of the target in training, and their utterances left out of scores."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodna.model.data.batch import TARGET
from emodna.model.data.target_labels import draw_target_labels
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.evaluation.evaluate import evaluate_run
from emodna.model.fit import execute_plan, make_streams
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import SCORES, scores
from emodna.model.request import FitPlan, FitRequest, resolve_request
from emodna.model.run_folder import RunFolder, read_json
from emodna.model.runs.card import render_card
from emodna.model.runs.compare import compare_pairs
from emodna.model.runs.listing import open_run
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, Task, make_emotion_task
from tests.model.small import SETTINGS, SilentCallback, Stores, expect_run_error, fit_small, read_model

THREE = make_emotion_task(["anger", "happiness", "sadness"])


@dataclass
class Index:
    """The columns of a store that a draw reads."""

    classes: NDArray[np.int8]
    speakers: list[str | None]
    audio: list[str]
    ids: list[str]
    snapshot: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(corpus="calls"))

    def labels(self, task: Task) -> NDArray[np.int8]:  # noqa: ARG002
        return self.classes

    def columns(self, names: list[str]) -> pa.Table:
        columns = {"id": self.ids, "speaker": pa.array(self.speakers, pa.string()), "audio_sha256": self.audio}
        return pa.table({name: columns[name] for name in names})

    def take(self, rows: list[int]) -> Index:
        lists = ([each[row] for row in rows] for each in (self.speakers, self.audio, self.ids))
        return Index(self.classes[rows], *lists)


@st.composite
def make_indices(draw: st.DrawFn) -> Index:
    """Draw an index whose three classes have at least six utterances each, of up to five speakers."""
    sizes = draw(st.lists(st.integers(6, 15), min_size=3, max_size=3))
    classes = np.repeat([0, 1, 2], sizes).astype(np.int8)
    classes = np.append(classes, np.full(draw(st.integers(0, 4)), -1, np.int8))
    n = len(classes)
    speakers = draw(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=n, max_size=n))
    rows = draw(st.permutations(range(n)))
    ids = [f"u{number:03}" for number in range(n)]
    return Index(classes, speakers, [f"sha{number}" for number in range(n)], ids).take(list(rows))


def draw(index: Index, count: int, seed: int = 0) -> dict[str, list[str]]:
    drawn = draw_target_labels(cast("FeatureStore", index), THREE, count, seed)
    rows = np.flatnonzero(drawn.labels >= 0)
    assert (drawn.labels[rows] == index.classes[rows]).all()
    assert (drawn.excluded == (drawn.labels >= 0)).all()  # each recording is one utterance
    for label, name in enumerate(THREE.classes):
        assert drawn.ids[name] == sorted(index.ids[row] for row in rows if index.classes[row] == label)
    return {name: list(ids) for name, ids in drawn.ids.items()}


class TestDraw:
    @given(make_indices(), st.integers(1, 5), st.integers(0, 3))
    def test_draws_are_exact_nested_and_spread_over_speakers(self, index: Index, count: int, seed: int) -> None:
        found = draw(index, count, seed)
        shuffled = index.take(list(np.random.default_rng(seed).permutation(len(index.ids))))
        assert draw(shuffled, count, seed) == found  # the order of a store does not matter
        larger = draw(index, 5, seed)
        for label, name in enumerate(THREE.classes):
            assert len(set(found[name])) == count
            assert set(found[name]) <= set(larger[name])
            speaker_of = dict(zip(index.ids, index.speakers, strict=True))
            own = [index.ids[row] for row in np.flatnonzero(index.classes == label)]
            available = Counter(speaker_of[each] for each in own)
            drawn = Counter(speaker_of[each] for each in found[name])
            # A speaker has a second utterance only after each other speaker had a turn, if it has one left.
            most = max(drawn.values())
            assert all(drawn[speaker] >= min(most - 1, available[speaker]) for speaker in available)

    def test_seeds_draw_other_utterances(self) -> None:
        n = 60
        names = [f"{number:02}" for number in range(n)]
        index = Index(np.tile(np.arange(3, dtype=np.int8), n // 3), ["a"] * n, names, names)
        draws = [draw(index, 3, seed) for seed in range(3)]
        assert draws[0] != draws[1] != draws[2]

    def test_scores_leave_out_other_segments_of_a_drawn_recording(self) -> None:
        classes = np.repeat(np.arange(3, dtype=np.int8), 6)
        audio = [f"recording {number // 2}" for number in range(18)]
        index = Index(classes, ["a"] * 18, audio, [f"{number:02}" for number in range(18)])
        drawn = draw_target_labels(cast("FeatureStore", index), THREE, 1, 0)
        assert drawn.excluded.sum() == 6
        assert {audio[row] for row in np.flatnonzero(drawn.excluded)} == {
            audio[row] for row in np.flatnonzero(drawn.labels >= 0)
        }

    @pytest.mark.parametrize("audio", ["own", "one"])
    def test_a_class_without_utterances_left_to_score_is_an_error(self, audio: str) -> None:
        classes = np.array([0] * 5 + [1] * 5 + [2] * 2, np.int8)
        hashes = [str(row) if audio == "own" or label < 2 else "one" for row, label in enumerate(classes)]
        index = Index(classes, ["a"] * 12, hashes, [f"{number:02}" for number in range(12)])
        with pytest.raises(TrainingError) as raised:
            draw_target_labels(cast("FeatureStore", index), THREE, 2 if audio == "own" else 1, 0)
        assert raised.value.field == "target_labels"
        assert "sadness" in raised.value.problem


def make_plan(pair: Stores, out: Path, method: str = "source-only", **settings: str) -> FitPlan:
    source, target = pair
    settings = {**({} if method == "svm" else SETTINGS), "target_labels": "2", **settings}
    return resolve_request(FitRequest([source], target, method=method, steps=2, settings=settings, out=out))


class TestTraining:
    @pytest.mark.parametrize("weights", ["none", "balanced"])
    def test_drawn_utterances_are_half_of_the_source_batches(self, weights: str, pair: Stores, tmp_path: Path) -> None:
        plan = make_plan(pair, tmp_path, class_weights=weights)
        assert plan.target_labels is not None
        labels = dict(zip(pair[1].ids, pair[1].labels(AROUSAL).tolist(), strict=True))
        drawn = [each for ids in plan.target_labels.ids.values() for each in ids]
        streams = make_streams(plan)
        seen = set()
        for step in range(4):
            batch, ids = streams.source.batch(step), streams.source.ids(step)
            of_target = [place for place, id in enumerate(ids) if batch.corpus[place] == TARGET]
            assert len(of_target) == len(ids) // 2
            assert all(batch.labels[place] == labels[ids[place]] for place in of_target)
            seen |= {ids[place] for place in of_target}
        assert seen == set(drawn)
        assert len(streams.target) == len(pair[1])  # the unlabelled stream keeps all utterances

    @pytest.mark.parametrize("method", ["source-only", "svm", "emo-dna"])
    def test_weights_depend_on_drawn_labels_and_on_no_other(self, method: str, pair: Stores, tmp_path: Path) -> None:
        def train(name: str, change: Any = None) -> bytes:
            plan = make_plan(pair, tmp_path / name, method)
            with pytest.MonkeyPatch.context() as patch:
                if change is not None:
                    plan = change(plan, patch)
                execute_plan(plan, SilentCallback())
            return read_model(tmp_path / name)

        def flip_others(plan: FitPlan, patch: pytest.MonkeyPatch) -> FitPlan:
            assert plan.target_labels is not None
            drawn, corpus, read = plan.target_labels.labels, pair[1].snapshot.corpus, FeatureStore.labels

            def labels(store: FeatureStore, task: Task) -> NDArray[np.int8]:
                truth = read(store, task)
                if store.snapshot.corpus != corpus:
                    return truth
                return np.where((drawn < 0) & (truth >= 0), 1 - truth, truth).astype(np.int8)

            patch.setattr(FeatureStore, "labels", labels)
            return plan

        def flip_drawn(plan: FitPlan, _patch: pytest.MonkeyPatch) -> FitPlan:
            assert plan.target_labels is not None
            drawn = plan.target_labels.labels
            flipped = np.where(drawn >= 0, 1 - drawn, drawn).astype(np.int8)
            return replace(plan, target_labels=replace(plan.target_labels, labels=flipped))

        weights = train("first")
        assert train("others", flip_others) == weights
        assert train("drawn", flip_drawn) != weights

    @pytest.mark.parametrize(("method", "settings"), [("upper-bound", {}), ("emo-dna", {"threshold": "oracle-labels"})])
    def test_oracles_are_refused(self, method: str, settings: dict[str, str], pair: Stores, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            make_plan(pair, tmp_path, method, **settings)
        assert raised.value.field == "target_labels"


@pytest.fixture(scope="module")
def run(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of Source Only with two labels per class of the target."""
    folder = tmp_path_factory.mktemp("few") / "run"
    fit_small(source, target, folder, method="source-only", settings={"target_labels": "2"}, oracle_analysis=True)
    return folder


class TestScores:
    def test_scores_leave_out_the_drawn_utterances(self, run: Path, target: FeatureStore) -> None:
        folder = RunFolder(run)
        result, table = read_json(folder.result), pq.read_table(folder.predictions)
        drawn = {each for ids in read_json(folder.config)["target_labels"].values() for each in ids}
        assert len(drawn) == 4
        truth = dict(zip(target.ids, target.labels(AROUSAL).tolist(), strict=True))
        rows = [row for row in table.to_pylist() if row["id"] not in drawn and truth[row["id"]] >= 0]
        assert {row["id"] for row in table.to_pylist() if row["training_label"]} == drawn
        pairs = np.array([(truth[row["id"]], row["label"]) for row in rows])
        expected = asdict(scores(*pairs.T, 2))
        assert {key: result[key] for key in SCORES} == pytest.approx(expected)
        assert result["excluded"] == 4
        oracle = read_json(folder.oracle)["oracle"]
        assert oracle["labelled"] == len(rows)
        assert oracle["last"]["uar"] == pytest.approx(expected["uar"])
        document, _ = evaluate_run(FinishedRun.load(run, torch.device("cpu")), target)
        assert {key: document[key] for key in SCORES} == pytest.approx(expected)
        assert (document["labelled"], document["excluded"]) == (len(rows), 4)
        assert sum(map(sum, document["confusion"])) == len(rows)
        assert sum(each["count"] for each in document["breakdown"]["speaker"].values()) == len(rows)
        assert document["constant"] == result["constant"]

    def test_source_keeps_all_its_scores(self, run: Path, source: FeatureStore) -> None:
        document, _ = evaluate_run(FinishedRun.load(run, torch.device("cpu")), source)
        assert (document["excluded"], document["labelled"]) == (0, int((source.labels(AROUSAL) >= 0).sum()))

    def test_a_run_without_its_list_of_recordings_is_not_scored(
        self, run: Path, target: FeatureStore, tmp_path: Path
    ) -> None:
        shutil.copytree(run, tmp_path / "run")
        (tmp_path / "run" / "audio.parquet").unlink()
        with expect_run_error(tmp_path / "run" / "audio.parquet"):
            evaluate_run(FinishedRun.load(tmp_path / "run", torch.device("cpu")), target)

    def test_comparison_leaves_out_what_either_run_was_trained_on(
        self, run: Path, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "other", method="source-only", steps=1)
        runs = [open_run(run), open_run(tmp_path / "other")]
        labelled = int((target.labels(AROUSAL) >= 0).sum())
        assert compare_pairs(runs)[0, 1].labelled == labelled - 4
        assert compare_pairs(runs[::-1])[0, 1].labelled == labelled - 4

    def test_every_file_says_semi_supervised(self, run: Path) -> None:
        folder = RunFolder(run)
        label = "source-only (semi-supervised, 2 labels per class)"
        for file in (folder.config, folder.result):
            document = read_json(file)
            assert (document["supervision"], document["label"].startswith(label)) == ("semi-supervised", True)
        assert pq.read_schema(folder.predictions).metadata[b"supervision"] == b"semi-supervised"
        assert TrainedModel.load(run).supervision == "semi-supervised"
        card = render_card(folder)
        assert label in card
        assert "4 utterances of emodb" in card
        assert f"{32 - 4 - read_json(folder.corpora)['corpora'][-1]['unlabelled']} labelled utterances" in card
