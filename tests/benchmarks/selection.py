"""How label-free criteria track the truth on real RAVDESS and EMODB: python -m tests.benchmarks.selection --help.

Every run holds out a tenth of its source, takes snapshots, lets all criteria judge each, and only then scores each by
the target's labels (the oracle analysis). Nothing is chosen here: the table says what each criterion would have chosen.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import click
from scipy.stats import spearmanr

from emodna.model.evaluation.criteria import CRITERIA, SOURCE_ACCURACY
from emodna.model.evaluation.selection import find_best_step

PAIRS = (("ravdess", "emodb"), ("emodb", "ravdess"))
TASKS = ("arousal", "valence")
METHODS = ("emo-dna", "source-only")
HELD_OUT = 0.1


class Cell(NamedTuple):
    """One run."""

    src: str
    tgt: str
    task: str
    method: str
    seed: int


class Chosen(NamedTuple):
    """What one way to choose does in one run."""

    uar: float
    """Percent, of the snapshot it chooses."""
    regret: float
    """Points of UAR below the best snapshot."""
    correlation: float | None
    """Spearman's, of the criterion (turned so that more is better) with the true UAR over the snapshots; None where
    one of the two does not vary, or there is no criterion."""
    late: float | None
    """The same over the second half of the snapshots: what grows with the step is not enough there."""


def run(cell: Cell, steps: int, every: int, cache: Path, out: Path) -> Path:
    """Run one cell with one thread, or go on with it, or find it done; return its folder."""
    folder = out / "-".join(map(str, cell))
    command = [
        str(Path(sys.executable).with_name("emodna-fit")),
        *("--src", cell.src, "--tgt", cell.tgt, "--task", cell.task, "--method", cell.method),
        *("--seed", str(cell.seed), "--steps", str(steps), "--threads", "1", "--cache", str(cache)),
        *("--select", SOURCE_ACCURACY, "--oracle-analysis"),  # selection.json has the other criteria too
        *("--set", f"snapshot_every={every}", "--set", f"validation={HELD_OUT}"),
        *("--out", str(folder), "--resume", "--json", "--quiet"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return folder


def judged(folder: Path) -> dict[str, Chosen]:
    """What each criterion, the last step, the oracle and a random choice do in a finished run."""
    rows = json.loads((folder / "selection.json").read_text())["snapshots"]
    truth = {row["step"]: row["uar"] for row in json.loads((folder / "oracle.json").read_text())["oracle"]["snapshots"]}
    uars = [truth[row["step"]] for row in rows]
    best = max(uars)
    found = {}
    for name, criterion in CRITERIA.items():
        step = find_best_step(rows, name, higher_is_better=criterion.higher_is_better)
        values = [row[name] if criterion.higher_is_better else -row[name] for row in rows]
        found[name] = Chosen(truth[step], best - truth[step], *_correlations(values, uars))
    steps = [row["step"] for row in rows]
    found["last step (default)"] = Chosen(uars[-1], best - uars[-1], *_correlations(steps, uars))
    found["any snapshot (mean)"] = Chosen(mean(uars), best - mean(uars), None, None)
    found["oracle: best snapshot"] = Chosen(best, 0.0, None, None)
    return found


def table(runs: dict[Cell, dict[str, Chosen]]) -> Iterator[str]:
    """Markdown: for each method and task, and over all, a row per way to choose."""
    columns = ("Spearman, mean (range)", "in the second half", "UAR, mean (range)", "regret, mean (worst)")
    yield f"| method, task (runs) | chosen by | {' | '.join(columns)} |"
    yield "|---|---|---:|---:|---:|---:|"
    groups = [(f"{method}, {task}", method, task) for method, task in product(METHODS, TASKS)]
    for title, method, task in [*groups, ("all", None, None)]:
        mine = [
            judgement for cell, judgement in runs.items() if method in (None, cell.method) and task in (None, cell.task)
        ]
        if not mine:
            continue
        for name in mine[0]:
            yield f"| {title} ({len(mine)}) | {name} | {_row([judgement[name] for judgement in mine])} |"
        yield f"| {title} ({len(mine)}) | *every constant answer* | | | 50.0 | |"


def _row(chosen: Sequence[Chosen]) -> str:
    uars, regrets = [each.uar for each in chosen], [each.regret for each in chosen]
    correlations = [_mean_and_range([getattr(each, key) for each in chosen]) for key in ("correlation", "late")]
    found = [f"{mean(uars):.1f} ({min(uars):.1f} to {max(uars):.1f})", f"{mean(regrets):.1f} ({max(regrets):.1f})"]
    return " | ".join([*correlations, *found])


def _mean_and_range(correlations: Sequence[float | None]) -> str:
    known = [each for each in correlations if each is not None]
    undefined = f", {len(correlations) - len(known)} undefined" if 0 < len(known) < len(correlations) else ""
    return f"{mean(known):+.2f} ({min(known):+.2f} to {max(known):+.2f}){undefined}" if known else ""


def _correlations(values: Sequence[float], truth: Sequence[float]) -> tuple[float | None, float | None]:
    half = len(values) // 2
    return _spearman(values, truth), _spearman(values[half:], truth[half:])


def _spearman(values: Sequence[float], truth: Sequence[float]) -> float | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant input: its correlation is not a number
        found: Any = spearmanr(values, truth).statistic
    return None if found != found else float(found)


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/selection", show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--every", default=10, show_default=True, help="Steps between two snapshots.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each pair, task and method.")
@click.option("--jobs", default=2, show_default=True, help="Runs side by side, one thread each.")
@click.option("--task", "tasks", type=click.Choice(TASKS), multiple=True, default=TASKS, show_default=True)
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=METHODS, show_default=True)
def main(
    cache: Path, out: Path, steps: int, every: int, seeds: int, jobs: int, tasks: Sequence[str], methods: Sequence[str]
) -> None:
    """Fit every cell on prepared stores of real RAVDESS and EMODB, and print the table. Killed, it goes on."""
    todo = [
        Cell(*pair, task, method, seed) for seed, pair, task, method in product(range(seeds), PAIRS, tasks, methods)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        folders = list(pool.map(lambda cell: run(cell, steps, every, cache, out), todo))
    for line in table({cell: judged(folder) for cell, folder in zip(todo, folders, strict=True)}):
        click.echo(line)
    click.echo(
        f"\n{len(todo)} runs ({', '.join(' -> '.join(pair) for pair in PAIRS)}; {seeds} seeds) of {steps} steps, "
        f"a snapshot every {every}, {100 * HELD_OUT:.0f} % of the source held out; scores in percent"
    )


if __name__ == "__main__":
    main()
