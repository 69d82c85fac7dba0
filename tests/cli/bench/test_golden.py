"""Output of all commands of emodna-bench, compared with the golden files.

A golden file contains a command, its exit code, its JSON output and the files that it wrote, without values that differ
between machines (see `golden.normalise`). Tables in other formats than JSON are stored as they are. After an intended
change, run `python -m tests.cli.bench.golden` in the root of the checkout to write all golden files again, or
`python -m tests.cli.bench.golden paper-table` to write those whose names match.
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
from tests.cli.bench.golden.normalise import find_differences, format_json, normalise
from tests.cli.running import Command, CommandResult
from tests.model.bench.builders import make_run
from tests.model.small import run_command

GOLDEN = Path(__file__).with_name("golden")
#: True to write the golden files instead of comparing them.
WRITE = os.environ.get("GOLDEN") == "write"
#: Name of the golden file, which starts with its folder -> command.
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
#: Wide tables, stored as first column, last column and sums.
BRIEF = ("own-table-2", "own-table-pairs", "paper-table-3")
#: Commands that change their folder, and therefore run on a copy.
CHANGING_CASES: Mapping[str, Sequence[str]] = {
    "own-drop": ["drop", "--methods", "dan:add=scl", "--methods", "studio-net:depth=3", "--json"],
    "own-drop-corpora": ["drop", "--corpora", HOSTILE, "--seeds", "2", "--json"],
    "own-clean": ["clean", "--json"],
    "own-clean-delete": ["clean", "--delete", "--json"],
}
TABLE_FILES = [f"settings-table-sensitivity.{suffix}" for suffix in ("csv", "tex", "md", "txt")]
TABLE_FILES += ["paper-table-5.csv", "paper-table-5.tex"]
#: Folder and arguments of commands that fail.
FAILING_COMMANDS: Sequence[tuple[str, Sequence[str]]] = [
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
    """Return the experiments by name; tests must not change them."""
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
    return folders["own"].out.parent


@pytest.fixture
def places(tmp_path: Path, emodb_store: Path, root: Path) -> dict[str, str]:
    """Return temporary folder -> placeholder, innermost folder first."""
    return {str(root): "<root>", str(emodb_store.parent.parent): "<cache>", str(tmp_path): "<here>"}


def check_golden(name: str, output: Any) -> None:
    path = GOLDEN / f"{name}.json"
    if WRITE:
        path.write_text(format_json(output) + "\n")
        return
    lines = list(find_differences(json.loads(path.read_text()), json.loads(json.dumps(output))))
    assert not lines, "\n".join([f"{name}: {len(lines)} differences", *lines[:20]])


def record(arguments: Sequence[str], result: CommandResult, places: Mapping[str, str], **options: bool) -> Any:
    assert result.out == json.dumps(result.json, indent=2) + "\n", result.err
    return {
        "command": normalise(f"emodna-bench {shlex.join(arguments)}", places),
        "code": result.code,
        "printed": normalise(result.json, places, **options),
    }


def run_case(
    name: str, case: Sequence[str], out: Path, emodna_bench: Command, places: Mapping[str, str], **options: bool
) -> Any:
    arguments = [each.replace("$out", str(out)) for each in [*case, "--out", "$out"]]
    result = emodna_bench(*arguments)
    output = record(arguments, result, places, brief=name in BRIEF, **options)
    if case[0] == "report":  # the size of the HTML page
        output["printed"]["bytes"] = "<bytes>"
    if case[0] == "figure":
        files = [Path(each["numbers"]) for each in result.json["written"]]
        numbers = {str(file.relative_to(out)): json.loads(file.read_text()) for file in files}
        output["files"] = normalise(numbers, places, **options)
    return output


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the drawing of figures, which is slow and does not affect the JSON."""
    monkeypatch.setattr("emodna.cli.bench.draw.render_file", lambda *_: b"")
    monkeypatch.setattr("emodna.cli.bench.page.render_svg", lambda *_: "")


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("name", CASES)
def test_json_matches_golden(
    name: str, emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str]
) -> None:
    out = folders[name.partition("-")[0]].out
    check_golden(name, run_case(name, CASES[name], out, emodna_bench, places))


@pytest.mark.parametrize("name", CHANGING_CASES)
def test_changing_command_matches_golden(
    name: str, emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str], tmp_path: Path
) -> None:
    folder = folders["own"]
    copy = replace(folder, out=tmp_path / "bench")
    ignore = shutil.ignore_patterns("figures", "report.html")
    shutil.copytree(folder.out, copy.out, ignore=ignore, copy_function=os.link)  # fast; no file is overwritten
    if "clean" in name:
        add_leftovers(copy)
    old_paths = list_paths(copy.out)
    output = run_case(name, CHANGING_CASES[name], copy.out, emodna_bench, places)
    for each in output["printed"].get("leftovers", ()):
        if "-addi-" in each["path"]:  # its config.json holds paths of stores
            each["bytes"] = "<bytes>"
    plan = json.loads((copy.out / "bench.json").read_text())
    new_paths = list_paths(copy.out)
    output["left"] = {
        "corpora": list(plan["corpora"]),
        "rows": list(plan["rows"]),
        "cells": len(plan["cells"]),
        "shared": plan["shared"],
        "removed": sorted(old_paths - new_paths),
        "added": sorted(new_paths - old_paths),
    }
    check_golden(name, output)


