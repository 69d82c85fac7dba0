"""Packages of CONTRIBUTING.md, a corpus, a feature set and a method, work as printed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emodna.cli import corpora, fit, predict, prep
from emodna.cli.cache import command as cache_command
from emodna.model.methods.alignment import DomainPair
from tests.cli.running import run_script
from tests.model.small import SETTINGS, assert_one_line_error, read_log, run_command
from tests.pipeline.making import noise, wav
from tests.plugins import install_plugin

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FILES = ("f01-anger-01.wav", "f01-joy-01.wav", "m02-grief-01.wav", "m02-plain-02.wav")


@pytest.fixture(autouse=True)
def _use_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder whose `installed` is on the module path; forget the packages' modules after a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    yield
    for name in ("emodna_bands", "emodna_coral", "emodna_studio"):
        sys.modules.pop(name, None)


def install_printed(kind: str, name: str) -> Path:
    """Install the printed package that adds corpora, features or methods; return the folder on the module path."""
    folder, module, group = Path("installed").absolute(), f"emodna_{name}", f"emodna.{kind}"
    (entries,) = re.findall(rf"(\[project\.entry-points\.\"{group}\"\]\n[^\n]+)", CONTRIBUTING.read_text())
    entry_points = tomllib.loads(entries)["project"]["entry-points"][group]
    modules = {module: read_printed(f"{module}.py")}
    return install_plugin(folder, entry_points, group=group, distribution=f"emodna-{name}", **modules)


def read_printed(name: str) -> str:
    """Return the text of a printed file."""
    text = re.search(rf"`{re.escape(name)}`:\n```\w+\n(.*?)```\n", CONTRIBUTING.read_text(), re.DOTALL)
    assert text is not None
    return text[1]


def use_corpus(run: Callable[..., Any], home: Path) -> None:
    """List, prepare and show the corpus. `run` returns the JSON of a command."""
    for name in FILES:
        (home / "data" / "studio").mkdir(parents=True, exist_ok=True)
        (home / "data" / "studio" / name).write_bytes(wav(noise(seed=name)))
    (before,) = [row for row in run("emodna-corpora", "--json") if row["corpus"] == "studio"]
    assert (before["found"], before["next"]) == (True, "emodna-prep --corpus studio")
    (report,) = run("emodna-prep", "--corpus", "studio", "--json")
    assert (report["utterances"], report["rejected"]) == (len(FILES), 0)
    corpus = run("emodna-corpora", "show", "studio", "--json")
    assert [store["utterances"] for store in corpus["stores"]] == [len(FILES)]
    assert corpus["obtain"] == "On the shelf of room 12."


def run_json(main: Callable[[], None], *words: object) -> Any:
    """Run a command in this process and return its JSON."""
    result = run_command(main, *words)
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_corpus_of_another_package_works_like_a_built_in_one(tmp_path: Path) -> None:
    install_printed("corpora", "studio")
    commands = {"emodna-corpora": corpora.main, "emodna-prep": prep.main}
    use_corpus(lambda name, *words: run_json(commands[name], *words), tmp_path)


@pytest.mark.slow
def test_pip_installs_the_corpus_package(tmp_path: Path) -> None:
    package, target = tmp_path / "package", tmp_path / "installed"
    package.mkdir()
    for name in ("pyproject.toml", "emodna_studio.py"):
        (package / name).write_text(read_printed(name))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(package)], check=True, timeout=300)
    environment = os.environ | {"PYTHONPATH": str(target)}
    use_corpus(lambda name, *words: run_script(name, *words, cwd=tmp_path, env=environment).json, tmp_path)


def test_features_of_another_package_work_like_built_in_ones(ravdess_root: Path, emodb_root: Path) -> None:
    installed = install_printed("features", "bands")
    assert "bands" in run_command(prep.main, "--help").out
    for corpus, root in (("ravdess", ravdess_root), ("emodb", emodb_root)):
        run_json(prep.main, "--corpus", corpus, "--root", root, "--feature-set", "bands", "--json")
    options = ["--src", "ravdess", "--tgt", "emodb", "--feature-set", "bands", "--method", "source-only"]
    run_json(fit.main, *options, "--steps", 2, "--threads", 1, "--out", "run", "--json")
    assert json.loads(Path("run/config.json").read_text())["versions"]["emodna-bands"] == "1.0"
    store = run_json(cache_command.main, "show", "emodb/bands", "--json")
    assert store["libraries"]["emodna-bands"] == "1.0"
    audio = next(emodb_root.rglob("*.wav"))
    (prediction,) = run_json(predict.main, "run", audio, "--json")
    assert 0 < prediction["probability"] < 1

    (installed / "emodna_bands-1.0.dist-info" / "entry_points.txt").unlink()
    stats = run_command(cache_command.main, "stats", "emodb/bands")
    for failed in (run_command(predict.main, "run", audio), run_command(fit.main, *options), stats):
        assert_one_line_error(failed, "bands", "emodna.features")


def test_method_of_another_package_works_like_a_built_in_one(cache: Path, emodb_root: Path, tmp_path: Path) -> None:
    install_printed("methods", "coral")
    method = run_json(fit.main, "--list-methods", "--json")[-1]
    assert [method[key] for key in ("method", "add", "package")] == ["coral", ["scl"], {"emodna-coral": "1.0"}]
    options = [
        "--src",
        "ravdess",
        "--tgt",
        "emodb",
        "--cache",
        cache,
        "--method",
        "coral",
        "--steps",
        3,
        "--threads",
        1,
    ]
    small = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    for run, more in (("plain", []), ("scl", ["--add", "scl"]), ("floor", ["--set", "coral_weight=0"])):
        run_json(fit.main, *options, *small, *more, "--out", tmp_path / run, "--json")
    first, last = (read_log(tmp_path / "plain")[at]["coral"] for at in (0, -1))
    assert 0 < first != last
    assert read_log(tmp_path / "scl")[0]["scl"] > 0
    (prediction,) = run_json(predict.main, tmp_path / "plain", next(emodb_root.rglob("*.wav")), "--json")
    assert 0 < prediction["probability"] < 1


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_coral_equals_its_equation(shift: float) -> None:
    install_printed("methods", "coral")
    coral = importlib.import_module("emodna_coral").Coral
    source, target = (np.random.default_rng(seed).normal(seed * shift, 1 + seed, (9, 8)) for seed in (0, 1))
    expected = np.square(np.cov(source.T) - np.cov(target.T)).sum() / (4 * 8**2)
    features = DomainPair(torch.from_numpy(source), torch.from_numpy(target))
    method = coral(6, dataclasses.replace(coral.defaults, channels=8), 0, 4)
    found = method.transfer_losses(features, features, torch.tensor(0))
    torch.testing.assert_close(found["coral"].item(), expected)
