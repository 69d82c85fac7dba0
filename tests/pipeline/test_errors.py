"""Reasons for which a recording cannot be used: the same in the list of rejected files and beside predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.pipeline.errors import UNUSABLE, AudioError, rejection


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("too short"), "too short"),
        (FileNotFoundError(2, "No such file or directory", "a.wav"), "cannot be read: No such file or directory"),
        (OSError("without a number"), "cannot be read: without a number"),
        (ValueError("embedded null byte"), "cannot be read: embedded null byte"),
    ],
)
def test_each_error_has_its_reason(error: AudioError | OSError | ValueError, reason: str) -> None:
    assert isinstance(error, UNUSABLE)
    assert rejection(error) == reason


def test_a_path_that_no_file_can_have_has_one(tmp_path: Path) -> None:
    with pytest.raises(UNUSABLE) as refused:
        (tmp_path / "a\0b").open()
    assert rejection(refused.value) == "cannot be read: embedded null byte"
