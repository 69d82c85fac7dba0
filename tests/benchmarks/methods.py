"""Every method on real RAVDESS and EMODB, both ways, as docs/RESULTS.md shows it.

python -m tests.benchmarks.methods --help
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import pyarrow.parquet as pq

from emodna.model.methods import METHODS
from emodna.model.methods.described import Described, described
from emodna.model.run import RunFolder, read_json
from tests.benchmarks.cells import PAIRS, SCORES, Cell, Failed, run_all

#: Settings under which a method is another row.
VARIANTS: Final = {
    "source-only": ("target_bn=true",),
    "emo-dna": ("threshold=none", "threshold=fixed:0.9", "scl_weight=0"),
}
FLOOR: Final = "source-only"
CEILING: Final = "upper-bound"
#: Behind a score that is below that of a constant answer, or no better.
BELOW, NO_BETTER = " \u2193", " ="
#: Scores are floats of sums in another order.
SAME: Final = 1e-9

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    label: str
    method: str
    options: tuple[str, ...] = ()


def rows(wanted: Sequence[str]) -> Iterator[Row]:
    """All methods of this project, or those that are wanted, with their variants, in the order of their list."""
    found = described()
    for name in METHODS:
        each = found[name]
        assert isinstance(each, Described)
        if wanted and name not in wanted:
            continue
        marks = ["(floor)"] * (name == FLOOR) + ["(our reading)"] * each.our_reading + ["(oracle)"] * each.oracle
        yield Row(" ".join([name, *marks]), name)
        for setting in VARIANTS.get(name, ()):
            yield Row(f"{name}, {setting}", name, ("--set", setting))
        for word in each.add:
            yield Row(f"{name} --add {word}", name, ("--add", word))


def constants(results: Sequence[Result]) -> Mapping[str, Result]:
    """The constant answers of a pair, which are the same for every method."""
    found: Mapping[str, Result] = results[0]["constant"] if results else {}
    return found


def marks(result: Result) -> dict[str, str]:
    """A mark for each score in which a constant answer is better, or as good."""
    found = {}
    for key in SCORES:
        ahead = result[key] - max(row[key] for row in result["constant"].values())
        if ahead <= SAME:
            found[key] = BELOW if ahead < -SAME else NO_BETTER
    return found


def table(found: Mapping[Row, Result]) -> Iterator[str]:
    """Markdown of one pair: a line per method, then the constants."""
    yield "| method | " + " | ".join(SCORES.values()) + " | % high |"
    yield "|---|" + "---:|" * (len(SCORES) + 1)
    for row, result in found.items():
        marked = marks(result)
        cells = [f"{result[key]:.1f}{marked.get(key, '')}" for key in SCORES]
        labels = pq.read_table(RunFolder(Path(result["run"])).predictions, columns=["label"])["label"].to_numpy()
        yield f"| {row.label} | {' | '.join(cells)} | {100 * labels.mean():.0f} |"
    for name, constant in constants(list(found.values())).items():
        yield f"| *{name.replace('_', ' ')}* | {' | '.join(f'{constant[key]:.1f}' for key in SCORES)} | |"


def remarks(found: Mapping[Row, Result]) -> Iterator[str]:
    """What the runs say of themselves."""
    for row, result in found.items():
        for remark in read_json(RunFolder(Path(result["run"])).config)["remarks"]:
            yield f"- {row.label}: {remark}"


def summary(pairs: Mapping[tuple[str, str], Mapping[Row, Result]]) -> Iterator[str]:
    """What stands out, a sentence each."""
    for (src, tgt), found in pairs.items():
        marked = {row.label: marks(result) for row, result in found.items()}
        ranked = sorted(found, key=lambda row: -found[row]["uar"])
        best = ", ".join(f"{row.label} {found[row]['uar']:.1f}" for row in ranked[:3])
        above = sum(not each for each in marked.values())
        alike = [label for label, each in marked.items() if each.get("uar") == NO_BETTER]
        under = [label for label, each in marked.items() if each.get("uar") == BELOW]
        yield (
            f"{src} -> {tgt}: best UAR {best}; above every constant in all scores: {above} of {len(found)}; constant"
            f" themselves (UAR 50): {', '.join(alike) or 'none'}; below that: {', '.join(under) or 'none'}."
        )


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/methods", show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--task", type=click.Choice(["arousal", "valence"]), default="arousal", show_default=True)
@click.option("--methods", "wanted", multiple=True, type=click.Choice(list(METHODS)), help="Only these; repeatable.")
@click.option("--jobs", default=2, show_default=True, help="Runs side by side, one thread each.")
def main(cache: Path, out: Path, steps: int, seed: int, task: str, wanted: tuple[str, ...], jobs: int) -> None:
    """Fit every method on prepared stores of real RAVDESS and EMODB, and print a table per pair. Killed, it goes on.

    A run that comes to nothing is told, and the others go on.
    """
    asked = list(rows(wanted))
    todo = {
        Cell(src, tgt, task, row.method, seed, row.options): (row, (src, tgt)) for row in asked for src, tgt in PAIRS
    }
    pairs: dict[tuple[str, str], dict[Row, Result]] = {pair: {} for pair in PAIRS}
    failed: list[str] = []
    for cell, result in run_all(list(todo), steps, cache, out, jobs):
        row, pair = todo[cell]
        if isinstance(result, Failed):
            failed.append(f"- {row.label}, {cell.src} -> {cell.tgt}: {result.why}")
        else:
            pairs[pair][row] = result
    for (src, tgt), found in pairs.items():
        click.echo(f"**{src} -> {tgt}**, {task}, {steps} steps, seed {seed}\n")
        click.echo("\n".join(table(found)) + "\n")
    click.echo(f"{BELOW.strip()} below a constant answer; (oracle): learns from the target's labels.\n")
    for title, lines in (
        ("Remarks of the runs:", list(dict.fromkeys(line for each in pairs.values() for line in remarks(each)))),
        ("Came to nothing:", failed),
    ):
        if lines:
            click.echo("\n".join([title, *lines]) + "\n")
    click.echo("\n".join(summary(pairs)))
    done = [result for found in pairs.values() for result in found.values()]
    seconds = sum(result["wall_seconds"] for result in done)
    click.echo(f"\n{len(done)} runs, {seconds:.0f} s in all, {jobs} side by side with one thread each.")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
