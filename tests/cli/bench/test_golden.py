"""The JSON that every command of emodna-bench prints is as it was frozen in golden/.

A golden file has the command, its exit code, what it printed and the files that it wrote, as `golden.normal` makes them
alike on all machines. Where something else is wanted, `python -m tests.cli.bench.golden`, from the top of the checkout,
writes all of them anew (`python -m tests.cli.bench.golden paper-table` those whose names have this in them); the
diff shows what has changed. Texts that are no JSON, such as a table in LaTeX, are frozen as they are.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import filelock
import pytest

from emodna.cli.bench import command as bench_command
from emodna.model.bench.spec import Experiment
from emodna.pipeline.store import FeatureStore
from tests.cli.bench.golden.folders import (
    HOSTILE,
    add_leftovers,
    make_own_folder,
    make_paper_folder,
    make_settings_folder,
)
from tests.cli.bench.golden.normal import differences, normal, written
from tests.cli.running import Command, CommandResult
from tests.model.bench.builders import make_run
from tests.model.small import run_command

GOLDEN = Path(__file__).with_name("golden")
#: Whether golden files are written, and not compared with.
WRITE = os.environ.get("GOLDEN") == "write"


#: Name of the golden file, which begins with the folder -> command.
CASES: Mapping[str, Sequence[str]] = {
    **{f"paper-table-{name}": ["table", name, "--json"] for name in "23456"},
    **{f"own-table-{name}": ["table", name, "--format", "json"] for name in ("2", "5", "pairs")},
    **{f"settings-table-{name}": ["table", name, "--json"] for name in ("sensitivity", "pairs")},
    "paper-compare": ["compare", "--json"],
    "paper-compare-options": [
        *("compare", "--metric", "f1", "--task", "arousal", "--methods", "dann:add=scl", "--methods", "upper-bound"),
        *("--methods", "v3", "--against", "dann", "--resamples", "200", "--seed", "3", "--json"),
    ],
    "own-compare": ["compare", "--json"],
    "own-compare-valence": ["compare", "--task", "valence", "--metric", "war", "--against", "dan", "--json"],
    "settings-compare": ["compare", "--json"],
    **{f"{name}-status": ["status", "--json"] for name in ("paper", "own", "settings")},
    "paper-retry": ["retry", "--device", "cpu", "--json"],
    "paper-figure-ranks": ["figure", "ranks", "--json"],
    "paper-figure-languages": ["figure", "languages", "--task", "arousal", "--json"],
    "paper-figure-pairs": [
        *("figure", "pairs", "--task", "arousal", "--methods", "upper-bound", "--methods", "jan", "--json")
    ],
    "own-figure-runs": [
        *("figure", "confusion", "prototypes", "losses", "--task", "arousal", "--tgt", "emodb", "--json")
    ],
    "own-figure-threshold": ["figure", "threshold", "--methods", "dan:add=scl", "--json"],
    "own-figure-scores": ["figure", "ranks", "languages", "--task", "arousal", "--json"],
    "settings-figure-all": ["figure", "all", "--json"],
    "own-figure-options": [
        *("figure", "confusion", "threshold", "--task", "arousal", "--src", "savee", "--tgt", "emodb", "--seed", "1"),
        *("--methods", "dan:add=scl", "--methods", "upper-bound", "--methods", "emo-dna", "--format", "svg"),
        *("--to", "$out/figures/some", "--json"),
    ],
    "own-report": ["report", "--no-features", "--json"],
    "settings-report": ["report", "--task", "arousal", "--no-features", "--json"],
}
#: Tables with so many columns that most of them are frozen by their sums.
BRIEF = ("own-table-2", "own-table-pairs", "paper-table-3")
#: Each of these changes its folder, and so has a copy.
CHANGING: Mapping[str, Sequence[str]] = {
    "own-drop": ["drop", "--methods", "dan:add=scl", "--methods", "studio-net:depth=3", "--json"],
    "own-drop-corpora": ["drop", "--corpora", HOSTILE, "--seeds", "2", "--json"],
    "own-clean": ["clean", "--json"],
    "own-clean-delete": ["clean", "--delete", "--json"],
}
TEXTS = [
    *(("settings", "sensitivity", suffix) for suffix in ("csv", "tex", "md", "txt")),
    *(("paper", "5", suffix) for suffix in ("csv", "tex")),
]
#: What is refused, and how: folder and arguments.
REFUSED: Sequence[tuple[str, Sequence[str]]] = [
    ("none", ["table", "2"]),
    ("none", ["status"]),
    ("none", ["drop", "--seeds", "1"]),
    ("damaged", ["status"]),
    ("newer", ["compare"]),
    ("own", ["table", "7"]),
    ("own", ["table", "2", "--json", "--format", "csv"]),
    ("own", ["table", "2", "--to", "nowhere/table.csv"]),
    ("own", ["table", "2", "--to", "table.xls"]),
    ("own", ["compare", "--methods", "jan"]),
    ("own", ["compare", "--methods", "nonsense"]),
    ("own", ["compare", "--methods", "emo-dna"]),
    ("own", ["compare", "--methods", "emo-dna", "--against", "studio-net:depth=3"]),
    ("own", ["figure", "nonsense"]),
    ("own", ["figure", "ranks", "--src", "casia"]),
    ("own", ["figure", "ranks", "--src", "emodb", "--tgt", "emodb"]),
    ("paper", ["figure", "sensitivity", "--task", "valence"]),
    ("own", ["figure", "threshold", "--task", "arousal", "--methods", "source-only"]),
    ("own", ["figure", "ranks", "--task", "arousal", "--methods", "emo-dna"]),
    ("own", ["figure", "confusion", "--task", "valence", "--tgt", "ravdess"]),
    ("own", ["drop"]),
    ("own", ["drop", "--methods", "jan"]),
    ("own", ["drop", "--corpora", "casia"]),
    ("own", ["drop", "--corpora", "emodb", "--corpora", "savee", "--corpora", "ravdess"]),
    ("own", ["run", "--methods", "dan", "--table", "2"]),
    ("own", ["run", "--set", "steps=3"]),
]
TINY = {"batch_size": 8, "frames": 32, "channels": 8, "log_every": 1, "tensorboard": "false", "checkpoint_seconds": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, emodb_store: Path) -> dict[str, Experiment]:
    """The folders, by name. Only for reading."""
    root = tmp_path_factory.mktemp("golden")
    for name, content in (("damaged", '{"version": 1}'), ("newer", '{"version": 2}')):
        (root / name).mkdir()
        (root / name / "bench.json").write_text(content)
    return {
        "paper": make_paper_folder(root / "paper"),
        "own": make_own_folder(root / "own", FeatureStore(emodb_store)),
        "settings": make_settings_folder(root / "settings"),
    }


@pytest.fixture(scope="module")
def root(folders: dict[str, Experiment]) -> Path:
    """Where they lie."""
    return folders["own"].out.parent


@pytest.fixture
def places(tmp_path: Path, emodb_store: Path, root: Path) -> dict[str, str]:
    """Folders that are others each time, and what stands in their place, the innermost first."""
    return {str(root): "<root>", str(emodb_store.parent.parent): "<cache>", str(tmp_path): "<here>"}


def check_golden(name: str, found: Any) -> None:
    """Compare with a golden file, or write it."""
    path = GOLDEN / f"{name}.json"
    if WRITE:
        path.write_text(written(found) + "\n")
        return
    lines = list(differences(json.loads(path.read_text()), json.loads(json.dumps(found))))
    assert not lines, "\n".join([f"{name}: {len(lines)} differences", *lines[:20]])


def freeze(
    arguments: Sequence[str],
    answer: CommandResult,
    places: Mapping[str, str],
    *,
    trained: bool = False,
    brief: bool = False,
) -> Any:
    """What a command printed, as it is frozen."""
    assert answer.out == json.dumps(answer.json, indent=2) + "\n", answer.err
    return {
        "command": normal(f"emodna-bench {shlex.join(arguments)}", places),
        "code": answer.code,
        "printed": normal(answer.json, places, trained=trained, brief=brief),
    }


def run_and_freeze(
    name: str, asked: Sequence[str], out: Path, emodna_bench: Command, places: Mapping[str, str], **how: bool
) -> Any:
    """What a command does, with the numbers of the figures that it draws, as it is frozen."""
    arguments = [each.replace("$out", str(out)) for each in [*asked, "--out", "$out"]]
    answer = emodna_bench(*arguments)
    found = freeze(arguments, answer, places, brief=name in BRIEF, **how)
    if asked[0] == "report":  # a page of HTML: how large it is, no JSON says
        found["printed"]["bytes"] = "<bytes>"
    if asked[0] == "figure":
        files = [Path(each["numbers"]) for each in answer.json["written"]]
        numbers = {str(file.relative_to(out)): json.loads(file.read_text()) for file in files}
        found["files"] = normal(numbers, places, **how)
    return found


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is drawn, which takes time, and is not of the JSON."""
    monkeypatch.setattr("emodna.cli.bench.draw.render_file", lambda *_: b"")
    monkeypatch.setattr("emodna.cli.bench.page.render_svg", lambda *_: "")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", CASES)
