"""Where a corpus is looked for."""

from pathlib import Path

import pytest

from emodna.pipeline.archives import data_root, default_root


def test_below_data_unless_the_environment_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_root("emodb") == Path("data/emodb")
    for unset in ("", str(tmp_path)):
        monkeypatch.setenv("EMODNA_DATA", unset)
        assert data_root() == Path(unset or "data")
        assert default_root("emodb") == data_root() / "emodb"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tgz"])
def test_an_archive_stands_in_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setenv("EMODNA_DATA", str(tmp_path))
    archive = tmp_path / f"emodb{suffix}"
    archive.mkdir()  # a folder of such a name is none
    assert default_root("emodb") == tmp_path / "emodb"
    archive.rmdir()
    archive.write_bytes(b"")
    assert default_root("emodb") == archive
    (tmp_path / "emodb").mkdir()  # but a folder comes first
    assert default_root("emodb") == tmp_path / "emodb"
