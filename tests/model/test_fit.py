"""Runs are reproducible, resumable and independent of the target's labels; wrong input is an error."""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model import checkpoint
from emodna.model.config import TrainConfig, as_settings
from emodna.model.errors import ConfigError, RunError, TrainingError
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.methods.emo_dna import EmoDna
from emodna.model.request import FitRequest, resolve_request
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL
from tests.model.small import (
    SETTINGS,
    STEPPED,
    InterruptAt,
    Interruption,
    Stores,
    expect_run_error,
    fit_small,
    get_supervision,
    make_damaged_copies,
    make_manifest_store,
    prepare_store,
    quick_if_representative,
    read_emotions,
    read_log,
    read_model,
)

EVERY_STEP = {"checkpoint_seconds": "0"}


def read_results(run: Path) -> tuple[bytes, dict[str, list[Any]], list[dict[str, float]]]:
    predictions = pq.read_table(run / "predictions.parquet", columns=["id", "probability", "label"])
    return read_model(run), predictions.to_pydict(), read_log(run)


def read_files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class TestSeeds:
    @pytest.mark.parametrize("method", quick_if_representative(STEPPED))
    def test_the_seed_determines_the_run(self, method: str, pair: Stores, tmp_path: Path) -> None:
        for run, seed in (("a", 3), ("b", 3), ("other", 4)):
            fit_small(*pair, tmp_path / run, method=method, seed=seed)
            torch.manual_seed(99)  # earlier draws do not matter
        assert read_results(tmp_path / "a") == read_results(tmp_path / "b")
        assert read_log(tmp_path / "a")[0] != read_log(tmp_path / "other")[0]
        assert read_model(tmp_path / "a") != read_model(tmp_path / "other")

    def test_a_run_does_not_change_the_callers_random_state(self, pair: Stores, tmp_path: Path) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        fit_small(*pair, tmp_path / "run")
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]


def relabel(emotions: dict[str, str], kind: str) -> dict[str, str]:
    values = list(emotions.values())
    match kind:
        case "permuted":
            random.Random(0).shuffle(values)
        case "noise":
            values = random.Random(1).choices(["anger", "sadness", "neutral", "happiness", ""], k=len(values))
        case "absent":
            values = [""] * len(values)
    return dict(zip(emotions, values, strict=True))


@pytest.fixture(scope="module")
def targets(pair: Stores, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureStore]:
    folder, emotions = tmp_path_factory.mktemp("targets"), read_emotions(pair[1])
    kinds = ("right", "permuted", "noise", "absent")
    speakers = dict(zip(emotions, pair[1].column("speaker"), strict=True))
    return {
        kind: make_manifest_store(roots["emodb"], relabel(emotions, kind), folder / kind, speaker=speakers)
        for kind in kinds
    }


class TestTargetLabels:
    @pytest.mark.parametrize(
        ("method", "normalisation"),
        [
            *(
                pytest.param(*name.values, "source", marks=name.marks)
                for name in quick_if_representative(name for name in STEPPED if get_supervision(name) == "source")
            ),
            pytest.param("emo-dna", "per-corpus", marks=pytest.mark.slow),  # the same code for all methods
            ("source-only", "per-speaker"),
        ],
    )
    def test_target_labels_do_not_change_the_model(
        self, method: str, normalisation: str, pair: Stores, targets: dict[str, FeatureStore], tmp_path: Path
    ) -> None:
        found, results, settings = {}, {}, {"normalisation": normalisation}
        for kind, store in targets.items():
            results[kind] = fit_small(pair[0], store, tmp_path / kind, method=method, settings=settings)
            found[kind] = read_results(tmp_path / kind)
        assert all(each == found["right"] for each in found.values())
        # The scores do depend on the labels.
        assert len({json.dumps(result["constant"]) for result in results.values()}) > 1

    def test_only_the_upper_bound_learns_from_target_labels_by_default(self) -> None:
        assert [name for name in STEPPED if get_supervision(name) != "source"] == ["upper-bound"]