def test_prints_what_it_did(
    name: str, emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str]
) -> None:
    out = folders[name.partition("-")[0]].out
    check_golden(name, run_and_freeze(name, CASES[name], out, emodna_bench, places))


@pytest.mark.parametrize("name", CHANGING)
def test_changes_what_it_did(
    name: str, emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str], tmp_path: Path
) -> None:
    folder = folders["own"]
    mine = replace(folder, out=tmp_path / "bench")
    unwanted = shutil.ignore_patterns("figures", "report.html")
    shutil.copytree(folder.out, mine.out, ignore=unwanted, copy_function=os.link)  # quick, for nothing is overwritten
    if "clean" in name:
        add_leftovers(mine)
    before = paths(mine.out)
    found = run_and_freeze(name, CHANGING[name], mine.out, emodna_bench, places)
    for each in found["printed"].get("leftovers", ()):
        if "-addi-" in each["path"]:  # its config.json names stores, at whatever path they are
            each["bytes"] = "<bytes>"
    plan = json.loads((mine.out / "bench.json").read_text())
    found["left"] = {
        "corpora": list(plan["corpora"]),
        "rows": list(plan["rows"]),
        "cells": len(plan["cells"]),
        "shared": plan["shared"],
        "removed": sorted(before - paths(mine.out)),
        "added": sorted(paths(mine.out) - before),
    }
    check_golden(name, found)


def paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_status_of_one_that_is_at_work(
    emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str]
) -> None:
    """Its second cell is at work, too."""
    own = folders["own"]
    at_work = own.run_folder(make_run(("savee", "emodb", "valence", "dan:add=scl", 1))).path
    with ExitStack() as stack:
        for folder in (own.out, at_work):
            stack.callback((folder / ".lock").unlink)
            stack.enter_context(filelock.FileLock(folder / ".lock"))
        name = "own-status-at-work"
        check_golden(name, run_and_freeze(name, ["status", "--json"], own.out, emodna_bench, places))


def test_lists_figures(emodna_bench: Command) -> None:
    check_golden("figure-list", emodna_bench("figure", "--json").json)


@pytest.mark.parametrize(("folder", "name", "suffix"), TEXTS)
def test_writes_the_texts_that_it_did(
    folder: str,
    name: str,
    suffix: str,
    emodna_bench: Command,
    folders: dict[str, Experiment],
    places: dict[str, str],
    tmp_path: Path,
) -> None:
    to = tmp_path / f"table.{suffix}"
    assert emodna_bench("table", name, "--to", to, "--out", folders[folder].out).code == 0
    found, golden = normal(to.read_bytes().decode(), places), GOLDEN / f"{folder}-table-{name}.{suffix}"
    if WRITE:
        golden.write_bytes(found.encode())
    before = golden.read_bytes().decode()
    if suffix == "csv":  # which rounds nothing
        assert not list(differences(cells(before), cells(found)))
    else:
        assert found.splitlines() == before.splitlines()


