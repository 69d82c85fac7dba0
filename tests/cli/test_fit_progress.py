"""Progress of a training on standard error."""

import io
import logging
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from emodna.cli import common, options
from emodna.cli.fit_progress import FitDisplay, print_warnings, show_progress

TERMS = {"emotion": 0.7, "total": 1.5, "threshold": 0.51, "confident": 0.8}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestPace:
    def test_pace_has_rates_and_remaining_time(self) -> None:
        clock = Clock()
        display = FitDisplay(100, 128, clock)
        assert display.format_pace() == ["elapsed 0:00"]
        display.on_start(0)
        clock.now += 5
        display.on_log(20, {})
        assert display.format_pace() == ["4.0 steps/s", "512 utterances/s", "ETA 0:20", "elapsed 0:05"]
        clock.now += 3
        assert display.format_pace()[2:] == ["ETA 0:17", "elapsed 0:08"]

    def test_pace_of_a_resumed_run_counts_this_session_only(self) -> None:
        clock = Clock()
        display = FitDisplay(1000, 2, clock)
        display.on_start(900)
        assert display.format_pace() == ["elapsed 0:00"]  # no division by zero
        clock.now += 10
        display.on_log(910, {})
        assert display.format_pace() == ["1.0 steps/s", "2.0 utterances/s", "ETA 1:30", "elapsed 0:10"]


Training = Callable[..., str]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Training:
    """Return a function that returns the progress of a short training as text."""

    def show(title: str = "a -> b", *, done: int = 0, quiet: bool = False, **console: object) -> str:
        file = io.StringIO()
        monkeypatch.setattr(common, "err", Console(file=file, highlight=False, emoji=False, **console))  # type: ignore[arg-type]
        options.set_verbosity(verbose=False, quiet=quiet)
        with show_progress(title, 100, utterances=16) as display:
            display.on_start(done)
            for step in range(done + 1, 101):
                display.on_log(step, {**TERMS, "odd[red]\x1b[2J": 1e6})
        assert capsys.readouterr() == ("", "")
        return file.getvalue()

    return show


def test_lines_are_printed_at_intervals_without_a_terminal(train: Training) -> None:
    lines = train(width=300).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"step {step}/100" for step in (*range(1, 101, 10), 100)]
    assert "emotion 0.700  total 1.500  threshold 0.510  confident 0.800" in lines[0]
    assert re.search(r"steps/s, .* utterances/s, ETA 0:00, elapsed 0:00\)$", lines[-1])


def test_quiet_prints_nothing(train: Training) -> None:
    assert train(done=70, quiet=True) == ""
    assert train(done=70, quiet=True, force_terminal=True) == ""


def test_warnings_of_the_training_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    options.set_verbosity(verbose=False, quiet=False)
    with print_warnings():
        logging.getLogger("emodna.model.fit").warning("a source contains the target")
    assert "warning: a source contains the target" in capsys.readouterr().err


@pytest.mark.parametrize("width", [40, 80])
def test_display_fits_on_a_terminal(width: int, train: Training) -> None:
    output = train("ravdess -> emodb, arousal, " + 5 * "emo-dna ", force_terminal=True, width=width, done=40)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)
    assert max(map(len, plain.splitlines())) <= width
    parts = ("resuming from step 40", "100/100", "steps/s", "utterances/s", "ETA 0:00", "elapsed", "confident 0.800 ▁")
    assert [part for part in parts if part not in plain] == []


@pytest.mark.parametrize("terminal", [True, False])
def test_names_from_outside_are_escaped(terminal: bool, train: Training) -> None:
    output = train("x[red]\x1b[2J -> b", force_terminal=terminal, width=80)
    assert "\x1b[2J" not in output
    assert "odd[red]\\x1b[2J 1e+06" in output
    assert ("x[red]\\x1b[2J -> b" in output) is terminal
