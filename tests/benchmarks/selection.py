"""Compare label-free selection criteria with target scores on RAVDESS and EMODB.

Each run holds out a tenth of its source, and evaluates each of its snapshots by all criteria and by the target labels
(oracle analysis). The table lists the scores of the snapshot that each criterion selects.
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


class Run(NamedTuple):
    """A run of the comparison."""

    src: str
    tgt: str
    task: str
    method: str
    seed: int


class Choice(NamedTuple):
    """The snapshot that a criterion selects in a run."""

    uar: float
    """UAR of the selected snapshot in percent."""
    regret: float
    """Difference to the UAR of the best snapshot in points."""
    correlation: float | None
    """Spearman correlation of the criterion (higher is better) with the UAR; None if one of them is constant."""
    late: float | None
    """The same correlation over the second half of the snapshots, which lacks the trend of early steps."""


def fit(run: Run, steps: int, every: int, cache: Path, out: Path) -> Path:
    """Begin or resume a run with one thread; return its folder."""
    folder = out / "-".join(map(str, run))
    command = [
        str(Path(sys.executable).with_name("emodna-fit")),
        *("--src", run.src, "--tgt", run.tgt, "--task", run.task, "--method", run.method),
        *("--seed", str(run.seed), "--steps", str(steps), "--threads", "1", "--cache", str(cache)),
        *("--select", SOURCE_ACCURACY, "--oracle-analysis"),  # selection.json has the other criteria too
        *("--set", f"snapshot_every={every}", "--set", f"validation={HELD_OUT}"),
        *("--out", str(folder), "--resume", "--json", "--quiet"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return folder


def read_choices(folder: Path) -> dict[str, Choice]:
    """Return the choice of each criterion, and the last, best and average snapshot of a finished run."""
    rows = json.loads((folder / "selection.json").read_text())["snapshots"]
    oracle = json.loads((folder / "oracle.json").read_text())["oracle"]["snapshots"]
    uar_of = {row["step"]: row["uar"] for row in oracle}
    uars = [uar_of[row["step"]] for row in rows]
    best = max(uars)
    choices = {}
    for name, criterion in CRITERIA.items():
        step = find_best_step(rows, name, higher_is_better=criterion.higher_is_better)
        values = [row[name] if criterion.higher_is_better else -row[name] for row in rows]
        choices[name] = Choice(uar_of[step], best - uar_of[step], *_compute_correlations(values, uars))
    steps = [row["step"] for row in rows]
    choices["last step (default)"] = Choice(uars[-1], best - uars[-1], *_compute_correlations(steps, uars))
    choices["any snapshot (mean)"] = Choice(mean(uars), best - mean(uars), None, None)
    choices["oracle: best snapshot"] = Choice(best, 0.0, None, None)
    return choices


def format_table(runs: dict[Run, dict[str, Choice]]) -> Iterator[str]:
    """Yield a Markdown table: for each method and task, and for all, a row per criterion."""
    columns = ("Spearman, mean (range)", "in the second half", "UAR, mean (range)", "regret, mean (worst)")
    yield f"| method, task (runs) | chosen by | {' | '.join(columns)} |"
    yield "|---|---|---:|---:|---:|---:|"
    groups = [(f"{method}, {task}", method, task) for method, task in product(METHODS, TASKS)]
    for title, method, task in [*groups, ("all", None, None)]:
        group = [each for run, each in runs.items() if method in (None, run.method) and task in (None, run.task)]
        if not group:
            continue
        for name in group[0]:
            yield f"| {title} ({len(group)}) | {name} | {_format_row([choices[name] for choices in group])} |"
        yield f"| {title} ({len(group)}) | *every constant predictor* | | | 50.0 | |"


def _format_row(choices: Sequence[Choice]) -> str:
    uars, regrets = [each.uar for each in choices], [each.regret for each in choices]
    correlations = [_format_mean_and_range([getattr(each, key) for each in choices]) for key in ("correlation", "late")]
    scores = [f"{mean(uars):.1f} ({min(uars):.1f} to {max(uars):.1f})", f"{mean(regrets):.1f} ({max(regrets):.1f})"]
    return " | ".join([*correlations, *scores])


def _format_mean_and_range(correlations: Sequence[float | None]) -> str:
    known = [each for each in correlations if each is not None]
    undefined = f", {len(correlations) - len(known)} undefined" if 0 < len(known) < len(correlations) else ""
    return f"{mean(known):+.2f} ({min(known):+.2f} to {max(known):+.2f}){undefined}" if known else ""


def _compute_correlations(values: Sequence[float], uars: Sequence[float]) -> tuple[float | None, float | None]:
    half = len(values) // 2
    return _compute_spearman(values, uars), _compute_spearman(values[half:], uars[half:])


def _compute_spearman(values: Sequence[float], uars: Sequence[float]) -> float | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant input has correlation NaN
        correlation: Any = spearmanr(values, uars).statistic
    return None if correlation != correlation else float(correlation)


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="runs/selection", show_default=True)
@click.option("--steps", default=300, show_default=True)
@click.option("--every", default=10, show_default=True, help="Steps between two snapshots.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each pair, task and method.")
@click.option("--jobs", default=2, show_default=True, help="Number of parallel runs of one thread.")
@click.option("--task", "tasks", type=click.Choice(TASKS), multiple=True, default=TASKS, show_default=True)
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=METHODS, show_default=True)
def main(
    cache: Path, out: Path, steps: int, every: int, seeds: int, jobs: int, tasks: Sequence[str], methods: Sequence[str]
) -> None:
    """Fit all runs on prepared stores of RAVDESS and EMODB, or resume them; print the table."""
    runs = [Run(*pair, task, method, seed) for seed, pair, task, method in product(range(seeds), PAIRS, tasks, methods)]
    with ThreadPoolExecutor(jobs) as pool:
        folders = list(pool.map(lambda run: fit(run, steps, every, cache, out), runs))
    for line in format_table({run: read_choices(folder) for run, folder in zip(runs, folders, strict=True)}):
        click.echo(line)
    click.echo(
        f"\n{len(runs)} runs ({', '.join(' -> '.join(pair) for pair in PAIRS)}; {seeds} seeds) of {steps} steps, "
        f"a snapshot every {every}, {100 * HELD_OUT:.0f} % of the source held out; scores in percent"
    )


if __name__ == "__main__":
    main()
