"""Text output of emodna-bench compare; golden/ has its JSON."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import Command
from tests.model.bench.builders import fake_experiment, repeat_uars

TRIPLE = ("ravdess", "savee", "emodb")
PAIRS = [(src, tgt) for src in TRIPLE for tgt in TRIPLE if src != tgt]
METHODS = {"source-only": 50.0, "emo-dna": 60.0, "dan": 65.0, "upper-bound": 90.0}


def test_methods_are_sorted_and_notes_explain_the_tests(emodna_bench: Command, tmp_path: Path) -> None:
    fake_experiment(tmp_path, repeat_uars(METHODS, PAIRS, seeds=2))
    result = emodna_bench("compare", "--out", tmp_path)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "UAR over 6 scenarios; differences to emo-dna, in points"
    methods = [line.split()[0] for line in lines if line.startswith(("  dan", "  emo-dna", "  source-only"))]
    assert methods == ["dan", "emo-dna", "source-only"]
    assert "dan 65.0 +5.0 +5.0 to +5.0 6 0 0.0312 0.0625 1.00" in [" ".join(line.split()) for line in lines]
    assert "no significant difference between: dan, emo-dna" in lines
    assert "only 6 scenarios: the bootstrap intervals are too narrow" in lines
    assert "scenarios that share a corpus are not independent" in result.out
    assert "upper-bound" not in result.out


def test_two_scenarios_give_no_test_and_no_interval(emodna_bench: Command, tmp_path: Path) -> None:
    fake_experiment(tmp_path, repeat_uars(METHODS, PAIRS[:2]))
    result = emodna_bench("compare", "--out", tmp_path, "--metric", "war")
    assert result.out.startswith("WAR over 2 scenarios")
    assert "no Wilcoxon test: only 2 scenarios differ" in result.out
    assert "no interval: only 2 scenarios" in result.out
    assert "too few scenarios to reach it" in result.out
    assert " to " not in next(line for line in result.out.splitlines() if line.strip().startswith("dan "))
    comparison = emodna_bench("compare", "--out", tmp_path, "--json").json["comparisons"][0]
    assert comparison["interval"] is None
    assert "only 2 scenarios" in comparison["why_no_interval"]
