"""emodna-bench compare: what its text says. Its JSON is frozen in golden/."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import Command
from tests.model.bench.builders import fake_experiment, repeat_uars

TRIPLE = ("ravdess", "savee", "emodb")
PAIRS = [(src, tgt) for src in TRIPLE for tgt in TRIPLE if src != tgt]
METHODS = {"source-only": 50.0, "emo-dna": 60.0, "dan": 65.0, "upper-bound": 90.0}


def test_table_has_the_best_first_and_says_what_it_is_not(emodna_bench: Command, tmp_path: Path) -> None:
    fake_experiment(tmp_path, repeat_uars(METHODS, PAIRS, seeds=2))
    ran = emodna_bench("compare", "--out", tmp_path)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "UAR over 6 scenarios; differences to emo-dna, in points"
    methods = [line.split()[0] for line in lines if line.startswith(("  dan", "  emo-dna", "  source-only"))]
    assert methods == ["dan", "emo-dna", "source-only"]
    assert "dan 65.0 +5.0 +5.0 to +5.0 6 0 0.0312 0.0625 1.00" in [" ".join(line.split()) for line in lines]
    assert "not told apart: dan, emo-dna" in lines
    assert "6 scenarios: too few for a bootstrap, whose intervals are too narrow then" in lines
    assert "scenarios that share a corpus are not independent" in ran.out
    assert "upper-bound" not in ran.out


def test_two_scenarios_cannot_be_significant_and_the_output_says_so(emodna_bench: Command, tmp_path: Path) -> None:
    fake_experiment(tmp_path, repeat_uars(METHODS, PAIRS[:2]))
    ran = emodna_bench("compare", "--out", tmp_path, "--metric", "war")
    assert ran.out.startswith("WAR over 2 scenarios")
    for says in (
        "no Wilcoxon test: only 2 scenarios differ",
        "no interval: only 2 scenarios",
        "out of reach of mean ranks",
    ):
        assert says in ran.out
    assert " to " not in next(line for line in ran.out.splitlines() if line.strip().startswith("dan "))
    found = emodna_bench("compare", "--out", tmp_path, "--json").json["comparisons"][0]
    assert found["interval"] is None
    assert "only 2 scenarios" in found["why_no_interval"]
