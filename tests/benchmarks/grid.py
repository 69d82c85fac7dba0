"""Compare emodna-bench run with the same runs by emodna-fit, one after another."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click

from emodna.model.bench.spec import Experiment
from tests.benchmarks.timing import Rounds, time_process


def run_grid(options: Sequence[str], out: Path, workers: int, threads: int) -> dict[str, Any]:
    """Run the grid with emodna-bench; return its JSON with the wall time of the process."""
    command = [str(Path(sys.executable).with_name("emodna-bench")), "run", *options, "--out", str(out)]
    command += ["--workers", str(workers), "--threads", str(threads), "--json", "--quiet"]
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=limit_threads(threads))
    return {**json.loads(done.stdout), "seconds": time.perf_counter() - began}


def run_one_by_one(experiment: Experiment, cache: Path, out: Path, threads: int) -> float:
    """Run the same runs with emodna-fit, one after another; return the seconds."""
    shutil.rmtree(out, ignore_errors=True)
    seconds = 0.0
    for number, run in enumerate(experiment.runs):
        settings = [part for key, value in run.method.overrides.items() for part in ("--set", f"{key}={value}")]
        command = [Path(sys.executable).with_name("emodna-fit"), "--src", run.src, "--tgt", run.tgt]
        command += ["--task", run.task, "--method", run.method.name, "--seed", run.seed, *settings]
        command += ["--steps", experiment.arguments(run)["steps"], "--threads", threads, "--device", "cpu"]
        command += ["--cache", cache, "--out", out / str(number), "--json", "--quiet"]
        seconds += time_process(*command, env=limit_threads(threads))
    return seconds


def limit_threads(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--corpora", multiple=True, default=("ravdess", "emodb"), show_default=True)
@click.option("--methods", multiple=True, default=("source-only", "dann", "dan", "emo-dna"), show_default=True)
@click.option("--tasks", multiple=True, default=("arousal",), show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--steps", default=100, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Rounds of all ways, in turn.")
@click.option("--cores", default=2, show_default=True, help="Runs of one thread, or threads of one run.")
def main(
    cache: Path,
    corpora: tuple[str, ...],
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    seeds: int,
    steps: int,
    rounds: int,
    cores: int,
) -> None:
    """Compare ways to run a grid on prepared stores, and print the overhead per run."""
    lists = {"--corpora": corpora, "--methods": methods, "--tasks": tasks}
    options = [part for option, values in lists.items() for value in values for part in (option, value)]
    options += ["--seeds", str(seeds), "--steps", str(steps), "--cache", str(cache), "--device", "cpu"]
    costs: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)

        def run_side_by_side() -> float:
            ran = run_grid(options, out / "side", cores, 1)
            costs.append((cores * ran["seconds"] - ran["cell_seconds"]) / ran["cells"])
            return float(ran["seconds"])

        ways: dict[str, Callable[[], float]] = {
            f"emodna-bench run --workers {cores} --threads 1": run_side_by_side,
            f"emodna-bench run --workers 1 --threads {cores}": lambda: float(
                run_grid(options, out / "threads", 1, cores)["seconds"]
            ),
            f"emodna-fit --threads {cores}, one after another": lambda: run_one_by_one(
                Experiment.read(out / "threads"), cache, out / "fit", cores
            ),
        }
        taken = Rounds(ways, rounds)
        runs = len(Experiment.read(out / "side").runs)
    first, *others = ways
    click.echo(f"{runs} runs of {steps} steps, {rounds} rounds")
    for way in others:
        click.echo(f"{way}: {taken.ratio(way, first):.2f} times as long as {first} (median of the rounds)")
    click.echo(f"overhead: {median(costs):.2f} s per run (workers x wall time - time of the runs)")


if __name__ == "__main__":
    main()
