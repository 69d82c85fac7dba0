"""emodna-fit: text, JSON, settings and errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emodna.cli import fit as fit_command
from emodna.cli.fit_progress import FitDisplay
from emodna.model.evaluation.criteria import CRITERIA
from emodna.model.methods import METHODS
from emodna.model.request import FitPlan
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.tasks import AROUSAL, VALENCE, Task, make_emotion_task, read_task
from tests.model.small import CommandResult, assert_one_line_error, run_command

SMALL = ("batch_size=8", "frames=32", "channels=8", "log_every=1")
SCORES = ["war", "f1", "uar", "macro_f1"]
REQUEST_KEYS = ["src", "tgt", "task", "method", "seed", "steps", "task_hash", "classes", "supervision", "label"]
REQUEST_KEYS += ["exposure", "network", "normalisation", "class_weights", "select", "selected_step"]
TIMES = ["wall_seconds", "steps_per_second", "blocked_seconds"]
EVALUATION = ["constant", "intervals", "confusion", "recalls", "left_out"]
KEYS = [*REQUEST_KEYS, "utterances", "excluded", "scored", *SCORES, *EVALUATION, *TIMES, "run"]


def fit(*arguments: object) -> CommandResult:
    return run_command(fit_command.main, *arguments)


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture
def short_run(cache: Path, tmp_path: Path) -> list[object]:
    """Return the options of a short run into `tmp_path / "run"`."""
    options = ["--src", "ravdess", "--tgt", "emodb", "--cache", cache, "--out", tmp_path / "run"]
    (tmp_path / "small.toml").write_text("\n".join(["[set]", *SMALL]))
    return [*options, "--threads", 1, "--steps", 2, "--config", tmp_path / "small.toml"]


@pytest.fixture
def decisive(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that resolves options to the content of config.json, without training."""
    plans: list[FitPlan] = []

    def keep(plan: FitPlan, *_: object) -> None:
        plans.append(plan)
        raise EmodnaError("enough")

    def resolve(*arguments: object) -> dict[str, Any]:
        assert_one_line_error(fit(*arguments), "enough")
        return plans[-1].config["decisive"]

    monkeypatch.setattr("emodna.model.fit.execute_plan", keep)
    return resolve


def assert_usage_error(answer: CommandResult, *expected: str) -> None:
    assert (answer.code, answer.out) == (2, "")
    assert "Usage:" in answer.err
    assert "Traceback" not in answer.err
    assert [each for each in expected if each not in answer.err] == []


class TestJson:
    def test_json_has_exactly_the_documented_keys(self, short_run: list[object], tmp_path: Path) -> None:
        answer = fit(*short_run, "--json", "--quiet", "--seed", 5, "--task", "valence")
        assert (answer.code, answer.err) == (0, "")
        result = json.loads(answer.out)
        assert list(result) == KEYS
        expected = [
            "ravdess",
            "emodb",
            "valence",
            "emo-dna",
            5,
            2,
            VALENCE.hash,
            ["negative", "positive"],
            "source",
            "emo-dna (channels=8, steps=2, batch_size=8, frames=32)",
            {"ravdess": "no", "emodb": "no"},
            "paper",
            "source",
            "none",
            "last",
            2,
        ]
        assert [result[key] for key in REQUEST_KEYS] == expected
        assert list(result["constant"]) == ["always_negative", "always_positive", "majority", "prior_proportional"]
        assert all(list(constant) == SCORES for constant in result["constant"].values())
        assert all(0 <= result[key] <= 100 for key in SCORES)
        assert result["run"] == str(tmp_path / "run")
        assert result == json.loads((tmp_path / "run" / "result.json").read_text())

    def test_json_of_a_resumed_finished_run_is_the_same(self, short_run: list[object]) -> None:
        first = fit(*short_run, "--json")
        assert json.loads(fit(*short_run, "--json", "--resume").out) == json.loads(first.out)


