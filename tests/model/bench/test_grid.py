"""Specifications and plans of experiments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from emodna.model.bench.grid import describe_method, plan_experiment
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, MethodSpec
from emodna.model.errors import BenchError, ConfigError
from emodna.pipeline.store import FeatureStore
from tests.model.small import make_manifest_store, read_emotions


def plan(
    out: Path, stores: Sequence[FeatureStore], rows: Sequence[str] = ("dan",), conditions: Conditions | None = None
) -> Experiment:
    conditions = conditions or Conditions(2, stores[0].snapshot.feature_set)
    return plan_experiment(out, stores, [(["arousal"], [MethodSpec.parse(row) for row in rows])], 1, conditions)


class TestSharedRecordings:
    def test_are_counted_by_ordered_pair_where_the_source_has_their_labels(
        self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = dict(list(read_emotions(target).items())[:3])
        first = next(iter(emotions))
        own = make_manifest_store(roots["emodb"], {**emotions, first: ""}, tmp_path / "cache")
        experiment = plan(tmp_path / "bench", [target, own])
        assert experiment.shared_recordings == {("emodb", "own"): 3, ("own", "emodb"): 2}
        experiment.write()
        assert Experiment.read(experiment.out).shared_recordings == experiment.shared_recordings

    def test_stay_when_a_benchmark_is_extended_and_go_when_a_corpus_has_changed(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        assert experiment.shared_recordings == {}
        other = {**experiment.corpora, "own": replace(experiment.corpora["emodb"], name="own")}
        there = replace(experiment, corpora=other, shared_recordings={("own", "emodb"): 2, ("ravdess", "emodb"): 5})
        assert there.merge(experiment, experiment.runs).shared_recordings == {("own", "emodb"): 2}


class TestSourcesWithoutLabels:
    def test_are_only_targets(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        bare = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(target), ""), tmp_path, name="calls")
        experiment = plan(tmp_path / "bench", [bare, target, source], ["dan", "upper-bound"])
        assert [run.pair for run in experiment.runs if run.method == MethodSpec("dan")] == [
            *(("emodb", "calls"), ("emodb", "ravdess"), ("ravdess", "calls"), ("ravdess", "emodb"))
        ]
        assert [run.pair for run in experiment.runs if run.method == UPPER_BOUND] == [
            *(("emodb", "ravdess"), ("ravdess", "emodb"))
        ]

    @pytest.mark.parametrize(
        ("counts", "words"), [((3, 4), None), ((0, 0), "no labels of"), ((0, 4), "labels of only one class of")]
    )
    def test_lack_both_classes_or_one(self, counts: tuple[int, int], words: str | None) -> None:
        corpus = CorpusSummary("own", "own", "0", None, 9, {"arousal": (1, 1), "valence": counts})
        assert corpus.find_missing_labels("valence") == (None if words is None else f"{words} valence")


def test_a_language_that_is_not_known_is_null(target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
    own = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path / "cache")
    experiment = plan(tmp_path / "bench", [own, target])
    assert {name: corpus.language for name, corpus in experiment.corpora.items()} == {"own": None, "emodb": "de"}
    experiment.write()
    assert Experiment.read(experiment.out) == experiment


class TestThreads:
    def test_are_a_condition_that_older_benchmarks_do_not_name(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        experiment.write()
        path = tmp_path / "bench.json"
        content = json.loads(path.read_text())
        del content["conditions"]["threads"], content["shared"]
        path.write_text(json.dumps(content))
        assert Experiment.read(tmp_path) == experiment
        with pytest.raises(BenchError, match=r"--threads 2: the benchmark in .* was begun with 1"):
            experiment.check_conditions(replace(experiment.conditions, threads=2))

    def test_decide_a_runs_name_where_they_are_not_one(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        assert "threads" not in experiment.arguments(experiment.runs[0])
        two = replace(experiment, conditions=replace(experiment.conditions, threads=2))
        assert two.run_name(experiment.runs[0]) != experiment.run_name(experiment.runs[0])


@pytest.mark.parametrize(
    ("row", "settings", "says"),
    [
        ("dan", {"mmd_kernels": "x"}, r"^--set mmd_kernels=x: must be .* \(of dan,"),
        ("dan", {"mmd_kernles": "2"}, r"^--set mmd_kernles: unknown; did you mean mmd_kernels"),
        ("caam", {"frames": "8"}, r"^--set frames=8: caam needs at least"),
        ("caam:frames=8", {}, r"^--methods caam:frames=8: frames=8: caam needs at least"),
        ("dan:mmd_kernels=x", {}, r"^--methods dan:mmd_kernels=x: --set mmd_kernels=x: must be"),
    ],
)
def test_a_slip_is_blamed_on_whose_it_is(row: str, settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        describe_method(MethodSpec.parse(row), Conditions(2, "mfcc40", settings))
