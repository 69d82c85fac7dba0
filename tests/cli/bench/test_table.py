"""Formats and notes of emodna-bench table, also for unfinished experiments; golden/ has its JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from emodna.cli.bench.formats import print_text
from emodna.cli.bench.notes import format_notes
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, RunSpec
from emodna.model.bench.tables import make_table
from tests.cli.running import Command
from tests.model.bench.builders import fail_run, finish_runs, write_experiment
from tests.model.bench.test_feature_sets import make_experiment

#: A corpus name with all special characters of the formats.
HOSTILE = 'x|&%$#_{}~^<b>*`"[\\],y'


def make_score(run: RunSpec) -> float:
    return 60.0 + len(run.src) / 8 + len(run.tgt) / 4 + run.seed + run.method.name.count("n")


@pytest.fixture(scope="module")
def unfinished_experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Write some methods of tables 2 and 5 in arousal, with an own corpus; one run failed."""
    rows = ["source-only", "dann", "dann:add=scl", "addi", "emo-dna", UPPER_BOUND]
    corpora = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee", HOSTILE)
    experiment = write_experiment(tmp_path_factory.mktemp("whole"), rows, corpora=corpora, tasks=["arousal"])
    failed_run = next(run for run in experiment.runs if (run.src, run.tgt, run.seed) == ("casia", "savee", 1))
    finish_runs(experiment, make_score, [failed_run])
    fail_run(experiment, failed_run, "loss 100% of \x1b[31mmemory_\n|x")
    return experiment


@pytest.fixture(scope="module")
def two_corpora(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    rows = ["source-only", "dann", "dan", "emo-dna", UPPER_BOUND]
    conditions = Conditions(300, "mfcc40-22050hz-1d163ad7", {"channels": "8"})
    out, corpora = tmp_path_factory.mktemp("pair"), ("emodb", "ravdess")
    experiment = write_experiment(out, rows, corpora=corpora, seeds=1, conditions=conditions)
    finish_runs(experiment, make_score)
    return experiment


def find_tabulars(text: str) -> Iterator[tuple[int, list[str]]]:
    for columns, body in re.findall(r"\\begin\{tabular\}\{(l(?:r)+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        yield len(columns), [line for line in body.splitlines() if line.endswith(r" \\")]


@pytest.mark.parametrize("name", ["2", "pairs"])
def test_latex_is_well_formed(emodna_bench: Command, unfinished_experiment: Experiment, name: str) -> None:
    text = emodna_bench("table", name, "--out", unfinished_experiment.out, "--format", "latex").out
    # An unescaped percent sign starts a comment.
    visible_text = "\n".join(re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())
    found = list(find_tabulars(visible_text))
    assert len(found) >= 2
    for columns, rows in found:
        for row in rows:
            spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) - len(spans) == columns, row
    bare = re.sub(r"\\[\\{}$&#_%]", "", visible_text)
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    begins, ends = (re.findall(rf"\\{word}\{{(.*?)\}}", visible_text) for word in ("begin", "end"))
    assert sorted(begins) == sorted(ends)
    assert not re.search(r"[#~^_]", re.sub(r"\\text\w+\{\}|\$\^\{[<=]\}\$", "", bare))


def test_markdown_rows_have_as_many_cells_as_their_heading(
    emodna_bench: Command, unfinished_experiment: Experiment
) -> None:
    text = emodna_bench("table", "2", "--out", unfinished_experiment.out, "--format", "markdown").out
    lines = text.splitlines()
    counts = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    assert max(counts) == 1 + 1 + 2 * 9
    assert all(before == after for before, after in pairwise(counts) if before and after)
    assert "<b>" not in text
    assert r"x\|&amp;%\$\#\_\{\}\~^&lt;b&gt;\*\`" in text


def test_narrow_terminal_shows_all_numbers(unfinished_experiment: Experiment) -> None:
    def print_table(width: int, *, terminal: bool) -> str:
        console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, emoji=False)
        with console.capture() as captured:
            print_text(make_table(unfinished_experiment, "2"), console)
        return captured.get()

    narrow, wide = print_table(80, terminal=True), print_table(1000, terminal=False)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "\u2026" not in narrow
    number = re.compile(r"\d+\.\d(?:\u00b1\d+\.\d)?")
    assert sorted(number.findall(narrow)) == sorted(number.findall(wide))


def test_suffix_sets_the_format(emodna_bench: Command, two_corpora: Experiment, tmp_path: Path) -> None:
    for suffix, start in ((".md", "**Table 2"), (".tex", "% "), (".csv", "table,task"), (".json", "{"), (".txt", "Ta")):
        path = tmp_path / f"table{suffix}"
        result = emodna_bench("table", "2", "--out", two_corpora.out, "--to", path)
        assert (result.code, result.out) == (0, "")
        assert path.read_text().startswith(start)
    emodna_bench("table", "2", "--out", two_corpora.out, "--to", path, "--format", "json", "-q")
    assert json.loads(path.read_text()) == emodna_bench("table", "2", "--out", two_corpora.out, "--json").json
    for formats in (("md", "markdown"), ("tex", "latex")):
        outputs = {emodna_bench("table", "2", "--out", two_corpora.out, "--format", each).out for each in formats}
        assert len(outputs) == 1


