"""What has become of cells whose files are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emodna.model.bench.outcomes import outcome, wall_seconds
from tests.model.bench.made import finish, planned


def test_a_result_that_lacks_a_score_is_a_failed_cell(tmp_path: Path) -> None:
    bench = planned(tmp_path, ["dan"], corpora=("casia", "emodb"), seeds=1)
    finish(bench, lambda cell: None if cell.src == "casia" else 50.0)
    assert {outcome(bench, cell).state for cell in bench.cells} == {"done"}
    result = bench.folder(bench.cells[0]).result
    result.write_text(json.dumps({"uar": 50.0, "war": 50.0, "f1": 50.0}))
    found = outcome(bench, bench.cells[0])
    assert (found.state, found.error) == ("failed", f"{result}: damaged (no macro_f1)")


@pytest.mark.parametrize(
    ("result", "seconds"),
    [(None, None), ({}, None), ({"wall_seconds": "5"}, None), ({"wall_seconds": True}, None), ({"wall_seconds": 5}, 5)],
)
def test_seconds_that_are_no_number_are_not_known(result: dict[str, object] | None, seconds: float | None) -> None:
    assert wall_seconds(result) == seconds
