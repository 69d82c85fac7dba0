"""Tests of specifications and plans of experiments."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from emodna.model.bench.compare import SOURCE_ONLY
from emodna.model.bench.figures import FigureOptions, make_figure
from emodna.model.bench.grid import describe_method, plan_experiment
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.results import SCHEMA, select_scores
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, RunSpec, find_uneven_corpora
from emodna.model.bench.tables import make_table
from emodna.model.bench.worker import train_run
from emodna.model.errors import BenchError, ConfigError, RunError
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task, make_emotion_task
from tests.model.small import SETTINGS, make_manifest_store, read_emotions


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


class TestTasks:
    """Experiments of tasks that are not built in."""

    def plan(
        self,
        out: Path,
        stores: Sequence[FeatureStore],
        *tasks: Task | str,
        definitions: Sequence[Task] = (),
        method: MethodSpec = SOURCE_ONLY,
    ) -> Experiment:
        known = {task.name: task for task in (*definitions, *tasks) if isinstance(task, Task)}
        names = [task.name if isinstance(task, Task) else task for task in tasks]
        settings = {**SETTINGS, "log_every": "10"}
        conditions = Conditions(1, stores[0].snapshot.feature_set, settings)
        return plan_experiment(out, stores, [(names, [method])], 1, conditions, definitions=known)

    def test_definitions_are_saved_and_part_of_run_names(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        own = Task("loud", ("no", "yes"), (("sadness",), ("anger", "happiness")))
        four = make_emotion_task(["emobox4"])
        experiment = self.plan(tmp_path / "bench", [source, target], "arousal", four, own)
        experiment.write()
        found = Experiment.read(experiment.out)
        assert found == experiment
        assert found.tasks == ["arousal", "emotion", "loud"]
        labels = source.labels(four)
        assert found.corpora["ravdess"].classes["emotion"] == tuple(int((labels == each).sum()) for each in range(4))
        names = {run.task: found.run_name(run) for run in found.runs if run.src == "ravdess"}
        shared = self.plan(tmp_path / "shared", [source, target], "arousal", "emotion")
        other = {run.task: shared.run_name(run) for run in shared.runs if run.src == "ravdess"}
        assert names["arousal"] == other["arousal"]
        assert names["emotion"] != other["emotion"]
        with pytest.raises(BenchError) as error:
            shared.merge(experiment, experiment.runs)
        assert (error.value.field, error.value.value) == ("tasks", "emotion")

    def test_corpora_without_a_class_are_no_sources(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        calm = make_emotion_task(["calm", "sadness"])  # EMODB has no calm
        assert {run.src for run in self.plan(tmp_path, [source, target], calm).runs} == {"ravdess"}

    def test_other_tasks_keep_definitions_and_counts_and_dropped_ones_leave_none(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        four = make_emotion_task(["emobox4"])
        experiment = self.plan(tmp_path, [source, target], four)
        own = Task("loud", ("no", "yes"), (("sadness",), ("anger",)))
        later = self.plan(tmp_path, [source, target], "arousal", own, definitions=[four])
        # Without runs of its own, the definition would change those of the experiment.
        other = self.plan(tmp_path, [source, target], "arousal", definitions=[make_emotion_task(["anger", "fear"])])
        with pytest.raises(BenchError):
            experiment.merge(other, other.runs)
        merged = experiment.merge(later, later.runs)
        assert merged.definitions == {"emotion": four, "loud": own}
        assert {len(corpus.classes["emotion"]) for corpus in merged.corpora.values()} == {4}
        assert [merged.run_name(run) for run in experiment.runs] == [
            experiment.run_name(run) for run in experiment.runs
        ]
        (info,) = merged.methods.values()
        kept = replace(merged, methods={**merged.methods, MethodSpec("dan"): replace(info, label="dan")})
        dan = tuple(replace(run, method=MethodSpec("dan")) for run in later.runs)
        dropped = replace(kept, runs=(*experiment.runs, *dan)).drop([MethodSpec("source-only")], [])
        assert set(dropped.definitions) == {"loud"}
        shared = self.plan(tmp_path, [source, target], "emotion")
        again = dropped.merge(shared, shared.runs)
        assert set(again.definitions) == {"loud"}
        assert {len(corpus.classes["emotion"]) for corpus in again.corpora.values()} == {len(EMOTIONS)}

    def test_stores_that_no_later_task_counted_are_not_uneven(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = self.plan(tmp_path, [source, target], "arousal")
        corpus = experiment.corpora["emodb"]
        old = {task: counts for task, counts in corpus.classes.items() if task != "emotion"}

        def find(other: CorpusSummary) -> list[str]:
            corpora = {**experiment.corpora, "emodb": replace(corpus, others={"other": other})}
            return find_uneven_corpora(replace(experiment, corpora=corpora))

        assert find(replace(corpus, classes=old)) == []
        assert find(replace(corpus, classes={**old, "arousal": (1, 2)})) == ["emodb"]
        assert replace(corpus, classes=old).find_missing_labels("emotion") is None

    def test_the_upper_bound_of_shared_classes_runs_for_each_pair(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        calm = {path: "calm" if emotion == "boredom" else emotion for path, emotion in read_emotions(target).items()}
        third = make_manifest_store(roots["emodb"], calm, tmp_path / "cache", name="third")
        for task, runs in (("emotion", 2), ("arousal", 1)):
            conditions = Conditions(1, source.snapshot.feature_set)
            groups = [([task], [UPPER_BOUND])]
            experiment = plan_experiment(tmp_path, [source, target, third], groups, 1, conditions)
            own = [run for run in experiment.runs if run.tgt == "ravdess"]
            assert len(own) == runs
            rows = [{**self.make_row(run), "value": float(number)} for number, run in enumerate(own)]
            other = {"src": "third", "value": None, "spec": "dan"}
            table = pa.Table.from_pylist([*rows, {**rows[0], **other}], schema=SCHEMA)
            found = {row["src"]: row["value"] for row in select_scores(table).to_pylist()}
            assert found == {"emodb": 0.0, "third": float(runs - 1)}

    def make_row(self, run: RunSpec) -> dict[str, object]:
        return {
            "src": run.src,
            "tgt": run.tgt,
            "task": run.task,
            "spec": str(run.method),
            "seed": run.seed,
            "metric": "uar",
        }

    def test_upper_bound_has_the_classes_of_its_pair(
        self, source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        own = make_manifest_store(roots["emodb"], read_emotions(target), tmp_path / "cache")
        for task, sources in (("emotion", {"own", "ravdess"}), (make_emotion_task(["emobox4"]), {"own"})):
            experiment = self.plan(tmp_path, [own, source, target], task, method=UPPER_BOUND)
            assert {run.src for run in experiment.runs if run.tgt == "emodb"} == sources

    def test_changed_values_of_a_column_make_other_runs(
        self, target: FeatureStore, source: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = read_emotions(target)
        task = Task("loud", ("no", "yes"), (("0",), ("1",)), "loud")
        names = []
        for first in (0, 1, 0):
            loud = {path: str((index + first) % 2) for index, path in enumerate(emotions)}
            own = make_manifest_store(roots["emodb"], emotions, tmp_path / "cache", loud=loud)
            experiment = self.plan(tmp_path / "bench", [own, source], task, "arousal")
            experiment.write()
            runs = Experiment.read(experiment.out).runs
            names.append({run.task: experiment.run_name(run) for run in runs if run.src == "own"})
        assert names[0] == names[2]
        assert names[0]["arousal"] == names[1]["arousal"]
        assert names[0]["loud"] != names[1]["loud"]

    def test_old_experiments_get_further_tasks(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        def forget(corpus: CorpusSummary) -> CorpusSummary:
            return replace(corpus, classes={task: corpus.classes[task] for task in ("arousal", "valence")})

        old = self.plan(tmp_path, [source, target], "arousal")
        old = replace(old, corpora={name: forget(each) for name, each in old.corpora.items()})
        old.write()
        content = json.loads((tmp_path / "bench.json").read_text())
        for corpus in content["corpora"].values():
            del corpus["labels"]
        assert "tasks" not in content
        (tmp_path / "bench.json").write_text(json.dumps(content))
        new = self.plan(tmp_path, [source, target], make_emotion_task(["emobox4"]))
        merged = Experiment.read(tmp_path).merge(new, new.runs)
        assert {*map(old.run_name, old.runs)} <= {*map(merged.run_name, merged.runs)}
        assert merged.corpora["emodb"] == new.corpora["emodb"]

    def test_runs_have_the_classes_that_their_pair_shares(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        experiment = self.plan(tmp_path, [source, target], "emotion")
        experiment.write()
        run = next(run for run in experiment.runs if run.src == "ravdess")
        result = train_run(experiment, run)
        shared = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
        assert tuple(result["classes"]) == experiment.read_task(run).classes == shared
        table = make_table(experiment, "pairs")
        assert {score for block in table.blocks for score in block.scores} == {"uar", "war", "macro_f1"}
        constants = {row.name for row in table.select_rows("constant")}
        assert constants == {"majority", "prior_proportional"}
        assert "chance (16.7)" in make_figure("pairs", experiment, FigureOptions("emotion")).note
        (panel,) = make_figure("languages", experiment, FigureOptions("emotion")).panels
        assert panel.references == [("chance", pytest.approx(100 / 6))]
        (row,) = (row for row in table.rows if row.kind == "entry")
        found = {position[2]: cell.mean for position, cell in row.cells.items() if position[1].pairs == (run.pair,)}
        assert found["uar"] == pytest.approx(result["uar"])
