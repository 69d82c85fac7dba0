"""Results on real RAVDESS and EMODB, as docs/RESULTS.md shows them: python -m tests.benchmarks.results --help."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import click

PAIRS = (("ravdess", "emodb"), ("emodb", "ravdess"))
METHODS = ("source-only", "emo-dna")
SEEDS = {"arousal": (0, 1, 2), "valence": (0,)}
SCORES = {"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"}


class Cell(NamedTuple):
    """One run."""

    src: str
    tgt: str
    task: str
    method: str
    seed: int


def cells() -> Iterator[Cell]:
    """All runs of the table."""
    for task, (src, tgt), method in product(SEEDS, PAIRS, METHODS):
        for seed in SEEDS[task]:
            yield Cell(src, tgt, task, method, seed)


def run(cell: Cell, steps: int, cache: Path, out: Path) -> dict[str, Any]:
    """Run one cell with one thread, or go on with it, or find it done."""
    command = [
        str(Path(sys.executable).with_name("emodna-fit")),
        *("--src", cell.src, "--tgt", cell.tgt, "--task", cell.task, "--method", cell.method),
        *("--seed", str(cell.seed), "--steps", str(steps), "--threads", "1", "--cache", str(cache)),
        *("--out", str(out / "-".join(map(str, cell))), "--resume", "--json", "--quiet"),
    ]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def table(results: dict[Cell, dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line per run, the mean over seeds, and the constants of each pair."""
    yield "| source -> target | task | method | seed | " + " | ".join(SCORES.values()) + " |"
    yield "|---|---|---|---|" + "---:|" * len(SCORES)
    for task, (src, tgt) in product(SEEDS, PAIRS):
        pair = f"| {src} -> {tgt} | {task}"
        for method in METHODS:
            mine = [(cell.seed, r) for cell, r in results.items() if cell[:4] == (src, tgt, task, method)]
            for seed, result in mine:
                yield f"{pair} | {method} | {seed} | {_scores(result)} |"
            if len(mine) > 1:
                average = {key: mean(result[key] for _, result in mine) for key in SCORES}
                yield f"{pair} | **{method}** | **mean** | {_scores(average)} |"
        for name, scores in mine[0][1]["constant"].items():
            yield f"{pair} | *{name.replace('_', ' ')}* | | {_scores(scores)} |"


def _scores(scores: dict[str, Any]) -> str:
    return " | ".join(f"{scores[key]:.1f}" for key in SCORES)


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/results", show_default=True)
@click.option("--steps", default=500, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Runs side by side, one thread each.")
def main(cache: Path, out: Path, steps: int, jobs: int) -> None:
    """Fit every cell on prepared stores of real RAVDESS and EMODB, and print the table. Killed, it goes on."""
    todo = list(cells())
    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(todo, pool.map(lambda cell: run(cell, steps, cache, out), todo), strict=True))
    for line in table(results):
        click.echo(line)
    seconds = sum(result["wall_seconds"] for result in results.values())
    click.echo(
        f"\n{len(results)} runs of {steps} steps, {seconds:.0f} s in all, {jobs} side by side with one thread each"
    )


if __name__ == "__main__":
    main()
