"""Compare this checkout with another one on the same machine.

    python -m tests.benchmarks.other_checkout results OTHER_PYTHON --data DIR
    python -m tests.benchmarks.other_checkout speed OTHER_PYTHON --data DIR

OTHER_PYTHON is the interpreter of the other checkout's environment, such as `../other/.venv/bin/python`; DIR contains
`ravdess/` and `emodb/`. The comparison needs only commands, `FeatureStore` and `MfccSet`, which all versions have.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click
import numpy as np
from safetensors.numpy import load_file

from emodna.model.methods import METHODS
from emodna.pipeline.store import FeatureStore
from tests.benchmarks.timing import measure_time

CORPORA: Final = ("ravdess", "emodb")
SIDES: Final = ("other", "this")

MEASURE_MFCC: Final = """
import sys, time
from pathlib import Path
import soundfile, soxr, torch
from threadpoolctl import threadpool_limits
from emodna.pipeline.features import MfccSet
torch.set_num_threads(1)
features, audio = MfccSet(), []
for path in sorted(Path(sys.argv[1]).rglob("*.wav"))[:150]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio.append(soxr.resample(samples[:, 0], rate, features.sample_rate, "HQ"))
with threadpool_limits(1):
    for each in audio[:10]:
        features.extract(each)
    began = time.thread_time()
    for each in audio:
        features.extract(each)
    print(time.thread_time() - began)
"""

MEASURE_OPEN: Final = """
import sys, time
from emodna.pipeline.store import FeatureStore
FeatureStore(sys.argv[1])
began = time.perf_counter()
for _ in range(3):
    FeatureStore(sys.argv[1])
