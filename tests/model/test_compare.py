"""Comparison of runs: differences, means over seeds, and pairs of predictions."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.model.metrics import SCORE_NAMES
from emodna.model.runs import compare
from emodna.model.runs.compare import RunPair, compare_pairs, find_differences, mcnemar, summarise_seeds
from emodna.model.runs.listing import Run, open_run
from emodna.pipeline.store import FeatureStore
from tests.model.small import fit_small


@pytest.fixture(scope="module")
def seed_runs(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return two runs of Source Only with different seeds, and one with more steps."""
    runs = tmp_path_factory.mktemp("seeds")
    for name, seed, steps in (("a", 0, 4), ("b", 1, 4), ("c", 0, 5)):
        fit_small(source, target, runs / name, method="source-only", seed=seed, steps=steps)
    return [open_run(runs / name) for name in "abc"]


def copy_with_predictions(run: Run, place: Path, labels: np.ndarray | None = None, ids: list[str] | None = None) -> Run:
    shutil.copytree(run.folder.path, place)
    table = pq.read_table(place / "predictions.parquet")
    columns = {"id": table["id"] if ids is None else ids, "label": table["label"] if labels is None else labels}
    pq.write_table(pa.table(columns), place / "predictions.parquet")
    return open_run(place)


class TestDifferences:
    def test_only_differing_keys_are_returned(self, seed_runs: list[Run]) -> None:
        assert find_differences(seed_runs) == {"seed": [0, 1, 0], "steps": [4, 4, 5]}
        assert find_differences([seed_runs[0], seed_runs[0]]) == {}

    def test_settings_of_one_method_are_left_out(self, seed_runs: list[Run], trained_run: Path) -> None:
        found = find_differences([seed_runs[0], open_run(trained_run)])
        assert found == {"method": ["source-only", "emo-dna"], "steps": [4, 20]}


def test_runs_that_differ_only_in_their_seed_are_summarised(seed_runs: list[Run]) -> None:
    assert summarise_seeds([seed_runs[0], seed_runs[0]]) == summarise_seeds([seed_runs[0], seed_runs[2]]) == []
    (group,) = summarise_seeds(seed_runs)
    assert group.runs == (0, 1)
    for key in SCORE_NAMES:
        first, second = (run.scores[key] for run in seed_runs[:2])
        assert group.mean[key] == pytest.approx((first + second) / 2)
        assert group.std[key] == pytest.approx(abs(first - second) / math.sqrt(2))


class TestPairs:
    def test_utterances_that_only_one_run_predicts_correctly_are_counted(
        self, seed_runs: list[Run], target: FeatureStore, tmp_path: Path
    ) -> None:
        truth = target.labels("arousal").astype(np.int8)
        wrong = {"a": [0, 1, 2], "b": [2, 3, 4, 5, 6]}
        runs = []
        for name, rows in wrong.items():
            labels = truth.copy()
            labels[rows] = 1 - labels[rows]
            # Rows may have any order.
            order = np.random.default_rng(0).permutation(len(truth)) if name == "b" else np.arange(len(truth))
            ids = [target.ids[row] for row in order]
            runs.append(copy_with_predictions(seed_runs[0], tmp_path / name, labels[order], ids))
        found = compare_pairs(runs)[0, 1]
        n = len(truth)
        assert found == RunPair(n, 100 * (n - 6) / n, n, 4, 2, mcnemar(4, 2))
        assert compare_pairs([runs[0], runs[0]])[0, 1] == RunPair(n, 100, n, 0, 0, 1)

    def test_pairs_without_the_target_store_have_only_agreement(self, seed_runs: list[Run], tmp_path: Path) -> None:
        shutil.copytree(seed_runs[0].folder.path, tmp_path / "run")
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        config["stores"]["emodb"] = str(tmp_path / "gone")
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        moved = open_run(tmp_path / "run")
        assert compare_pairs([moved, moved])[0, 1] == RunPair(32, 100)
        assert compare_pairs([moved, seed_runs[1]])[0, 1].p is not None  # one store is enough

    def test_pairs_on_an_unlabelled_target_have_no_test(
        self, seed_runs: list[Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compare, "read_truth", lambda _run, ids: np.full(len(ids), -1, np.int8))
        assert compare_pairs([seed_runs[0], seed_runs[0]])[0, 1] == RunPair(32, 100, 0)

    def test_pairs_that_cannot_be_compared_have_a_problem(
        self, seed_runs: list[Run], target: FeatureStore, tmp_path: Path
    ) -> None:
        ids, n = list(target.ids), len(target)
        shutil.copytree(seed_runs[1].folder.path, tmp_path / "half")
        predictions = tmp_path / "half" / "predictions.parquet"
        predictions.write_bytes(predictions.read_bytes()[:900])
        shutil.copytree(seed_runs[1].folder.path, tmp_path / "task")
        config = tmp_path / "task" / "config.json"
        config.write_text(config.read_text().replace('"arousal"', '"valence"'))
        fewer = copy_with_predictions(seed_runs[1], tmp_path / "fewer", np.zeros(n - 1, np.int8), ids[1:])
        other = copy_with_predictions(seed_runs[1], tmp_path / "other", ids=["strange", *ids[1:]])
        for run, expected in (
            (fewer, "different utterances"),
            (other, "different utterances"),
            (open_run(tmp_path / "half"), "predictions.parquet: cannot be read"),
            (open_run(tmp_path / "task"), "different tasks"),
        ):
            assert expected in str(compare_pairs([seed_runs[0], run])[0, 1].problem)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_p_value_is_symmetric_and_exact(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(mcnemar(c, b))
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(1, 2 * tail))
