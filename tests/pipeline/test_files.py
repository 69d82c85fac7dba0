"""Writing files: what is said where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from emodna.pipeline.files import write_atomically


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    wanted = tmp_path / "gone" / "table.md"
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(wanted, b"")
    assert raised.value.filename == str(wanted)
