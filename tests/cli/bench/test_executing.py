"""What is said before cells are run."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from emodna.cli import common
from emodna.cli.bench.execution import tell_of_own_steps, tell_of_skipped
from emodna.model.bench.results import Outcome
from tests.model.bench.made import planned


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "err", Console(stderr=True, highlight=False, soft_wrap=True))
    common.set_verbosity(verbose=False, quiet=False)  # another test may have been quiet


def test_rows_with_other_steps_than_the_rest_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = planned(tmp_path, ["dan", "dan:steps=1000", "dan:steps=30"], corpora=("casia", "emodb"))
    tell_of_own_steps(bench, bench.runs)
    assert capsys.readouterr().err == "dan:steps=30 has steps of its own\n"
    tell_of_own_steps(bench, [cell for cell in bench.runs if not cell.method.settings])
    assert capsys.readouterr().err == ""


def test_one_is_not_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = planned(tmp_path, ["dan"], corpora=("casia", "emodb"))
    done = [Outcome(cell, "done", {}) for cell in bench.runs[:2]]
    tell_of_skipped(bench, done[:1], [], [])
    tell_of_skipped(bench, done, [], [])
    assert capsys.readouterr().err == "1 cell is done already\n2 cells are done already\n"
