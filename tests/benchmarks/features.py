"""Score methods on several feature sets with several normalisations, as one Markdown table.

Example
-------
python -m tests.benchmarks.features --cache cache --out bench --feature-set mfcc40 --feature-set egemaps
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import read_run_results
from emodna.model.bench.spec import Experiment
from emodna.model.metrics import SCORE_NAMES

_FEATURE_SETS: Final = ("mfcc40", "egemaps", "encoder")
_METHODS: Final = ("source-only", "svm", "dan", "dann", "cdan", "emo-dna")
_NORMALISATIONS: Final = ("source", "per-corpus", "per-speaker")
_SCORES: Final = ("uar", "war", "macro_f1")
_SOURCE: Final = "source"


def make_command(options: Mapping[str, Sequence[object]]) -> list[str]:
    """Return the command that runs the experiment; the options have one or more values each."""
    parts = ["emodna-bench", "run"]
    return [*parts, *(str(part) for option, values in options.items() for value in values for part in (option, value))]


def run_json(command: Sequence[str]) -> Any:
    """Run a command of this environment, and return its JSON."""
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:], "--json"], check=False, stdout=subprocess.PIPE)
    if not done.stdout:
        raise SystemExit(done.returncode)
    return json.loads(done.stdout)


def format_rows(table: Mapping[str, Any], normalisations: Sequence[str]) -> Iterator[str]:
    """Yield the Markdown lines of the table `pairs`, averaged over the pairs."""
    tasks = list(next(iter(table["rows"].values()))["cells"])
    columns = list(table["columns"])
    average = columns[-1]  # the only pair of a single direction, else the average
    headings = [f"{task} {SCORE_NAMES[score]}" for task in tasks for score in _SCORES]
    yield f"| {' | '.join(['features', 'method', 'normalisation', *headings])} |"
    yield f"|---|---|---{'|---:' * len(headings)}|"
    for name, row in table["rows"].items():
        defaults = table["feature_sets"][row["feature_set"]]["defaults"]
        spec = MethodSpec.parse_unchecked(name)
        settings = dict(spec.overrides)
        normalisation = settings.pop("normalisation", defaults.get("normalisation", _SOURCE))
        if normalisation not in normalisations:
            continue
        method = str(MethodSpec(spec.name, tuple(settings.items())))
        numbers = [format_number(row["cells"][task][average].get(score)) for task in tasks for score in _SCORES]
        yield f"| {' | '.join([row['feature_set'], method, normalisation, *numbers])} |"
    for row in table["constants"].values():
        numbers = [format_number(row["cells"][task][average].get(score)) for task in tasks for score in _SCORES]
        yield f"| {' | '.join(['', row['label'], '', *numbers])} |"


def format_number(cell: Mapping[str, Any] | None) -> str:
    """Return a mean with its deviation over the seeds; a dash if a run is missing."""
    if cell is None or cell["mean"] is None or cell["pairs"] < cell["of"]:
        return "-"
    deviation = "" if cell["std"] is None else f" ± {cell['std']:.1f}"
    return f"{cell['mean']:.1f}{deviation}"


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="bench", show_default=True)
@click.option("--corpora", multiple=True, default=("ravdess", "emodb"), show_default=True)
@click.option("--tasks", multiple=True, default=("arousal", "valence"), show_default=True)
@click.option("--feature-set", "feature_sets", multiple=True, default=_FEATURE_SETS, show_default=True)
@click.option("--methods", multiple=True, default=_METHODS, show_default=True)
@click.option("--normalisation", "normalisations", multiple=True, default=_NORMALISATIONS, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", type=int, help="Training steps.  [default: those of --out, else of each feature set]")
@click.option("--workers", type=int, help="Parallel runs.  [default: one per core]")
def main(
    cache: Path,
    out: Path,
    corpora: tuple[str, ...],
    tasks: tuple[str, ...],
    feature_sets: tuple[str, ...],
    methods: tuple[str, ...],
    normalisations: tuple[str, ...],
    seeds: int,
    steps: int | None,
    workers: int | None,
) -> None:
    """Run the experiment, or resume it, and print its scores as one Markdown table: means over the directions."""
    specs = [f"{method}:normalisation={each}" for method in methods for each in normalisations]
    command = make_command(
        {
            "--corpora": corpora,
            "--tasks": tasks,
            "--feature-set": feature_sets,
            "--methods": specs,
            "--seeds": [seeds],
            "--steps": [] if steps is None else [steps],
            "--device": ["cpu"],
            "--workers": [] if workers is None else [workers],
            "--cache": [cache],
            "--out": [out],
        }
    )
    summary = run_json(command)
    table = run_json(["emodna-bench", "table", "pairs", "--out", str(out)])
    for line in format_rows(table, normalisations):
        click.echo(line)
    results = read_run_results(Experiment.read(out))
    seconds = sum(result.seconds or 0.0 for result in results)
    click.echo(f"\n    {shlex.join(command)}\n")
    click.echo(
        f"{summary['done']} of {summary['cells']} runs done, {summary['ran']} of them now, in "
        f"{summary['wall_seconds']:.0f} s of wall time. All runs of the experiment together took {seconds:.0f} s."
    )
    for name, each in table["feature_sets"].items():
        click.echo(f"- {name}: {each['folder']}, {table['conditions']['steps'] or each['steps']} steps")


if __name__ == "__main__":
    main()