print((time.perf_counter() - began) / 3)
"""


@click.group()
def main() -> None:
    """Compare this checkout with another one."""


def _find_interpreters(other: Path) -> dict[str, Path]:
    """Return the interpreter of each side. Keeps links, since each environment has its own."""
    return {"other": other.absolute(), "this": Path(sys.executable)}


def _run(python: Path, command: str, *arguments: object) -> str:
    """Run `python` or another command of the environment; return its standard output."""
    program = python if command == "python" else python.with_name(command)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMODNA_", "PYTHONPATH"))}
    done = subprocess.run(
        [str(program), *map(str, arguments)], env=environment, cwd=tempfile.gettempdir(), capture_output=True, text=True
    )
    if done.returncode:
        raise click.ClickException(f"{program} {' '.join(map(str, arguments))}: {done.stderr[-2000:]}")
    return done.stdout


def _prepare(python: Path, data: Path, corpus: str, cache: Path) -> Path:
    options = ("--corpus", corpus, "--root", data / corpus, "--cache", cache, "--json")
    (report,) = json.loads(_run(python, "emodna-prep", *options))
    return Path(report["store"])


def _fit(python: Path, cache: Path, method: str, steps: int, out: Path) -> dict[str, float]:
    """Train from RAVDESS to EMODB on one thread; return the result."""
    options = ("--src", "ravdess", "--tgt", "emodb", "--method", method, "--steps", steps, "--threads", 1)
    output = _run(python, "emodna-fit", *options, "--cache", cache, "--out", out, "--json", "--quiet")
    return dict(json.loads(output))


def _find_store_differences(paths: Sequence[Path]) -> Iterator[str]:
    """Yield each difference between two stores: names, index columns, feature bytes, shard files."""
    a, b = (FeatureStore(path) for path in paths)
    if paths[0].name != paths[1].name:
        yield f"folders {paths[0].name} and {paths[1].name}"
    if a.table.column_names != b.table.column_names:
        yield f"columns {a.table.column_names} and {b.table.column_names}"
        return
    yield from (f"column {name}" for name in a.table.column_names if not a.table[name].equals(b.table[name]))
    if len(a) == len(b):
        rows = [n for n in range(len(a)) if a[n].shape != b[n].shape or a[n].tobytes() != b[n].tobytes()]
        if rows:
            yield f"features of {len(rows)} utterances, the first in row {rows[0]}"
    files = [{file.name for file in path.glob("*.h5")} for path in paths]
    if files[0] != files[1]:
        yield f"shard files {sorted(files[0] ^ files[1])[:4]}"


def _find_weight_differences(paths: Sequence[Path]) -> tuple[int, list[str]]:
    """Return the number of tensors, and the names of those that differ in any bit."""
    a, b = (load_file(path / "model.safetensors") for path in paths)
    if a.keys() != b.keys():
        return len(a), sorted(a.keys() ^ b.keys())
    return len(a), [name for name in a if a[name].dtype != b[name].dtype or a[name].tobytes() != b[name].tobytes()]


@main.command()
@click.argument("other", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--steps", default=30, show_default=True)
@click.option("--method", "methods", multiple=True, default=tuple(METHODS), help="By default, every method.")
@click.option("--jobs", default=2, show_default=True, help="Number of parallel trainings of one thread.")
def results(other: Path, data: Path, steps: int, methods: Sequence[str], jobs: int) -> None:
    """Compare stores and trained weights byte by byte; exit 1 if they differ."""
    pythons, n_different = _find_interpreters(other), 0
    with tempfile.TemporaryDirectory() as scratch:
        caches = {side: Path(scratch, side) for side in SIDES}
        for corpus in CORPORA:
            stores = [_prepare(pythons[side], data.absolute(), corpus, caches[side]) for side in SIDES]
            differences = list(_find_store_differences(stores))
            n_different += bool(differences)
            store = FeatureStore(stores[1])
            columns = len(store.table.column_names)
            click.echo(
                f"{corpus}: {len(store)} utterances, {columns} columns: {'; '.join(differences) or 'same bytes'}"
            )

        def train(method: str, side: str) -> Path:
            out = Path(scratch, "runs", side, method.replace("+", "-and-"))
            _fit(pythons[side], caches[side], method, steps, out)
            return out

        with ThreadPoolExecutor(jobs) as pool:
            runs = {method: [pool.submit(train, method, side) for side in SIDES] for method in methods}
            for method, pair in runs.items():
                tensors, names = _find_weight_differences([run.result() for run in pair])
                n_different += bool(names)
                verdict = f"{len(names)} differ: {', '.join(names[:3])}" if names else "equal"
                click.echo(f"{method}: {steps} steps, {tensors} tensors: {verdict}", nl=True)
    if n_different:
        raise click.ClickException(f"{n_different} comparisons found a difference")


@main.command()
@click.argument("other", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--rounds", default=5, show_default=True, help="Rounds of both sides, in turn.")
@click.option("--large", default=100_000, show_default=True, help="Utterances of the large store to open; 0 for none.")
def speed(other: Path, data: Path, rounds: int, large: int) -> None:
    """Time both sides in turn: MFCCs, preparation, training steps, opening a large store."""
    pythons = _find_interpreters(other)
    with tempfile.TemporaryDirectory() as scratch:
        caches = {side: Path(scratch, side) for side in SIDES}
        for side in SIDES:
            for corpus in CORPORA:
                _prepare(pythons[side], data.absolute(), corpus, caches[side])

        def prepare_once(side: str, number: int) -> float:
            cache = Path(scratch, f"fresh-{side}-{number}")
            return measure_time(_prepare, pythons[side], data.absolute(), "ravdess", cache).wall

        def prepare_again(side: str, _number: int) -> float:
            return measure_time(_prepare, pythons[side], data.absolute(), "ravdess", caches[side]).wall

        def make_step(method: str) -> Callable[[str, int], float]:
            def step(side: str, number: int) -> float:
                out = Path(scratch, f"{method}-{side}-{number}")
                return 1 / _fit(pythons[side], caches[side], method, 40, out)["steps_per_second"]

            return step

        measures: dict[str, Callable[[str, int], float]] = {
            "MFCCs of 150 recordings, one core, CPU time": lambda side, _: float(
                _run(pythons[side], "python", "-c", MEASURE_MFCC, data.absolute() / "ravdess")
            ),
            "emodna-prep of RAVDESS, whole process": prepare_once,
            "the same again, nothing to do": prepare_again,
            "a step of emo-dna": make_step("emo-dna"),
            "a step of source-only": make_step("source-only"),
        }
        if large:
            from tests.benchmarks.scale import SyntheticStore

            synthetic = SyntheticStore(Path(scratch, "large"))
            synthetic.fill(range(large))
            synthetic.prepare()
            measures[f"open a store of {large} utterances"] = lambda side, _: float(
                _run(pythons[side], "python", "-c", MEASURE_OPEN, synthetic.store)
            )
        click.echo(f"median of {rounds} rounds, both sides in turn; ratio: this / other, median of the rounds' ratios")
        for name, measure in measures.items():
            rows = [{side: measure(side, number) for side in _order_sides(number)} for number in range(rounds)]
            medians = {side: statistics.median(row[side] for row in rows) for side in SIDES}
            ratios = np.array([row["this"] / row["other"] for row in rows])
            best_ratio = min(row["this"] for row in rows) / min(row["other"] for row in rows)
            click.echo(
                f"{name:46} other {1e3 * medians['other']:9.1f} ms   this {1e3 * medians['this']:9.1f} ms   "
                f"ratio {np.median(ratios):.3f} ({ratios.min():.2f} to {ratios.max():.2f}), "
                f"of the fastest {best_ratio:.3f}"
            )


def _order_sides(number: int) -> Sequence[str]:
    """Return both sides; each comes first in every other round."""
    return SIDES if number % 2 else SIDES[::-1]


if __name__ == "__main__":
    main()
