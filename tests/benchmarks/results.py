"""Results on real RAVDESS and EMODB, as docs/RESULTS.md shows them: python -m tests.benchmarks.results --help."""

import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import click

from tests.benchmarks.cells import PAIRS, SCORES, Cell, Failed, run_all, scores

METHODS = ("source-only", "emo-dna")
SEEDS = {"arousal": (0, 1, 2), "valence": (0,)}


def cells() -> Iterator[Cell]:
    """All runs of the table."""
    for task, (src, tgt), method in product(SEEDS, PAIRS, METHODS):
        for seed in SEEDS[task]:
            yield Cell(src, tgt, task, method, seed)


def table(results: Mapping[Cell, dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line per run, the mean over seeds, and the constants of each pair."""
    yield "| source -> target | task | method | seed | " + " | ".join(SCORES.values()) + " |"
    yield "|---|---|---|---|" + "---:|" * len(SCORES)
    for task, (src, tgt) in product(SEEDS, PAIRS):
        pair = f"| {src} -> {tgt} | {task}"
        constants: Mapping[str, Any] = {}
        for method in METHODS:
            mine = {seed: found for seed in SEEDS[task] if (found := results.get(Cell(src, tgt, task, method, seed)))}
            for seed, result in mine.items():
                yield f"{pair} | {method} | {seed} | {scores(result)} |"
                constants = result["constant"]
            if len(mine) > 1:
                average = {key: mean(result[key] for result in mine.values()) for key in SCORES}
                yield f"{pair} | **{method}** | **mean** | {scores(average)} |"
        for name, row in constants.items():
            yield f"{pair} | *{name.replace('_', ' ')}* | | {scores(row)} |"


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/results", show_default=True)
@click.option("--steps", default=500, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Runs side by side, one thread each.")
def main(cache: Path, out: Path, steps: int, jobs: int) -> None:
    """Fit every cell on prepared stores of real RAVDESS and EMODB, and print the table. Killed, it goes on."""
    ended = dict(run_all(list(cells()), steps, cache, out, jobs))
    results = {cell: each for cell, each in ended.items() if not isinstance(each, Failed)}
    for line in table(results):
        click.echo(line)
    seconds = sum(result["wall_seconds"] for result in results.values())
    click.echo(
        f"\n{len(results)} runs of {steps} steps, {seconds:.0f} s in all, {jobs} side by side with one thread each"
    )
    sys.exit(len(results) < len(ended))


if __name__ == "__main__":
    main()
