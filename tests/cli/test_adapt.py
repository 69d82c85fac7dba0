"""emodna-adapt: text, JSON, files and errors."""

from __future__ import annotations

import json
from pathlib import Path

from emodna.cli import adapt as adapt_command
from emodna.model.adaptation import ADAPTATIONS
from tests.model.small import CommandResult, assert_one_line_error, run_command


def adapt(*arguments: object) -> CommandResult:
    return run_command(adapt_command.main, *arguments)


def test_the_new_run_is_printed_with_its_scores(run: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted"
    answer = adapt(run, "--tgt", "emodb", "--method", "prior", "--cache", cache, "--out", out)
    assert answer.code == 0, answer.err
    assert "target priors" in answer.out
    assert answer.out.rstrip().endswith(str(out))
    assert (out / "done").exists()


def test_json_is_the_result(run: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted"
    arguments = ("--tgt", "emodb", "--method", "t3a", "--set", "filter=5", "--cache", cache, "--out", out, "--json")
    answer = adapt(run, *arguments)
    assert answer.code == 0, answer.err
    found, written = json.loads(answer.out), json.loads((out / "result.json").read_text())
    assert found == written
    assert found["adaptation"]["method"] == "t3a"
    assert found["label"].endswith("-> t3a (filter=5)")


def test_methods_are_listed_with_references() -> None:
    answer = adapt("--list-methods", "--json")
    assert [each["method"] for each in json.loads(answer.out)] == list(ADAPTATIONS)
    assert all(each["reference"] for each in json.loads(answer.out))


def test_a_source_of_the_run_is_no_target(run: Path, cache: Path, tmp_path: Path) -> None:
    answer = adapt(run, "--tgt", "ravdess", "--cache", cache, "--out", tmp_path / "adapted")
    assert_one_line_error(answer)
    assert "ravdess" in answer.err
    assert not (tmp_path / "adapted").exists()