class TestText:
    def test_text_shows_the_method_and_constant_predictors(self, short_run: list[object], tmp_path: Path) -> None:
        answer = fit(*short_run)
        assert answer.code == 0
        for word in ("emo-dna", "always high", "always low", "majority", "UAR", "WAR", "F1", "macro-F1"):
            assert word in answer.out
        assert "ravdess -> emodb, arousal, 2 steps, seed 0" in answer.out
        assert "selected by" not in answer.out
        assert str(tmp_path / "run") in answer.out

    def test_settings_that_are_not_those_of_the_paper_are_shown(self, cache: Path, tmp_path: Path) -> None:
        pair = ["--src", "ravdess", "--tgt", "emodb", "--cache", cache, "--task", "valence"]
        answer = fit(*pair, "--method", "svm", "--set", "normalisation=per-corpus", "--out", tmp_path / "run")
        assert "normalisation=per-corpus, class_weights=none" in answer.out.splitlines()
        assert "ravdess -> emodb, valence, fitted at once, seed 0" in answer.out
        assert ("always positive" in answer.out, "always high" in answer.out) == (True, False)
        assert "fitted at once: " in answer.err
        assert "/s" not in answer.err
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert (result["network"], result["normalisation"], result["class_weights"]) == (None, "per-corpus", "none")
        unused = json.loads((tmp_path / "run" / "config.json").read_text())["unused_settings"]
        assert {"frames", "padding", "tcn_blocks", "learning_rate"} <= set(unused)

    def test_methods_are_listed_in_80_columns(self) -> None:
        answer = fit("--list-methods")
        assert answer.code == 0
        assert max(map(len, answer.out.splitlines())) <= 80
        text = " ".join(answer.out.split())
        for name, method in METHODS.items():
            marks = " (our reading)" * method.our_reading + " (oracle)" * (name == "upper-bound")
            added = " [scl]" * hasattr(method.defaults, "add") + " [network]" * hasattr(method.defaults, "network")
            assert f"{name} {method.summary}{marks}{added} {method.reference}" in text
        assert all(f"\n{name} " in f"\n{answer.out}" for name in METHODS)
        assert [each["method"] for each in json.loads(fit("--list-methods", "--json").out)] == list(METHODS)


class TestSelection:
    def test_text_names_the_criterion_and_the_step(self, short_run: list[object], tmp_path: Path) -> None:
        answer = fit(*short_run, "--select", "pseudo-label-agreement")
        assert answer.code == 0
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert f"selected by pseudo-label-agreement: step {result['selected_step']} of 2" in answer.out
        assert "oracle" not in answer.out

    def test_oracle_is_marked_on_every_line_and_has_its_own_key(self, short_run: list[object], tmp_path: Path) -> None:
        result = json.loads(fit(*short_run, "--oracle-analysis", "--json").out)
        assert list(result) == [*KEYS, "oracle"]
        assert result.pop("oracle")["best_step"] in (1, 2)
        assert result == json.loads((tmp_path / "run" / "result.json").read_text())
        *_, heading, best, last = fit(*short_run, "--oracle-analysis", "--resume").out.splitlines()
        assert all(line.startswith("oracle") for line in (heading, best, last))
        assert "UAR" in best


