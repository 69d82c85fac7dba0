"""Two runs that went on in the same folder wrote each line of the log twice, and over each other's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.model.errors import RunError
from emodna.model.run_folder import RunFolder

CONFIG = {"decisive": {"seed": 0}}


def test_the_second_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with (
        run.claimed(CONFIG, resume=True),
        pytest.raises(RunError, match="another run is at work in it"),
        RunFolder(tmp_path / "run").claimed(CONFIG, resume=True),
    ):
        pass
    with run.claimed(CONFIG, resume=True):
        pass


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(RunError), RunFolder(tmp_path).claimed(CONFIG, resume=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