def test_table_of_two_corpora_states_its_limits(emodna_bench: Command, two_corpora: Experiment) -> None:
    text = emodna_bench("table", "2", "--out", two_corpora.out).out
    assert "EMODB -> 1/5" in text
    assert "Average 2/30" in text
    assert "[74.3\u00b10.3]" in text
    assert "CASIA" not in text
    assert "left out: casia, emovo, iemocap, savee" in text
    assert "difference" not in text
    assert "One seed: no standard deviation." in text
    assert "300 steps (default: 1000)" in text
    assert "settings channels=8" in text
    assert "upper-bound (oracle)" in text
    assert "not planned: 16 runs of arousal: jan, cdan, bsp, clstm, addi, difl, caam, source-only:target_bn" in text
    assert "emodna-bench run --table 2 --corpora emodb --corpora ravdess --seeds 1 --steps 300 --set channels=8" in text
    markdown = emodna_bench("table", "2", "--out", two_corpora.out, "--format", "markdown").out
    assert "CASIA -&gt; 0/5" in markdown
    latex = emodna_bench("table", "2", "--out", two_corpora.out, "--format", "latex").out
    assert r"{EMODB $\rightarrow$ 1/5}" in latex


def test_classes_have_the_names_of_their_task(emodna_bench: Command, two_corpora: Experiment) -> None:
    assert "always negative " in emodna_bench("table", "3", "--out", two_corpora.out).out
    both = emodna_bench("table", "pairs", "--out", two_corpora.out).out
    assert "always high / positive " in both
    assert re.search(r"UAR +WAR +F1 +macro-F1 +% positive", both)
    assert "% high, % positive: share of the target predicted as this class" in both


def test_failed_run_is_listed_as_failed(emodna_bench: Command, unfinished_experiment: Experiment) -> None:
    result = emodna_bench("table", "2", "--out", unfinished_experiment.out)
    (line,) = (line for line in result.out.splitlines() if "failed:" in line)
    assert "failed: 1 run of arousal: source-only; casia -> savee; seed 1: loss 100% of \\x1b[31mmemory_\\n|x" in line
    assert "(1 seed)" in result.out
    pairs = emodna_bench("table", "pairs", "--out", unfinished_experiment.out).out
    assert f"to fill the gaps: emodna-bench retry --out {unfinished_experiment.out}" in pairs
    latex = emodna_bench("table", "2", "--out", unfinished_experiment.out, "--format", "latex").out
    assert re.search(r"Incomplete: \d+ missing runs\.", latex)


def test_shared_recordings_are_noted(emodna_bench: Command, two_corpora: Experiment, tmp_path: Path) -> None:
    replace(two_corpora, out=tmp_path, shared_recordings={("emodb", "ravdess"): 107}).write()
    note = "the source contains 107 labelled recordings of the target"
    for format in ("text", "markdown", "latex"):
        assert note in emodna_bench("table", "2", "--out", tmp_path, "--format", format).out
    assert note not in emodna_bench("table", "2", "--out", two_corpora.out).out
    lines = csv.DictReader(io.StringIO(emodna_bench("table", "pairs", "--out", tmp_path, "--format", "csv").out))
    assert {line["column"]: line["shared"] for line in lines if line["kind"] == "constant"} == {
        "emodb -> ravdess": "107",
        "ravdess -> emodb": "0",
        "average": "107",
    }


def test_table_does_not_import_torch(two_corpora: Experiment) -> None:
    program = (
        "import sys; from emodna.cli.bench.command import bench\n"
        f"bench(['table', '2', '--out', {str(two_corpora.out)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'librosa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_suggested_command_keeps_threads_and_skips_unlabelled_sources(emodna_bench: Command, tmp_path: Path) -> None:
    unlabelled = {"emodb": ((0, 0), (9, 9)), "casia": ((9, 9), (9, 9))}
    conditions = Conditions(1000, "mfcc40-22050hz-1d163ad7", threads=2)
    experiment = write_experiment(
        tmp_path, ["dan"], corpora=tuple(unlabelled), classes=unlabelled, tasks=("arousal",), conditions=conditions
    )
    replace(experiment, runs=tuple(run for run in experiment.runs if run.src == "casia")).write()
    text = emodna_bench("table", "2", "--out", tmp_path).out
    (unlabelled_line,) = (line for line in text.splitlines() if "unlabelled: " in line and "emodb -> casia" in line)
    assert " dan," in unlabelled_line
    assert not any("not planned" in line and "dan" in line.split() for line in text.splitlines())
    assert "--device cpu --threads 2 " in text


def test_notes_list_the_differing_defaults_of_each_feature_set(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, ("dan", "dan:feature_set=encoder"))
    finish_runs(experiment, make_score)
    notes = list(format_notes(make_table(experiment, "pairs")))
    for name, settings in (
        ("mfcc40", "network=paper normalisation=source class_weights=none padding=silence"),
        ("encoder", "network=statistics normalisation=per-corpus class_weights=balanced padding=mask"),
    ):
        assert next(note for note in notes if note.startswith(f"{name}: ")).endswith(f"; by default {settings}.")
