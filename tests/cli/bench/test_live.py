"""Tests of the progress display of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from emodna.cli import common, options
from emodna.cli.bench.execution import BenchDisplay, print_skipped_runs
from emodna.model.bench.method_spec import MethodInfo
from emodna.model.bench.spec import Experiment
from emodna.model.bench.worker import RunReply
from tests.model.bench.builders import write_experiment

METHODS = ("dan", "dann")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "err", Console(stderr=True, highlight=False, soft_wrap=True))
    options.set_verbosity(verbose=False, quiet=False)  # another test may have been quiet


def make_experiment(out: Path) -> Experiment:
    experiment = write_experiment(out, METHODS, corpora=("casia", "emodb", "emovo"), seeds=1)
    infos = {spec: MethodInfo(f"[red]{spec}[/red]", False, "source") for spec in experiment.methods}
    return Experiment(out, experiment.conditions, experiment.corpora, infos, experiment.runs)


def render(display: BenchDisplay, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(display)
    return captured.get().rstrip("\n").split("\n")


def test_live_display_shows_progress_and_steps_of_running_runs(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    display = BenchDisplay(experiment, dict.fromkeys(experiment.runs, "waiting"))
    for run in experiment.runs[:6]:
        display.on_run_start(run)
    first = experiment.run_folder(experiment.runs[0])
    first.path.mkdir(parents=True)
    first.metrics.write_text('{"step": 40}\n{"step": 60}\n{"st')
    display.on_run_end(experiment.runs[5], RunReply("failed", error="no memory"))
    lines = render(display)
    assert lines[0].startswith("1/24 runs  1 failed  elapsed 0:00")
    assert lines[2:] == [
        "    60/1000  casia -> emodb, arousal, dan, seed 0",
        *(f"     0/1000  {run}" for run in experiment.runs[1:4]),
    ]
    assert max(map(len, lines)) <= 80


def test_remaining_time_is_estimated_from_similar_runs(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    display = BenchDisplay(experiment, dict.fromkeys(experiment.runs, "waiting"))
    display.workers = 2
    assert display.seconds_left is None
    for name, seconds in zip(METHODS, (30.0, 10.0), strict=True):
        run = next(run for run in experiment.runs if run.method.name == name)
        display.on_run_start(run)
        display.on_run_end(run, RunReply("done", seconds=seconds))
    # Left are 5 runs of each method in arousal, and 6 in valence, which get the mean of the known durations.
    assert display.seconds_left == pytest.approx((5 * 30 + 5 * 10 + 12 * 20) / 2)


def test_each_finished_run_prints_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    display = BenchDisplay(experiment, dict.fromkeys(experiment.runs[:4], "waiting"))
    with display.show():  # no terminal, so no display
        display.on_run_end(experiment.runs[0], RunReply("done", {"uar": 62.55}, seconds=31.2))
        display.on_run_end(experiment.runs[1], RunReply("failed", error="[bold]no\x1b[31m"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "1/4 casia -> emodb, arousal, [red]dan[/red], seed 0: UAR 62.5 (31 s, ETA 1:34)"
    assert second == "2/4 casia -> emovo, arousal, [red]dan[/red], seed 0: failed: [bold]no\\x1b[31m"


def test_skipped_runs_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = write_experiment(tmp_path, ["dan", "dan:steps=1000", "dan:steps=30"], corpora=("casia", "emodb"))
    first, second, *unfinished = experiment.runs
    print_skipped_runs(BenchDisplay(experiment, {first: "done"}), unfinished)
    assert capsys.readouterr().err == "1 run already done\nown number of steps: dan:steps=30\n"
    print_skipped_runs(BenchDisplay(experiment, {first: "done", second: "done"}), [first])
    assert capsys.readouterr().err == "2 runs already done\n"
