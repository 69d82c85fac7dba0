"""Tests of emodna-bench run, retry, drop and clean on three corpora."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import filelock
import pytest

from emodna.cli.bench import command as bench_command
from emodna.cli.bench import execution
from emodna.cli.bench.page import build_overview
from emodna.cli.bench.page_parts import MISSING
from emodna.model.bench import runner
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import read_run_results
from emodna.model.bench.runner import Workers, execute_runs, start_local_workers
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.features import make_feature_set
from tests.cli.bench.kill_worker import kill_worker
from tests.model.bench.builders import write_experiment
from tests.model.small import CommandResult, assert_one_line_error, run_command
from tests.pipeline.clusters import Cluster, start_cluster, wait_until
from tests.pipeline.making import prepare_corpus

TINY = {"batch_size": 8, "frames": 32, "channels": 8, "log_every": 1, "tensorboard": "false", "checkpoint_seconds": 0}
#: Files of a run that depend neither on interruptions nor on the worker.
REPRODUCIBLE = ("model.safetensors", "predictions.parquet", "metrics.jsonl", "resume.safetensors")


def run_bench(*arguments: object) -> CommandResult:
    return run_command(bench_command.main, *arguments)


def make_args(
    cache: Path, out: Path, *, steps: int = 2, methods: Sequence[str] = ("dan",), **changes: object
) -> list[object]:
    settings = [part for key, value in {**TINY, **changes}.items() for part in ("--set", f"{key}={value}")]
    options = [part for method in methods for part in ("--methods", method)]
    places = ["--cache", cache, "--out", out, "--device", "cpu"]
    return ["run", *places, *options, "--tasks", "arousal", "--seeds", 1, "--steps", steps, *settings]


def pass_corpora(*corpora: str) -> list[object]:
    return [part for corpus in corpora or ("casia", "emodb") for part in ("--corpora", corpus)]


THREE_CORPORA = pass_corpora("casia", "emodb", "emovo")


def start_process(*arguments: object) -> subprocess.Popen[str]:
    command = [Path(sys.executable).with_name("emodna-bench"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def read_contents(out: Path) -> dict[str, bytes]:
    return {
        f"{run.name}/{name}": (run / name).read_bytes() for run in (out / "runs").iterdir() for name in REPRODUCIBLE
    }


def list_finished_files(out: Path) -> dict[str, int]:
    folders = [done.parent for done in (out / "runs").glob("*/done")]
    return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[Workers]:
    """Start two workers for all commands of this process: starting them takes seconds."""
    with start_local_workers(2, 1, ["cpu"]) as workers, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "start_local_workers", lambda *_: nullcontext(workers))
        yield workers


@pytest.fixture(scope="module")
def finished_experiment(six_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CommandResult]:
    """Run all six pairs of three corpora; tests must not change the folder."""
    out = tmp_path_factory.mktemp("whole") / "bench"
    return out, run_bench(*make_args(six_cache, out), *THREE_CORPORA, "--json")


@pytest.fixture
def copy(finished_experiment: tuple[Path, CommandResult], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_experiment[0], tmp_path / "bench"))


def test_run_trains_all_pairs(finished_experiment: tuple[Path, CommandResult]) -> None:
    out, result = finished_experiment
    assert result.code == 0
    summary = json.loads(result.out)
    assert (summary["out"], summary["cells"], summary["done"], summary["ran"]) == (str(out), 6, 6, 6)
    assert 0 < summary["cell_seconds"] < 2 * summary["wall_seconds"]
    first, second, *rest = result.err.splitlines()
    assert first == f"6 runs, 2 workers, into {out}"
    assert second.startswith("1/6 ")
    assert ", arousal, dan (channels=8, " in second
    assert len(rest) == 5


def test_interrupted_runs_resume_and_finished_ones_stay(
    six_cache: Path, finished_experiment: tuple[Path, CommandResult], copy: Path
) -> None:
    experiment = Experiment.read(copy)
    interrupted, unstarted = (experiment.run_folder(run) for run in experiment.runs[:2])
    # As after a kill before the evaluation.
    for path in (interrupted.done, interrupted.result, interrupted.model, interrupted.predictions):
        path.unlink()
    shutil.rmtree(unstarted.path)
    before = list_finished_files(copy)
    result = run_bench(*make_args(six_cache, copy), *THREE_CORPORA, "--json")
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert (summary["done"], summary["ran"]) == (6, 2)
    assert before.items() <= list_finished_files(copy).items()
    assert read_contents(copy) == read_contents(finished_experiment[0])


@pytest.mark.slow
def test_resuming_after_a_kill_gives_the_same_files(
    six_cache: Path, finished_experiment: tuple[Path, CommandResult], tmp_path: Path
) -> None:
    options = [*make_args(six_cache, tmp_path / "bench"), *THREE_CORPORA]
    process = start_process(*options, "--workers", 2)
    wait_until(lambda: list(tmp_path.glob("bench/runs/*/done")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = list_finished_files(tmp_path / "bench")
    done = len(list(tmp_path.glob("bench/runs/*/done")))
    result = run_bench(*options, "--workers", 1, "--json")
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert (summary["done"], summary["ran"]) == (6, 6 - done)
    assert before.items() <= list_finished_files(tmp_path / "bench").items()
    assert read_contents(tmp_path / "bench") == read_contents(finished_experiment[0])


def test_second_run_extends_the_experiment_and_retry_repeats_failed_runs(six_cache: Path, copy: Path) -> None:
    options = [*make_args(six_cache, copy, methods=("source-only",)), *pass_corpora()]
    spec = RunSpec("casia", "emodb", "arousal", MethodSpec("source-only"), 0)
    foreign_run = Experiment.read(copy).run_folder(spec).path
    foreign_run.mkdir()
    (foreign_run / "config.json").write_text('{"decisive": {"seed": 7}}')
    result = run_bench(*options, "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert (summary["cells"], summary["done"]) == (2, 1)
    (failed,) = summary["failed"]
    assert (failed["src"], failed["tgt"], failed["method"]) == ("casia", "emodb", "source-only")
    assert result.err.splitlines()[-1].startswith("error: 1 run failed; try again with: emodna-bench retry")
    extended = Experiment.read(copy)
    assert [run.method.name for run in extended.runs] == [*["dan"] * 6, *["source-only"] * 2]
    (failure_file,) = (copy / "failures").iterdir()
    assert json.loads(failure_file.read_text())["error"] == failed["error"]

    output = run_bench(*options)  # no run is left
    assert output.code == 1
    assert "skipped 1 run that failed before; try again with: emodna-bench retry" in output.err
    status = run_bench("status", "--out", copy).out
    assert "8 runs: 7 done, 1 failed" in status
    assert failed["error"] in status

    found = json.loads(run_bench("clean", "--out", copy, "--json").out)["leftovers"]
    assert [(each["path"], each["kind"]) for each in found] == [(str(foreign_run), "failed")]
    damaged = extended.run_folder(extended.runs[0]).result
    damaged.write_text(damaged.read_text().replace('"uar"', '"uar of old"'))
    again = run_bench("retry", "--out", copy, "--device", "cpu")
    assert again.code == 0, again.err
    assert {each.state for each in read_run_results(extended)} == {"done"}
    assert not failure_file.exists()
    assert run_bench("retry", "--out", copy, "--device", "cpu").out == "no failed runs\n"


def test_clean_keeps_a_running_run(copy: Path) -> None:
    experiment = Experiment.read(copy)
    old_run = experiment.run_folder(experiment.runs[0]).path  # as after a change of its store
    old_run = old_run.rename(old_run.with_name(old_run.name[:-8] + "00000000"))
    with filelock.FileLock(old_run / ".lock"):
        result = run_bench("clean", "--out", copy, "--delete")
    assert f"kept {old_run}: a run is using it" in result.out
    assert old_run.exists()
    assert run_bench("clean", "--out", copy, "--delete").out.splitlines()[-1].startswith("deleted 1 run, ")
    assert not old_run.exists()


class RecordedPlan:
    """A replacement of `execute_experiment` that writes and records the experiment without running it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.experiment: Experiment | None = None
        self.runs: list[RunSpec] = []
        monkeypatch.setattr(execution, "execute_experiment", self._record)

    def _record(self, experiment: Experiment, runs: list[RunSpec], *_: object, **__: object) -> int:
        experiment.write()
        self.experiment, self.runs = experiment, runs
        return 0


