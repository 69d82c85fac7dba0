"""Tests of specifications and plans of experiments."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from emodna.model.bench.grid import describe_method, plan_experiment
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment
from emodna.model.errors import BenchError, ConfigError, RunError
from emodna.pipeline.store import FeatureStore
from tests.model.small import make_manifest_store, read_emotions


def plan(
    out: Path, stores: Sequence[FeatureStore], rows: Sequence[str] = ("dan",), conditions: Conditions | None = None
) -> Experiment:
    conditions = conditions or Conditions(2, stores[0].snapshot.feature_set)
    return plan_experiment(out, stores, [(["arousal"], [MethodSpec.parse(row) for row in rows])], 1, conditions)


class TestSharedRecordings:
    def test_shared_recordings_count_labels_of_the_source(
        self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = dict(list(read_emotions(target).items())[:3])
        first = next(iter(emotions))
        own = make_manifest_store(roots["emodb"], {**emotions, first: ""}, tmp_path / "cache")
        experiment = plan(tmp_path / "bench", [target, own])
        assert experiment.shared_recordings == {("emodb", "own"): 3, ("own", "emodb"): 2}
        experiment.write()
        assert Experiment.read(experiment.out).shared_recordings == experiment.shared_recordings

    def test_merge_keeps_counts_of_other_corpora_and_updates_the_rest(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        assert experiment.shared_recordings == {}
        other = {**experiment.corpora, "own": replace(experiment.corpora["emodb"], name="own")}
        older = replace(experiment, corpora=other, shared_recordings={("own", "emodb"): 2, ("ravdess", "emodb"): 5})
        assert older.merge(experiment, experiment.runs).shared_recordings == {("own", "emodb"): 2}


class TestSourcesWithoutLabels:
    def test_corpora_without_labels_are_only_targets(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        unlabelled = make_manifest_store(
            roots["emodb"], dict.fromkeys(read_emotions(target), ""), tmp_path, name="calls"
        )
        experiment = plan(tmp_path / "bench", [unlabelled, target, source], ["dan", "upper-bound"])
        pairs = [("emodb", "calls"), ("emodb", "ravdess"), ("ravdess", "calls"), ("ravdess", "emodb")]
        assert [run.pair for run in experiment.runs if run.method == MethodSpec("dan")] == pairs
        upper_bound_pairs = [run.pair for run in experiment.runs if run.method == UPPER_BOUND]
        assert upper_bound_pairs == [("emodb", "ravdess"), ("ravdess", "emodb")]

    @pytest.mark.parametrize(
        ("counts", "words"), [((3, 4), None), ((0, 0), "no labels of"), ((0, 4), "labels of only one class of")]
    )
    def test_missing_labels_are_named(self, counts: tuple[int, int], words: str | None) -> None:
        corpus = CorpusSummary("own", "own", "0", None, 9, {"arousal": (1, 1), "valence": counts})
        assert corpus.find_missing_labels("valence") == (None if words is None else f"{words} valence")


def test_unknown_language_is_none(target: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
    own = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path / "cache")
    experiment = plan(tmp_path / "bench", [own, target])
    assert {name: corpus.language for name, corpus in experiment.corpora.items()} == {"own": None, "emodb": "de"}
    experiment.write()
    assert Experiment.read(experiment.out) == experiment


class TestThreads:
    def test_experiments_without_threads_have_one_thread(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        experiment.write()
        path = tmp_path / "bench.json"
        content = json.loads(path.read_text())
        del content["conditions"]["threads"], content["shared"]
        path.write_text(json.dumps(content))
        assert Experiment.read(tmp_path) == experiment
        with pytest.raises(BenchError) as caught:
            experiment.check_conditions(replace(experiment.conditions, threads=2))
        assert (caught.value.field, caught.value.value) == ("threads", "2")

    def test_run_name_depends_on_threads_other_than_one(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = plan(tmp_path, [source, target])
        assert "threads" not in experiment.arguments(experiment.runs[0])
        two_threads = replace(experiment, conditions=replace(experiment.conditions, threads=2))
        assert two_threads.run_name(experiment.runs[0]) != experiment.run_name(experiment.runs[0])


@pytest.mark.parametrize(
    ("row", "settings", "where", "parameter"),
    [
        ("dan", {"mmd_kernels": "x"}, "method dan", "mmd_kernels=x"),
        ("dan", {"mmd_kernles": "2"}, "method dan", "mmd_kernles"),
        ("caam", {"frames": "8"}, None, "frames=8"),
        ("caam:frames=8", {}, None, "methods=caam:frames=8"),
        ("dan:mmd_kernels=x", {}, None, "methods=dan:mmd_kernels=x"),
        ("dan:mmd_kernles=2", {}, None, "unknown setting mmd_kernles; did you mean mmd_kernels?"),
    ],
)
def test_error_of_a_setting_names_the_method_or_the_key(
    row: str, settings: dict[str, str], where: str | None, parameter: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        describe_method(MethodSpec.parse(row), Conditions(2, "mfcc40", settings))
    assert caught.value.where == where
    assert parameter in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bench.json", "", "damaged: empty"),
        ("bench.json", '{"version": 1,\n', "damaged: not valid JSON (line 2)"),
        (".lock", "", "contains no experiment"),
        ("notes.txt", "", "contains other files, no experiment"),
    ],
)
def test_folder_without_a_readable_experiment_is_an_error(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises((BenchError, RunError)) as caught:
        Experiment.read(tmp_path)
    assert caught.value.problem == problem