def cells(text: str) -> list[list[str | float]]:
    """Those of a CSV file, those with a fraction as numbers."""
    fraction = re.compile(r"-?\d+\.\d+(e-?\d+)?")
    return [
        [float(cell) if fraction.fullmatch(cell) else cell for cell in line] for line in csv.reader(text.splitlines())
    ]


def test_refuses_what_it_did(
    emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str], root: Path
) -> None:
    found = []
    for folder, arguments in REFUSED:
        answer = emodna_bench(*arguments, "--out", root / folder)
        assert answer.out == "", arguments
        said = normal(answer.err.rstrip().splitlines()[-1], places)
        found.append({"command": " ".join([*arguments, "--out", folder]), "code": answer.code, "said": said})
    check_golden("refused", found)


def tiny_run(cache: Path) -> list[str]:
    """The command that really runs some cells, in seconds."""
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    methods = [part for name in ("source-only", "v2", "emo-dna") for part in ("--methods", name)]
    asked = [*methods, "--tasks", "arousal", "--seeds", "1", "--steps", "2", *settings]
    return ["run", "--cache", str(cache), *asked, "--device", "cpu", "--workers", "1", "--json"]


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CommandResult]:
    """What it leaves behind, and what it said. Only for reading."""
    out = tmp_path_factory.mktemp("trained") / "bench"
    answer = run_command(bench_command.main, *tiny_run(cache), "--out", out)
    return out, CommandResult(int(answer.code or 0), answer.out, answer.err)


@pytest.fixture
def damaged(trained: tuple[Path, CommandResult], tmp_path: Path) -> Path:
    """A copy, one cell of which is damaged."""
    out = Path(shutil.copytree(trained[0], tmp_path / "bench"))
    (run,) = (out / "runs").glob("emodb-ravdess-arousal-v2-*")
    (run / "result.json").write_text("nonsense")
    return out


class TestTrained:
    """Cells that are really run, on two small stores: what is in the documents, but no score."""

    def test_run_once_and_again(
        self,
        trained: tuple[Path, CommandResult],
        damaged: Path,
        emodna_bench: Command,
        places: dict[str, str],
        cache: Path,
    ) -> None:
        out, answer = trained
        there = {str(out.parent): "<root>", **places}
        check_golden("trained-run", freeze([*tiny_run(cache), "--out", str(out)], answer, there, trained=True))
        name = "trained-figure-distances"
        check_golden(
            name, run_and_freeze(name, ["figure", "distances", "--json"], out, emodna_bench, there, trained=True)
        )
        name = "trained-run-again"  # what is done and what failed is left out
        check_golden(name, run_and_freeze(name, tiny_run(cache), damaged, emodna_bench, places, trained=True))

    @pytest.mark.slow
    @pytest.mark.skipif(find_spec("umap") is None, reason="needs the extra figures")
    def test_features(self, trained: tuple[Path, CommandResult], emodna_bench: Command, places: dict[str, str]) -> None:
        name, out = "trained-figure-features", trained[0]
        there = {str(out.parent): "<root>", **places}
        check_golden(
            name, run_and_freeze(name, ["figure", "features-parts", "--json"], out, emodna_bench, there, trained=True)
        )

    @pytest.mark.slow
    def test_retry(self, damaged: Path, emodna_bench: Command, places: dict[str, str]) -> None:
        name, command = "trained-retry", ["retry", "--device", "cpu", "--workers", "1", "--json"]
        check_golden(name, run_and_freeze(name, command, damaged, emodna_bench, places, trained=True))