class TestExtending:
    def test_default_corpora_are_those_of_the_experiment(
        self, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = RecordedPlan(monkeypatch)
        assert run_bench(*make_args(six_cache, tmp_path), *pass_corpora()).code == 0
        assert run_bench(*make_args(six_cache, tmp_path, methods=("jan",))).code == 0
        assert {(run.src, run.tgt) for run in plan.runs} == {("casia", "emodb"), ("emodb", "casia")}
        assert run_bench(*make_args(six_cache, tmp_path), *pass_corpora("casia", "emovo")).code == 0
        assert set(Experiment.read(tmp_path).corpora) == {"casia", "emodb", "emovo"}

    def test_conditions_can_change_before_the_first_run(
        self, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = RecordedPlan(monkeypatch)
        for steps in (2, 5):
            assert run_bench(*make_args(six_cache, tmp_path, steps=steps), *pass_corpora()).code == 0
        experiment = Experiment.read(tmp_path)
        assert experiment == plan.experiment
        assert experiment.conditions.steps == 5
        experiment.run_folder(experiment.runs[0]).path.mkdir(parents=True)
        result = run_bench(*make_args(six_cache, tmp_path), *pass_corpora())
        assert_one_line_error(result, "--steps 2: the experiment has 5")


def test_later_calls_have_the_tasks_of_the_experiment(
    six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RecordedPlan(monkeypatch)
    file, out = tmp_path / "loud.toml", tmp_path / "bench"
    file.write_text('name = "loud"\n[classes]\nno = ["sadness"]\nyes = ["anger", "happiness"]\n')
    arguments = [*make_args(six_cache, out), *pass_corpora()]
    tasks = ["--tasks", "emotion", "--classes", "anger,sadness,neutral", "--task-file", file]
    assert run_bench(*arguments, *tasks).code == 0
    names = {plan.experiment.run_name(run) for run in plan.runs}
    assert plan.experiment.tasks == ["arousal", "emotion", "loud"]
    assert run_bench(*arguments, "--tasks", "emotion", "--tasks", "loud").code == 0
    assert {plan.experiment.run_name(run) for run in plan.runs} == names
    assert run_bench(*make_args(six_cache, out, methods=("jan",)), *pass_corpora("casia", "emovo")).code == 0
    experiment = Experiment.read(out)
    assert {len(corpus.classes["emotion"]) for corpus in experiment.corpora.values()} == {3}
    assert run_bench("report", "--out", out, "--no-features").code == 0
    assert_one_line_error(run_bench(*arguments, "--tasks", "lout"), "--tasks lout: unknown")
    other = run_bench(*arguments, "--tasks", "emotion", "--classes", "anger,fear")
    assert_one_line_error(other, "--tasks emotion: the experiment has a task of this name with other classes")


def test_later_calls_know_the_tasks_of_the_experiment(
    six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out, file = RecordedPlan(monkeypatch), tmp_path / "bench", tmp_path / "loud.toml"
    file.write_text('name = "loud"\n[classes]\nno = ["sadness", "neutral"]\nyes = ["anger"]\n')
    arguments = make_args(six_cache, out)
    for options in (
        [*pass_corpora("casia", "savee"), "--tasks", "emotion", "--classes", "emobox4", "--task-file", file],
        [*pass_corpora("casia", "emodb")],
        [*pass_corpora("casia", "emodb"), "--tasks", "emotion", "--tasks", "loud"],
    ):
        result = run_bench(*arguments, *options)
        assert result.code == 0
    assert "classes anger, happiness, neutral, sadness, as in the experiment" in result.err
    experiment = plan.experiment
    assert experiment is not None
    assert {run.task for run in plan.runs} == {"arousal", "emotion", "loud"}
    counts = experiment.corpora["emodb"].classes
    assert (len(counts["arousal"]), len(counts["emotion"]), len(counts["loud"])) == (2, 4, 2)
    for task, words in (("quiet", "--tasks quiet: unknown"), ("emotion", "--tasks emotion")):
        other = ["--classes", "anger,fear"] * (task == "emotion")
        assert_one_line_error(run_bench(*arguments, *pass_corpora(), "--tasks", task, *other), words)
    # The summary of a corpus that later calls leave out lacks their tasks.
    forgetful = replace(
        experiment.corpora["savee"], classes={"arousal": (1, 2), "valence": (0, 0), "emotion": (9,) * 10}
    )
    experiment = replace(experiment, corpora={**experiment.corpora, "savee": forgetful})
    (corpora, _) = build_overview(experiment, [], experiment.tasks).tables
    row = next(row for row in corpora.rows if row[0].text == "savee")
    assert [cell.text for cell in row[3:]] == ["1", "2", "66.7", *["9"] * 4, *[MISSING] * 3]


def test_methods_run_with_each_number_of_target_labels(
    six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RecordedPlan(monkeypatch)
    methods = ("dan", "mdd:target_labels=7", "upper-bound")
    arguments = (*make_args(six_cache, tmp_path, methods=methods), *pass_corpora())
    assert run_bench(*arguments, "--target-labels", "0", "--target-labels", "2").code == 0
    specs = ["dan", "dan:target_labels=2", "mdd:target_labels=7", "upper-bound"]
    assert list(map(str, plan.experiment.methods)) == specs
    marks = {str(spec): info.uses_target_labels for spec, info in plan.experiment.methods.items()}
    assert marks == dict(zip(specs, (False, True, True, True), strict=True))
    assert "semi-supervised, 7 labels per class" in plan.experiment.methods[MethodSpec.parse(specs[2])].label
    arguments = (
        *make_args(six_cache, tmp_path / "other", methods=("emo-dna:threshold=oracle-labels",)),
        *pass_corpora(),
    )
    result = run_bench(*arguments, "--target-labels", "2")
    assert_one_line_error(result, "--target-labels 2")


def test_methods_run_on_each_feature_set(six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, cache, out = make_feature_set("mfcc39"), tmp_path / "cache", tmp_path / "bench"

    def prepare(name: str) -> None:
        prepare_corpus(six_cache.parent / "roots" / name, cache, load_corpus(name), features=features, workers=1)

    for name in ("casia", "emodb"):
        shutil.copytree(six_cache / name, cache / name)
    prepare("emodb")
    sets = ["--feature-set", "mfcc40", "--feature-set", "mfcc39"]
    lacking = run_bench(*make_args(cache, out), *pass_corpora(), *sets)
    assert_one_line_error(lacking, "casia: no features mfcc39", "emodna-prep --corpus casia --feature-set mfcc39")
    assert not out.exists()
    prepare("casia")
    plan = RecordedPlan(monkeypatch)
    assert run_bench(*make_args(cache, out), *pass_corpora()).code == 0
    assert plan.experiment is not None
    names = {plan.experiment.run_name(run) for run in plan.runs}
    for name in names:
        (out / "runs" / name).mkdir(parents=True)
    methods = ("dan:normalisation=source", "source-only:feature_set=mfcc39")
    arguments = [each for each in make_args(cache, out, methods=methods) if each not in ("--steps", 2)]
    result = run_bench(*arguments, *sets)
    assert result.code == 0, result.err
    assert "2 steps, as in the experiment" in result.err
    specs = ["dan", "dan:feature_set=mfcc39,normalisation=source", "source-only:feature_set=mfcc39"]
    assert sorted({str(run.method) for run in plan.runs}) == specs
    assert {plan.experiment.run_name(run) for run in plan.runs if str(run.method) == "dan"} == names
    for format, heading in (("md", "| features | |"), ("latex", "Features & Method &"), ("csv", "label,feature_set,")):
        assert heading in run_bench("table", "pairs", "--out", out, "--format", format).out
    dropped = json.loads(run_bench("drop", "--out", out, "--feature-set", "mfcc39", "--json").out)
    assert (dropped["dropped"], dropped["cells"]) == (4, 2)


def test_drop_lists_targets_whose_upper_bound_is_lost(tmp_path: Path) -> None:
    write_experiment(tmp_path, ["dan", "upper-bound"], corpora=("casia", "emodb", "emovo"))
    output = run_bench("drop", "--out", tmp_path, "--corpora", "casia", "--seeds", 1, "--json")
    assert json.loads(output.out) == {"out": str(tmp_path), "dropped": 32, "cells": 4, "kept_runs": 0}
    assert "dropped upper-bound of emodb, emovo" in output.err
    assert_one_line_error(run_bench("drop", "--out", tmp_path, "--seeds", 1), "--seeds 1: nothing to drop: ", "1 seed")


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "text"), [({"steps": 5}, "--steps 5"), ({"batch_size": 4}, "--set batch_size=4")]
    )
    def test_other_conditions_in_the_same_folder_are_an_error(
        self, six_cache: Path, finished_experiment: tuple[Path, CommandResult], changes: dict[str, Any], text: str
    ) -> None:
        before = (finished_experiment[0] / "bench.json").read_bytes()
        result = run_bench(*make_args(six_cache, finished_experiment[0], **changes))
        assert_one_line_error(result, text, "the experiment has")
        assert (finished_experiment[0] / "bench.json").read_bytes() == before

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--methods", "dam"], "dan"),
            (
                ["--methods", "dan,jan"],
                "--methods dan,jan: must be METHOD or METHOD:KEY=VALUE,KEY=VALUE; repeat --methods",
            ),
            (["--methods", "dan:foo=2"], "--methods dan:foo=2: unknown setting foo; "),
            (["--corpora", "casia"], "--corpora casia: only one corpus; give at least two"),
            (["--feature-set", "logmel"], "with the feature set logmel"),
            (["--device", "tpu"], "--device tpu"),
            (["--set", "seed=5"], "--set seed: not a setting of an experiment; use --seeds"),
        ],
    )
    def test_user_mistake_writes_nothing(
        self, six_cache: Path, tmp_path: Path, options: list[object], text: str
    ) -> None:
        out = tmp_path / "bench"
        assert_one_line_error(run_bench("run", "--cache", six_cache, "--out", out, "--device", "cpu", *options), text)
        assert not out.exists()

    def test_missing_scheduler_writes_no_experiment(self, six_cache: Path, tmp_path: Path) -> None:
        options = [*make_args(six_cache, tmp_path / "bench"), *pass_corpora(), "--scheduler", tmp_path / "none.json"]
        assert_one_line_error(run_bench(*options), "none.json: no Dask scheduler")
        assert not (tmp_path / "bench" / "bench.json").exists()

    def test_locked_experiment_is_an_error(self, six_cache: Path, copy: Path) -> None:
        with filelock.FileLock(copy / ".lock"):
            others = (["retry"], ["clean", "--delete"], ["drop", "--corpora", "casia"])
            for options in (make_args(six_cache, copy), *([*each, "--out", copy] for each in others)):
                assert_one_line_error(run_bench(*options), "another process is using the experiment")
            assert "running now" in run_bench("status", "--out", copy).out


def test_locked_run_is_skipped(six_cache: Path, copy: Path) -> None:
    experiment = Experiment.read(copy)
    run = experiment.run_folder(experiment.runs[0])
    run.done.unlink()
    with filelock.FileLock(run.lock):
        result = run_bench(*make_args(six_cache, copy), *THREE_CORPORA, "--json")
    assert result.code == 0
    summary = json.loads(result.out)
    assert (summary["done"], summary["failed"], len(summary["skipped"])) == (5, [], 1)
    assert "another process is training it" in result.err


def test_run_that_kills_its_worker_fails_alone(copy: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment.read(copy)
    monkeypatch.setattr(runner, "execute_order", kill_worker)
    replies = execute_runs(experiment, experiment.runs[:3], workers, mock.Mock())
    killed_run = RunSpec("casia", "emodb", "arousal", MethodSpec("dan"), 0)
    assert {run: reply.kind for run, reply in replies.items()} == {
        run: "failed" if run == killed_run else "done" for run in experiment.runs[:3]
    }
    assert "died 2 times" in json.loads(experiment.failure_file(killed_run).read_text())["error"]


@pytest.mark.slow
def test_ctrl_c_writes_checkpoints_and_prints_how_to_resume(six_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    options = [*make_args(six_cache, out, steps=100_000, checkpoint_seconds=1000), *pass_corpora()]
    process = start_process(*options, "--workers", 1)
    wait_until(lambda: len(list(out.glob("runs/*/metrics.jsonl"))) == 1)
    wait_until(lambda: all(path.stat().st_size for path in out.glob("runs/*/metrics.jsonl")))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; run the same command again to resume"
    assert "Traceback" not in err
    experiment = Experiment.read(out)
    assert [each.state for each in read_run_results(experiment)] == ["interrupted", "waiting"]
    assert experiment.run_folder(experiment.runs[0]).resume.exists()
    assert not (out / "failures").exists()


@pytest.fixture(scope="module")
def remote_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster") / "running") as remote:
        remote.add_worker(threads=2)
        yield remote


@pytest.mark.slow
class TestCluster:
    def test_cluster_gives_the_same_files(
        self, remote_cluster: Cluster, six_cache: Path, finished_experiment: tuple[Path, CommandResult], tmp_path: Path
    ) -> None:
        out = tmp_path / "bench"
        options = ["--scheduler", remote_cluster.file, "--json", "-q"]
        result = run_bench(*make_args(six_cache, out), *pass_corpora(), *options)
        assert (result.code, result.err) == (0, "")
        assert json.loads(result.out)["ran"] == 2
        expected = read_contents(finished_experiment[0])
        assert all(expected[name] == content for name, content in read_contents(out).items())

    def test_missing_gpu_or_other_versions_print_one_line(
        self, remote_cluster: Cluster, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = [*make_args(six_cache, tmp_path / "bench"), *pass_corpora(), "--scheduler", remote_cluster.address]
        gpu = [*options, "--device", "cuda", "--out", tmp_path / "gpu"]
        assert_one_line_error(run_bench(*gpu), "--device cuda: no worker declares a GPU", "--resources GPU=1")
        versions = runner.read_versions()
        monkeypatch.setattr(runner, "read_versions", lambda: {**versions, "torch": "0.4.1"})
        assert_one_line_error(run_bench(*options, "-q"), "has torch", "but the sender has torch 0.4.1")
        assert not (tmp_path / "bench" / "failures").exists()
