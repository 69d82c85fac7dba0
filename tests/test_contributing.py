"""The corpus package in CONTRIBUTING.md works as it is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.running import script
from tests.pipeline.making import noise, wav
from tests.plugging import plug

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FILES = ("f01-anger-01.wav", "f01-joy-01.wav", "m02-grief-01.wav", "m02-plain-02.wav")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The two files, as printed."""
    blocks = re.findall(r"`([\w.]+)`:\n```\w+\n(.*?)```\n", CONTRIBUTING.read_text(), re.DOTALL)
    folder = tmp_path / "package"
    folder.mkdir()
    for name, text in blocks:
        (folder / name).write_text(text)
    assert sorted(path.name for path in folder.iterdir()) == ["emodna_studio.py", "pyproject.toml"]
    return folder


def use(installed: Path, home: Path) -> None:
    """List, show and prepare the corpus as a user does."""
    for name in FILES:
        (home / "data" / "studio").mkdir(parents=True, exist_ok=True)
        (home / "data" / "studio" / name).write_bytes(wav(noise(seed=name)))
    environment = os.environ | {"PYTHONPATH": str(installed)}
    (before,) = [
        row for row in script("emodna-corpora", "--json", cwd=home, env=environment).json if row["corpus"] == "studio"
    ]
    assert (before["found"], before["next"]) == (True, "emodna-prep --corpus studio")
    ran = script("emodna-prep", "--corpus", "studio", "--json", cwd=home, env=environment)
    assert (ran.code, ran.err) == (0, "")
    assert (ran.json[0]["utterances"], ran.json[0]["rejected"]) == (len(FILES), 0)
    shown = script("emodna-corpora", "show", "studio", "--json", cwd=home, env=environment).json
    assert [store["utterances"] for store in shown["stores"]] == [len(FILES)]
    assert shown["obtain"] == "On the shelf of room 12."


def test_the_corpus_of_another_package_is_used_like_a_built_in_one(package: Path, tmp_path: Path) -> None:
    announced = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    text = (package / "emodna_studio.py").read_text()
    installed = plug(tmp_path / "installed", announced["emodna.corpora"], emodna_studio=text)
    use(installed, tmp_path / "home")


@pytest.mark.slow
def test_pip_installs_that_package(package: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    target = tmp_path / "installed"
    subprocess.run([*command, "--target", str(target), str(package)], check=True, timeout=300)
    use(target, tmp_path / "home")