def list_paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_status_of_a_running_experiment_matches_golden(
    emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str]
) -> None:
    own = folders["own"]
    at_work = own.run_folder(make_run(("savee", "emodb", "valence", "dan:add=scl", 1))).path
    with ExitStack() as stack:
        for folder in (own.out, at_work):
            stack.callback((folder / ".lock").unlink)
            stack.enter_context(filelock.FileLock(folder / ".lock"))
        name = "own-status-at-work"
        check_golden(name, run_case(name, ["status", "--json"], own.out, emodna_bench, places))


def test_figure_list_matches_golden(emodna_bench: Command) -> None:
    check_golden("figure-list", emodna_bench("figure", "--json").json)


@pytest.mark.parametrize("file", TABLE_FILES)
def test_table_file_matches_golden(
    file: str, emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str], tmp_path: Path
) -> None:
    folder, command, name = Path(file).stem.split("-")
    assert emodna_bench(command, name, "--to", tmp_path / file, "--out", folders[folder].out).code == 0
    output = normalise((tmp_path / file).read_bytes().decode(), places)
    if WRITE:
        (GOLDEN / file).write_bytes(output.encode())
    golden_text = (GOLDEN / file).read_bytes().decode()
    if file.endswith("csv"):  # unrounded
        assert not list(find_differences(parse_csv(golden_text), parse_csv(output)))
    else:
        assert output.splitlines() == golden_text.splitlines()


def parse_csv(text: str) -> list[list[str | float]]:
    fraction = re.compile(r"-?\d+\.\d+(e-?\d+)?")
    return [
        [float(cell) if fraction.fullmatch(cell) else cell for cell in line] for line in csv.reader(text.splitlines())
    ]


def test_errors_match_golden(
    emodna_bench: Command, folders: dict[str, Experiment], places: dict[str, str], root: Path
) -> None:
    output = []
    for folder, arguments in FAILING_COMMANDS:
        result = emodna_bench(*arguments, "--out", root / folder)
        assert result.out == "", arguments
        error = normalise(result.err.rstrip().splitlines()[-1], places)
        output.append({"command": " ".join([*arguments, "--out", folder]), "code": result.code, "said": error})
    check_golden("refused", output)


def make_args(cache: Path) -> list[str]:
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    methods = [part for name in ("source-only", "v2", "emo-dna") for part in ("--methods", name)]
    options = [*methods, "--tasks", "arousal", "--seeds", "1", "--steps", "2", *settings]
    return ["run", "--cache", str(cache), *options, "--device", "cpu", "--workers", "1", "--json"]


@pytest.fixture(scope="module")
def trained_experiment(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CommandResult]:
    """Train three methods, and return the folder and the output; tests must not change the folder."""
    out = tmp_path_factory.mktemp("trained") / "bench"
    result = run_command(bench_command.main, *make_args(cache), "--out", out)
    return out, CommandResult(int(result.code or 0), result.out, result.err)


@pytest.fixture
def damaged_experiment(trained_experiment: tuple[Path, CommandResult], tmp_path: Path) -> Path:
    out = Path(shutil.copytree(trained_experiment[0], tmp_path / "bench"))
    (run,) = (out / "runs").glob("emodb-ravdess-arousal-v2-*")
    (run / "result.json").write_text("nonsense")
    return out


class TestTrained:
    """Runs that are trained on two small stores; their scores are not compared."""

    def test_first_and_second_run_match_golden(
        self,
        trained_experiment: tuple[Path, CommandResult],
        damaged_experiment: Path,
        emodna_bench: Command,
        places: dict[str, str],
        cache: Path,
    ) -> None:
        out, result = trained_experiment
        run_places = {str(out.parent): "<root>", **places}
        check_golden("trained-run", record([*make_args(cache), "--out", str(out)], result, run_places, trained=True))
        name, command = "trained-figure-distances", ["figure", "distances", "--json"]
        check_golden(name, run_case(name, command, out, emodna_bench, run_places, trained=True))
        name = "trained-run-again"  # skips finished and failed runs
        check_golden(name, run_case(name, make_args(cache), damaged_experiment, emodna_bench, places, trained=True))

    @pytest.mark.slow
    @pytest.mark.skipif(find_spec("umap") is None, reason="needs the extra figures")
    def test_feature_figure_matches_golden(
        self, trained_experiment: tuple[Path, CommandResult], emodna_bench: Command, places: dict[str, str]
    ) -> None:
        name, out = "trained-figure-features", trained_experiment[0]
        run_places = {str(out.parent): "<root>", **places}
        command = ["figure", "features-parts", "--json"]
        check_golden(name, run_case(name, command, out, emodna_bench, run_places, trained=True))

    @pytest.mark.slow
    def test_retry_matches_golden(
        self, damaged_experiment: Path, emodna_bench: Command, places: dict[str, str]
    ) -> None:
        name, command = "trained-retry", ["retry", "--device", "cpu", "--workers", "1", "--json"]
        check_golden(name, run_case(name, command, damaged_experiment, emodna_bench, places, trained=True))