def test_help_and_usage_errors_import_no_heavy_libraries() -> None:
    script = """
import sys
from emodna.cli import corpora, eval, fit, predict, prep
from emodna.cli.cache import command as cache
from emodna.cli.runs import command as runs
helps = [(command.main, ["--help"]) for command in (cache, corpora, eval, fit, predict, prep, runs)]
for main, arguments in (*helps, (fit.main, ["--steps", "0"]), (eval.main, ["run"])):
    sys.argv = ["emodna", *arguments]
    try:
        main()
    except SystemExit:
        pass
heavy = {"torch", "librosa", "dask", "sklearn", "matplotlib", "pyarrow", "h5py", "requests", "pooch", "scipy"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--tgt", "calls"], ["calls: not prepared", "emodna-prep --manifest TABLE --name calls --cache"]),
            (["--tgt", "[red]x\x1b[2J"], ["[red]x\\x1b[2J: not prepared"]),
            (["--src", "ravdess"], ["--src ravdess", "given twice"]),
            (["--tgt", "ravdess"], ["--tgt ravdess", "same corpus as --src"]),
            (["--method", "emodna"], ["--method emodna", *METHODS]),
            (["--set", "batchsize=8"], ["--set batchsize: unknown; did you mean batch_size?\n"]),
            (["--set", "steps=5"], ["--set steps: not a setting; use --steps"]),
            (["--method", "dann:add=scl"], ["--method dann:add=scl: a method spec", "--add", "--set"]),
            (["--method", "source-only", "--set", "scl_weight=1"], ["--set scl_weight", "tcn_blocks"]),
            (["--set", "batch_size=1"], ["--set batch_size=1", "at least 2"]),
            (["--add", "scl"], ["--add scl: not valid for method emo-dna", "dann, dan, jan, cdan, cdan+e, bsp, mdd"]),
            (["--method", "dan", "--add", "scl", "--set", "add=none"], ["--add scl: conflicts with --set add=none"]),
            (["--method", "dan", "--set", "scl_weight=0.5"], ["--set scl_weight=0.5: has no effect", "--add scl"]),
            (["--set", "threshold=0.9"], ["--set threshold=0.9", "adaptive, fixed:P (P from 0 to 1), none"]),
            (["--method", "dann", "--set", "discriminator_hidden=1000000000000"], ["must be from 1 to 1048576"]),
            (["--method", "caam", "--set", "frames=30"], ["--set frames=30: must be at least 38"]),
            (["--select", "snd", "--set", "snapshot_every=0"], ["--set snapshot_every=0", "at least 1"]),
            (["--device", "warp"], ["--device warp", "cpu"]),
            (["--device", "cuda:99"], ["--device cuda:99", "cpu"]),
            (["--feature-set", "mfcc13"], ["mfcc13", "mfcc40", "--feature-set"]),
            (["--classes", "angry,exited"], ["--classes exited: unknown emotion", "emobox4"]),
            (["--classes", "joy,happiness"], ["--classes joy,happiness: must name at least two emotions"]),
            (["--classes", "emobox4,boredom"], ["--src ravdess: no labels of emotion boredom"]),
            (["--task-file", "/absent.toml"], ["/absent.toml: cannot be read: No such file"]),
            (["--cache", "/nowhere/at/all"], ["ravdess: not prepared in /nowhere/at/all"]),
        ],
        ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
    )
    def test_errors_are_one_line_with_valid_values(
        self, arguments: list[str], expected: list[str], short_run: list[object], tmp_path: Path
    ) -> None:
        assert_one_line_error(fit(*short_run, *arguments), *expected)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--steps", "-5"], ["--steps", "-5"]),
            (["--seed", "-1"], ["--seed"]),
            (["--task", "dominance"], ["--task", "arousal", "valence", "emotion"]),
            (
                ["--task", "valence", "--classes", "emobox4"],
                ["--classes is for --task emotion, not for --task valence"],
            ),
            (["--set", "batch_size"], ["--set", "key=value"]),
            (["--set", "batch_size=4", "--set", "batch_size=8"], ["--set", "batch_size has two values, 4 and 8"]),
            (["--select", "best"], ["--select", "best", *CRITERIA]),
            (["--colour", "blue"], ["--colour"]),
        ],
        ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
    )
    def test_usage_errors_exit_with_2(self, arguments: list[str], expected: list[str], short_run: list[object]) -> None:
        assert_usage_error(fit(*short_run, *arguments), *expected)

    def test_folder_that_is_not_empty_is_refused(self, short_run: list[object], tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").write_text("irreplaceable")
        assert_one_line_error(fit(*short_run), f"--out {tmp_path / 'run'}", "contains other files")
        assert_one_line_error(fit(*short_run, "--resume"), f"--out {tmp_path / 'run'}", "contains other files")
        answer = fit(*short_run, "--out", tmp_path / "run" / "thesis.tex" / "run")
        assert_one_line_error(answer, "cannot be made")
        assert "--resume" not in answer.err

    def test_folder_of_another_run_is_refused(self, short_run: list[object], tmp_path: Path) -> None:
        assert fit(*short_run).code == 0
        assert_one_line_error(fit(*short_run), "contains a finished run; choose another --out")
        (tmp_path / "run" / "done").unlink()
        assert_one_line_error(fit(*short_run), "contains an unfinished run; set --resume")

    def test_resume_with_another_setting_names_it(self, short_run: list[object]) -> None:
        assert fit(*short_run).code == 0
        assert_one_line_error(fit(*short_run, "--resume", "--seed", 7), "--out", "seed 0, now 7")


@pytest.mark.parametrize(("corpus", "pattern"), [("ravdess", "*.h5"), ("emodb", "*.h5"), ("emodb", "store.json")])
def test_damaged_stores_are_named(
    pattern: str, corpus: str, cache: Path, tmp_path: Path, short_run: list[object]
) -> None:
    own_cache = shutil.copytree(cache, tmp_path / "cache")
    (file,) = (own_cache / corpus).glob(f"*/{pattern}")
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(
        content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 64]) + content[middle + 64 :]
    )
    # Enough steps to read every utterance.
    answer = fit(*short_run, "-q", "--method", "source-only", "--cache", own_cache, *settings("batch_size=32"))
    assert_one_line_error(answer, str(file), "damaged", "emodna-prep")


class TestThreads:
    def test_default_is_one_thread_and_a_resumed_run_keeps_its_number(
        self, cache: Path, tmp_path: Path, decisive: Callable[..., dict[str, Any]]
    ) -> None:
        options = ["--src", "ravdess", "--tgt", "emodb", "--cache", cache, "--out", tmp_path / "run", "--resume"]
        assert decisive(*options)["threads"] == 1
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.json").write_text('{"decisive": {"threads": 2}}')
        assert decisive(*options)["threads"] == 2
        assert decisive(*options, "--threads", 1)["threads"] == 1

    @pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
    def test_waiting_threads_sleep_unless_the_environment_says_otherwise(
        self, before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
        if before is None:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        assert fit().code == 2
        assert os.environ["OMP_WAIT_POLICY"] == after


class TestTasks:
    """A task by name, by its emotions, or by a file."""

    MINE = Task("calmness", ("upset", "calm"), (("anger", "fear"), ("calm",)))
    SHARED = make_emotion_task(["anger", "disgust", "fear", "happiness", "neutral", "sadness"])

    @pytest.fixture
    def toml(self, tmp_path: Path) -> Path:
        file = tmp_path / "calmness.toml"
        file.write_text('name = "calmness"\n[classes]\nupset = ["angry", "fear"]\ncalm = "calm"\n')
        return file

    @pytest.mark.parametrize(
        ("config", "arguments", "task"),
        [
            ("", [], AROUSAL),
            ("", ["--task", "emotion"], SHARED),
            ("", ["--task", "emotion", "--classes", "sad, anger"], make_emotion_task(["anger", "sadness"])),
            ("", ["--classes", "emobox4"], make_emotion_task(["emobox4"])),
            ("", ["--task-file", "calmness.toml"], MINE),
            ('task-file = "calmness.toml"', [], MINE),
            ('task-file = "calmness.toml"', ["--task", "valence"], VALENCE),
            ('task = "valence"\nclasses = "emobox4"', ["--task-file", "calmness.toml"], MINE),
            ('task = "valence"', ["--classes", "emobox4"], make_emotion_task(["emobox4"])),
            ('classes = "emobox4"', ["--task", "emotion"], make_emotion_task(["emobox4"])),
            ('classes = "emobox4"', ["--task", "arousal"], AROUSAL),
        ],
    )
    def test_the_command_line_has_precedence_and_classes_are_those_of_emotions(
        self,
        config: str,
        arguments: list[str],
        task: Task,
        short_run: list[object],
        toml: Path,
        decisive: Callable[..., dict[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(toml.parent)
        (toml.parent / "small.toml").write_text("\n".join([config, "[set]", *SMALL]))
        assert read_task(decisive(*short_run, "--method", "source-only", *arguments)) == task

    @pytest.mark.parametrize("other", [["--task", "emotion"], ["--classes", "emobox4"]])
    def test_a_file_excludes_a_name_and_classes(self, other: list[str], short_run: list[object], toml: Path) -> None:
        assert_usage_error(fit(*short_run, "--task-file", toml, *other), f"leave {other[0]} out")


class TestPrecedence:
    """Options override the environment, which overrides TOML files, which override defaults."""

    @pytest.fixture
    def toml(self, tmp_path: Path) -> Path:
        file = tmp_path / "experiment.toml"
        file.write_text(
            'method = "source-only"\nsteps = 3\ntask = "valence"\nseed = 11\n'
            "[set]\nbatch_size = 4\nlearning_rate = 0.01\npadding = 'mask'\n"
        )
        return file

    @pytest.fixture
    def plain(self, cache: Path, tmp_path: Path, toml: Path) -> list[object]:
        options = ["--src", "ravdess", "--tgt", "emodb", "--cache", cache, "--out", tmp_path / "run", "--threads", 1]
        return [*options, "--config", toml]

    def test_file_overrides_the_defaults(self, plain: list[object], decisive: Callable[..., dict[str, Any]]) -> None:
        found = decisive(*plain)
        assert [found[key] for key in ("method", "steps", "task", "seed")] == ["source-only", 3, "valence", 11]
        assert [found["train"][key] for key in ("batch_size", "learning_rate", "padding")] == [4, 0.01, "mask"]
        assert found["train"]["frames"] == 188

    def test_environment_overrides_the_file_and_options_override_both(
        self, plain: list[object], decisive: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EMODNA_FIT_STEPS", "2")
        assert [decisive(*plain)[key] for key in ("steps", "seed")] == [2, 11]
        found = decisive(*plain, "--steps", 1, "--task", "arousal")
        assert [found[key] for key in ("steps", "task")] == [1, "arousal"]

    def test_set_overrides_the_file_key_by_key(
        self, plain: list[object], decisive: Callable[..., dict[str, Any]]
    ) -> None:
        train = decisive(*plain, *settings("batch_size=6"))["train"]
        assert [train[key] for key in ("batch_size", "padding")] == [6, "mask"]

    def test_file_may_have_values_of_every_type(
        self, plain: list[object], toml: Path, decisive: Callable[..., dict[str, Any]]
    ) -> None:
        toml.write_text("steps = 1\n[set]\ndeterministic = true\nframes = 32\nweight_decay = 0\nepsilon = 1e-6\n")
        train = decisive(*plain)["train"]
        assert [train[key] for key in ("deterministic", "frames", "weight_decay", "epsilon")] == [True, 32, 0.0, 1e-6]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("step = 3", ["unknown key step", "steps", "feature-set"]),
            ("[set]\nbatchsize = 3", ["--set batchsize", "batch_size"]),
            ("[set]\nbatch_size = 'many'", ["--set batch_size", "whole number"]),
            ('steps = "many"', ['steps = "many": must be a whole number']),
            ("src = 5", ["src = 5: must be text or a list of texts"]),
        ],
    )
    def test_errors_in_the_file_are_one_line(
        self, content: str, expected: list[str], plain: list[object], toml: Path
    ) -> None:
        toml.write_bytes(content.encode("latin-1"))
        assert_one_line_error(fit(*plain), *expected)


def test_ctrl_c_exits_with_130_and_the_run_can_be_resumed(
    short_run: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads(fit(*short_run, "--json").out)
    options = [*short_run, "--out", Path(whole["run"]).parent / "stopped"]
    with monkeypatch.context() as patch:
        patch.setattr(FitDisplay, "on_log", lambda *_: signal.raise_signal(signal.SIGINT))
        answer = fit(*options)
    assert (answer.code, answer.out) == (130, "")
    assert "--resume" in answer.err.splitlines()[-1]
    resumed = json.loads(fit(*options, "--resume", "--json").out)
    assert [resumed[key] for key in SCORES] == [whole[key] for key in SCORES]


def test_missing_corpora_are_a_usage_error() -> None:
    assert_usage_error(fit(), "Missing option '--src'")
    assert_usage_error(fit("--src", "ravdess"), "Missing option '--tgt'")
