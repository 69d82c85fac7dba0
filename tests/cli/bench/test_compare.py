"""emodna-bench compare."""

from dataclasses import replace
from pathlib import Path

import pytest

from emodna.cli.bench import command as bench_command
from emodna.model.bench.spec import Experiment
from tests.cli.running import Command, in_process
from tests.model.bench.fake import fake_bench, same_everywhere

TRIPLE = ("ravdess", "savee", "emodb")
PAIRS = [(src, tgt) for src in TRIPLE for tgt in TRIPLE if src != tgt]
ROWS = {"source-only": 50.0, "emo-dna": 60.0, "dan": 65.0, "upper-bound": 90.0}


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    command = in_process("emodna-bench", bench_command.main, monkeypatch, capsys)
    return lambda *arguments: command("compare", *arguments)


def six_scenarios(out: Path) -> Experiment:
    return fake_bench(out, same_everywhere(ROWS, PAIRS, seeds=2))


def test_json_has_everything(compare: Command, tmp_path: Path) -> None:
    six_scenarios(tmp_path)
    found = compare("--out", tmp_path, "--json").json
    assert (found["metric"], found["against"], found["left_out"]) == ("uar", "emo-dna", [])
    assert len(found["scenarios"]) == 6
    assert found["scenarios"][0] == {"task": "arousal", "src": "emodb", "tgt": "ravdess", "seeds": [0, 1]}
    assert [(each["method"], each["mean"], each["mean_rank"]) for each in found["methods"]] == [
        ("source-only", 50.0, 3.0),
        ("emo-dna", 60.0, 2.0),
        ("dan", 65.0, 1.0),
    ]
    worse, better = found["comparisons"]
    assert (worse["method"], worse["difference"], worse["interval"]) == ("source-only", -10.0, [-10.0, -10.0])
    assert (worse["p"], worse["p_holm"], worse["exact"], worse["better"], worse["worse"]) == (2**-5, 2**-4, True, 0, 6)
    assert (better["method"], better["difference"]) == ("dan", 5.0)
    assert found["friedman"]["chi_squared"] == pytest.approx(12)
    assert found["nemenyi"]["critical_difference"] == pytest.approx(2.344 * (3 * 4 / 36) ** 0.5, abs=1e-3)
    assert found["nemenyi"]["groups"] == [["dan", "emo-dna"], ["emo-dna", "source-only"]]
    assert found["wilcoxon"] == {"alternative": "two-sided", "zero_method": "wilcox"}


def test_table_has_the_best_first_and_says_what_it_is_not(compare: Command, tmp_path: Path) -> None:
    six_scenarios(tmp_path)
    ran = compare("--out", tmp_path)
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


def test_an_oracle_is_compared_if_named(compare: Command, tmp_path: Path) -> None:
    six_scenarios(tmp_path)
    found = compare("--out", tmp_path, "--methods", "upper-bound", "--against", "dan", "--json").json
    assert [each["method"] for each in found["comparisons"]] == ["upper-bound"]
    assert found["against"] == "dan"
    assert found["friedman"]["p"] is None  # of two methods


def test_two_scenarios_cannot_be_significant_and_the_output_says_so(compare: Command, tmp_path: Path) -> None:
    fake_bench(tmp_path, same_everywhere(ROWS, PAIRS[:2]))
    ran = compare("--out", tmp_path, "--metric", "war")
    assert "no Wilcoxon test: only 2 scenarios differ: the smallest attainable p is 0.5, so nothing can be" in ran.out
    assert "no interval: only 2 scenarios: a bootstrap of fewer than 6" in ran.out
    assert " to " not in next(line for line in ran.out.splitlines() if line.strip().startswith("dan "))
    found = compare("--out", tmp_path, "--json").json["comparisons"][0]
    assert found["interval"] is None
    assert "only 2 scenarios" in found["why_no_interval"]
    assert "out of reach of mean ranks of so few scenarios" in ran.out
    assert ran.out.startswith("WAR over 2 scenarios")


def test_scenarios_that_some_lack_are_left_out_and_named(compare: Command, tmp_path: Path) -> None:
    uars = same_everywhere(ROWS, PAIRS, ("arousal", "valence"))
    fake_bench(tmp_path, {key: None if key[2:4] == ("valence", "dan") else uar for key, uar in uars.items()})
    ran = compare("--out", tmp_path)
    assert "UAR over 6 scenarios" in ran.out
    assert "left out: emodb -> ravdess, valence, seed 0: not of dan" in ran.out
    assert "left out: 1 more, see --json" in ran.out
    assert len(compare("--out", tmp_path, "--json").json["left_out"]) == 6
    assert compare("--out", tmp_path, "--task", "valence", "--json").json["left_out"] == []


def test_recordings_that_a_source_shares_with_its_target_are_told(compare: Command, tmp_path: Path) -> None:
    replace(six_scenarios(tmp_path), shared={("savee", "emodb"): 1}).write()
    says = "savee -> emodb: 1 recording of the target is in the source, too, with its label; its scores say little of"
    assert says in compare("--out", tmp_path).out
    found = compare("--out", tmp_path, "--json").json
    assert found["shared"] == [{"src": "savee", "tgt": "emodb", "recordings": 1}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "jan"], "--methods jan: not in the benchmark; valid: source-only, emo-dna"),
        (["--against", "emo-dna:padding=mask"], "--against emo-dna:padding=mask: not in the benchmark"),
        (["--methods", "emo-dna"], "--methods emo-dna: --against is the same one (the default), and nothing is left"),
        (["--methods", "dan", "--against", "dan"], "--methods dan: --against is the same one, and nothing is left"),
    ],
)
def test_what_is_not_there_is_one_line(compare: Command, tmp_path: Path, arguments: list[str], says: str) -> None:
    six_scenarios(tmp_path)
    assert says in compare("--out", tmp_path, *arguments).error()


def test_without_a_benchmark_is_one_line(compare: Command, tmp_path: Path) -> None:
    assert "no benchmark there" in compare("--out", tmp_path).error()


def test_without_finished_cells_is_one_line(compare: Command, tmp_path: Path) -> None:
    fake_bench(tmp_path, dict.fromkeys(same_everywhere(ROWS, PAIRS)))
    assert "needs two methods with finished cells (here: none)" in compare("--out", tmp_path).error()