@pytest.fixture(scope="module")
def whole(pair: Stores, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains a method for 7 steps without interruption; RAdam changes at the sixth."""

    @cache
    def run(method: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        fit_small(*pair, folder, method=method, steps=7, settings=EVERY_STEP)
        return folder

    return run


@pytest.fixture(scope="module")
def stopped_run(pair: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was interrupted at step 2 of 4; tests must not write to it."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interruption):
        fit_small(*pair, run, callback=InterruptAt(2), settings=EVERY_STEP)
    return run


class TestResume:
    # test_dependence.py tests each step of all methods.
    @pytest.mark.parametrize(
        "method", ["emo-dna", *(pytest.param(m, marks=pytest.mark.slow) for m in ("source-only", "saddi"))]
    )
    def test_a_resumed_run_equals_an_uninterrupted_one(
        self, method: str, whole: Callable[[str], Path], pair: Stores, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"method": method, "steps": 7, "settings": EVERY_STEP, "resume": True}
        for stop in (1, 2, 3, 4, 5, 6) if method == "saddi" else (2, 4, 5, 7):  # saddi has three phases
            with pytest.raises(Interruption):
                fit_small(*pair, tmp_path / "run", callback=InterruptAt(stop), **options)
        fit_small(*pair, tmp_path / "run", **options)
        assert read_results(tmp_path / "run") == read_results(whole(method))
        assert [line["step"] for line in read_log(tmp_path / "run")] == list(range(1, 8))

    def test_a_resumed_run_does_not_repeat_steps(self, stopped_run: Path, pair: Stores, tmp_path: Path) -> None:
        shutil.copytree(stopped_run, tmp_path / "run")
        seen: list[int] = []

        class StepRecorder(InterruptAt):
            def on_log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
                seen.append(step)

        fit_small(*pair, tmp_path / "run", callback=StepRecorder(0), settings=EVERY_STEP, resume=True)
        assert seen == [2, 3, 4]

    def test_a_resume_without_a_checkpoint_starts_again_with_a_warning(
        self, whole: Callable[[str], Path], pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        options: dict[str, Any] = {"steps": 7, "settings": {"checkpoint_seconds": "1000"}, "resume": True}
        with pytest.raises(Interruption):
            fit_small(*pair, tmp_path / "run", callback=InterruptAt(4), **options)
        fit_small(*pair, tmp_path / "run", **options)
        assert "no checkpoint" in caplog.text
        assert read_results(tmp_path / "run") == read_results(whole("emo-dna"))

    @pytest.mark.slow  # test_checkpoint.py tests in the quick suite that writing is atomic
    def test_a_run_survives_a_kill_while_saving(
        self, whole: Callable[[str], Path], pair: Stores, tmp_path: Path
    ) -> None:
        script = """
import os, signal, sys
from pathlib import Path
import torch
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore

torch.set_num_threads(1)
source, target, out, *settings = sys.argv[1:]
flush, flushed = os.fsync, []

def fsync(descriptor):
    flushed.append(descriptor)
    # 2 calls for config.json, 2 for the log, 3 for each checkpoint: the fourth checkpoint has no name yet.
    if len(flushed) == 4 + 3 * 3 + 2:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)

class Callback:
    def on_start(self, done): ...
    def on_log(self, step, values): ...

os.fsync = fsync
request = FitRequest(
    [FeatureStore(source)], FeatureStore(target), steps=7, out=Path(out),
    settings=dict(setting.split("=") for setting in settings),
)
fit(request, Callback())
"""
        run, settings = tmp_path / "run", {**SETTINGS, **EVERY_STEP}
        arguments = [*(str(store.path) for store in pair), str(run), *(f"{k}={v}" for k, v in settings.items())]
        killed = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert checkpoint.load_tensors(run / "resume.safetensors")[1]["step"] == 3
        assert not (run / "done").exists()

        fit_small(*pair, run, steps=7, settings=EVERY_STEP, resume=True)
        assert read_results(run) == read_results(whole("emo-dna"))

    def test_resuming_a_finished_run_returns_its_result_and_changes_no_file(
        self, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = fit_small(*pair, tmp_path / "run", steps=1)
        before = read_files(tmp_path / "run")
        # The recorded versions stay those of the run.
        monkeypatch.setattr("importlib.metadata.version", lambda _: "99.0")
        assert fit_small(*pair, tmp_path / "run", steps=1, resume=True) == result
        assert read_files(tmp_path / "run") == before

    def test_a_changed_store_prevents_a_resume(self, pair: Stores, roots: dict[str, Path], tmp_path: Path) -> None:
        source, target = pair
        first, changed = read_emotions(target), read_emotions(target)
        changed[next(iter(changed))] = "boredom" if changed[next(iter(changed))] != "boredom" else "anger"
        stores = [
            make_manifest_store(roots["emodb"], each, tmp_path / str(n)) for n, each in enumerate((first, changed))
        ]
        with pytest.raises(Interruption):
            fit_small(source, stores[0], tmp_path / "run", callback=InterruptAt(1))
        with pytest.raises(RunError, match=r"fingerprints\.own"):
            fit_small(source, stores[1], tmp_path / "run", resume=True)


class TestOut:
    def test_the_default_folder_is_named_after_the_request(
        self, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run = Path(fit_small(*pair, None, steps=1)["run"])
        assert run.parent == tmp_path / "runs"
        assert run.name.startswith("ravdess-emodb-arousal-emo-dna-s0-")
        folders = {run.relative_to(tmp_path)}
        for change in ({"seed": 1}, {"settings": {**SETTINGS, "scl_weight": "0.3"}}, {"steps": 2}):
            request = FitRequest([pair[0]], pair[1], **{"steps": 1, "settings": SETTINGS, **change})
            folders.add(resolve_request(request).folder)
        assert len(folders) == 4

    def test_a_wrong_request_makes_no_folder(self, pair: Stores, tmp_path: Path) -> None:
        for wrong in ({"method": "magic"}, {"settings": {"frames": "none"}}, {"steps": 0}):
            with pytest.raises(ConfigError):
                fit_small(*pair, tmp_path / "run", **wrong)
        assert not (tmp_path / "run").exists()


def test_a_target_smaller_than_a_batch_is_a_warning(
    pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = len(pair[1])
    for method, batch, is_warned in (("dan", size, False), ("source-only", size + 1, False), ("dan", size + 1, True)):
        out = tmp_path / f"{method}-{batch}"
        fit_small(*pair, out, steps=1, method=method, settings={"batch_size": str(batch)})
        assert ("emodb has only 32 utterances" in caplog.text) == is_warned


def test_shared_audio_is_counted_and_a_warning(
    pair: Stores, roots: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = dict(list(read_emotions(pair[1]).items())[:12])
    leak = make_manifest_store(roots["emodb"], some, tmp_path, name="leak")
    fit_small([pair[0], leak], pair[1], tmp_path / "run", steps=1)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["shared_audio"] == {"leak": 12, "ravdess": 0}
    assert "source leak contains 12 utterances of the target" in caplog.text
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "12 recordings of emodb are also in" in card
    assert "12 of them with their labels" in card
    assert "were not used" not in card.partition("## Data")[0]
    assert "without their labels" not in card


class TestResumeWarnings:
    def test_other_versions_are_a_warning(
        self, stopped_run: Path, pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = Path(shutil.copytree(stopped_run, tmp_path / "run")) / "config.json"
        config.write_text(config.read_text().replace(torch.__version__, "0.0"))
        fit_small(*pair, tmp_path / "run", settings=EVERY_STEP, resume=True)
        assert "other versions" in caplog.text

    def test_the_result_of_a_moved_run_has_its_new_path(self, pair: Stores, tmp_path: Path) -> None:
        fit_small(*pair, tmp_path / "run", steps=1)
        shutil.move(tmp_path / "run", tmp_path / "moved")
        assert fit_small(*pair, tmp_path / "moved", steps=1, resume=True)["run"] == str(tmp_path / "moved")

    def test_leftovers_of_a_kill_and_another_checkpoint_interval_are_no_warning(
        self, stopped_run: Path, pair: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
        (run / "resume.safetensors.1234.tmp").write_bytes(b"half")
        fit_small(*pair, run, settings={"checkpoint_seconds": "7"}, resume=True)
        assert not list(run.glob("*.tmp"))
        assert caplog.text == ""


class TestRunFolder:
    def test_it_contains_exactly_the_documented_files(self, trained_run: Path) -> None:
        names = {file.name for file in trained_run.iterdir()}
        (events,) = (name for name in names if name.startswith("events.out.tfevents."))
        documented = "config.json metrics.jsonl model.safetensors resume.safetensors predictions.parquet result.json"
        documented += " audio.parquet"
        assert names - {events} == {*documented.split(), "corpora.json", "MODEL_CARD.md", "done", ".lock"}

    def test_the_config_contains_everything_that_determines_the_run(self, trained_run: Path, pair: Stores) -> None:
        config = json.loads((trained_run / "config.json").read_text())
        decisive = config["decisive"]
        found = [decisive[key] for key in ("src", "tgt", "task", "method", "seed", "steps")]
        assert found == ["ravdess", "emodb", "arousal", "emo-dna", 0, 20]
        train = {**as_settings(TrainConfig()), "batch_size": 8, "frames": 32, "log_every": 1}
        del train["checkpoint_seconds"]  # it changes no result
        assert decisive["train"] == train
        assert decisive["method_config"] == {**as_settings(EmoDna.defaults), "channels": 8}
        assert decisive["features"] == {"channel": 0, **make_feature_set("mfcc40").parameters()}
        assert decisive["fingerprints"] == {store.snapshot.corpus: store.fingerprint for store in pair}
        assert config["versions"]["torch"] == torch.__version__
        assert (decisive["device"], decisive["threads"]) == ("cpu", torch.get_num_threads())

    def test_the_result_contains_the_scores_of_the_predictions(self, trained_run: Path, pair: Stores) -> None:
        result = json.loads((trained_run / "result.json").read_text())
        predicted = np.array(pq.read_table(trained_run / "predictions.parquet")["label"].to_pylist())
        scores = evaluate(predicted, pair[1], AROUSAL)
        assert {key: result[key] for key in scores} == scores
        assert result["run"] == str(trained_run)
        assert result["wall_seconds"] > 0


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("sources", ("ravdess",), "must be a FeatureStore"),
        ("target", "emodb", "must be a FeatureStore"),
        ("device", "gpu", r"must be a torch\.device"),
        ("steps", "ten", "must be a whole number"),
        ("seed", -1, "must be at least 0"),
    ],
)
def test_requests_of_wrong_types_name_the_field(field: str, value: Any, problem: str, pair: Stores) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        resolve_request(FitRequest(**{"sources": [pair[0]], "target": pair[1], field: value}))
    assert raised.value.field == field


class TestLabels:
    def test_an_unlabelled_target_has_null_scores_and_all_predictions(
        self, pair: Stores, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        store = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(pair[1]), ""), tmp_path)
        result = fit_small(pair[0], store, tmp_path / "run", steps=1)
        assert result == json.loads((tmp_path / "run" / "result.json").read_text())
        assert [result[key] for key in ("war", "f1", "uar", "macro_f1")] == [None] * 4
        assert {score for constant in result["constant"].values() for score in constant.values()} == {None}
        assert len(pq.read_table(tmp_path / "run" / "predictions.parquet")) == len(store)

    def test_unlabelled_utterances_are_counted(self, pair: Stores, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = read_emotions(pair[0])
        emotions |= dict.fromkeys(list(emotions)[:5], "")
        store = make_manifest_store(roots["ravdess"], emotions, tmp_path)
        fit_small(store, pair[1], tmp_path / "run", steps=1)
        assert json.loads((tmp_path / "run" / "config.json").read_text())["left_out"] == {"own": 5}

    @pytest.mark.parametrize(
        ("emotion", "says"),
        [
            ("anger", "all arousal labels are high"),
            ("sadness", "all arousal labels are low"),
            ("", "no arousal labels"),
        ],
    )
    def test_a_source_without_two_classes_is_an_error(
        self, emotion: str, says: str, pair: Stores, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        store = make_manifest_store(roots["ravdess"], dict.fromkeys(read_emotions(pair[0]), emotion), tmp_path)
        with pytest.raises(TrainingError, match=says) as raised:
            fit_small(store, pair[1], tmp_path / "run")
        assert (raised.value.field, raised.value.value) == ("sources", "own")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["arousal", pytest.param("valence", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "method", quick_if_representative(name for name in STEPPED if get_supervision(name) != "oracle-folds")
)
def test_methods_beat_chance_on_their_training_data(
    method: str, task: str, pair: Stores, roots: dict[str, Path], tmp_path: Path
) -> None:
    # The target has the source's recordings: this detects labels that are swapped or shuffled somewhere.
    same = make_manifest_store(roots["ravdess"], read_emotions(pair[0]), tmp_path / "same")
    settings = {"channels": "16", "learning_rate": "0.01", "log_every": "60"}
    steps = 60
    if method == "caam":  # its capsules need larger batches
        settings |= {"batch_size": "32", "learning_rate": "0.003", "beta1": "0.9", "beta2": "0.999"}
        settings["input_scale"], steps = "100", 120
    result = fit_small(pair[0], same, tmp_path / "run", method=method, task=task, steps=steps, settings=settings)
    assert result["uar"] > 80


class TestErrors:
    def test_predictions_that_are_not_finite_are_an_error(
        self, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def diverged(_method: Any, features: torch.Tensor, _lengths: torch.Tensor) -> torch.Tensor:
            return torch.full((len(features), 2), torch.nan)

        monkeypatch.setattr("emodna.model.methods.source_only.SourceOnly.predict", diverged)
        with pytest.raises(TrainingError, match="not finite"):
            fit_small(*pair, tmp_path / "run", method="source-only", steps=1)
        assert not (tmp_path / "run" / "done").exists()

    def test_a_target_that_is_a_source_under_another_name_is_an_error(self, pair: Stores, tmp_path: Path) -> None:
        again = FeatureStore(pair[0].path)
        again.snapshot = replace(again.snapshot, corpus="other")
        with pytest.raises(ConfigError) as raised:
            fit_small(pair[0], again, tmp_path / "run")
        assert (raised.value.field, raised.value.value) == ("target", "other")

    def test_different_features_are_an_error(self, pair: Stores, roots: dict[str, Path], tmp_path: Path) -> None:
        features = make_feature_set("mfcc40", fixed_samples=22050)
        other = prepare_store("emodb", roots["emodb"], tmp_path / "cache", features)
        with pytest.raises(ConfigError) as raised:
            fit_small(pair[0], other, tmp_path / "run")
        assert raised.value.where == pair[0].path

    def test_a_loss_that_is_not_finite_is_an_error(self, pair: Stores, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"step \d+ \(term \w+"):
            fit_small(*pair, tmp_path / "run", steps=30, settings={"learning_rate": "1e30", **EVERY_STEP})
        assert not {"done", "result.json"} & set(read_files(tmp_path / "run"))
        checkpoint.load_tensors(tmp_path / "run" / "resume.safetensors")


@pytest.fixture
def run(stopped_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped_run, tmp_path / "run"))


class TestDamage:
    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"decisive": 3}'])
    def test_a_damaged_configuration_is_an_error(self, content: str, run: Path, pair: Stores) -> None:
        (run / "config.json").write_text(content)
        with expect_run_error(run / "config.json"):
            fit_small(*pair, run, settings=EVERY_STEP, resume=True)

    @pytest.mark.parametrize("metadata", [{}, {"step": "two"}, {"step": -1}, {"step": 5}], ids=str)
    def test_a_damaged_step_is_an_error(self, metadata: dict[str, Any], run: Path, pair: Stores) -> None:
        tensors, _ = checkpoint.load_tensors(run / "resume.safetensors")
        checkpoint.save_tensors(run / "resume.safetensors", tensors, metadata)
        with expect_run_error(run / "resume.safetensors"):
            fit_small(*pair, run, settings=EVERY_STEP, resume=True)

    def test_a_damaged_checkpoint_is_an_error(self, run: Path, pair: Stores) -> None:
        resume = run / "resume.safetensors"
        for content in make_damaged_copies(resume.read_bytes(), 20):
            resume.write_bytes(content)
            with expect_run_error(resume):
                fit_small(*pair, run, settings=EVERY_STEP, resume=True)

    def test_a_damaged_result_of_a_finished_run_is_an_error(self, pair: Stores, tmp_path: Path) -> None:
        fit_small(*pair, tmp_path / "run", steps=1)
        (tmp_path / "run" / "result.json").write_text("{")
        with expect_run_error(tmp_path / "run" / "result.json"):
            fit_small(*pair, tmp_path / "run", steps=1, resume=True)
