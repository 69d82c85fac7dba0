"""emodna-prep against a loop over librosa, in the same run: as whole processes, and at their steady rates."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from threadpoolctl import threadpool_limits

from emodna.pipeline import corpora
from tests.benchmarks.librosa_loop import loop
from tests.benchmarks.profile import CORE, Stopwatch
from tests.benchmarks.steady import prepared


def seconds(*command: str) -> float:
    """Wall time of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def both_times(work: Callable[[Path], object]) -> tuple[float, float]:
    """Wall and CPU time in s of some work in this process, which writes into a new folder."""
    with tempfile.TemporaryDirectory() as scratch:
        began, cpu_began = time.perf_counter(), time.process_time()
        work(Path(scratch))
        return time.perf_counter() - began, time.process_time() - cpu_began


def prep_seconds(corpus: str, root: object, cache: object, *options: object) -> float:
    """Wall time of emodna-prep, start-up included."""
    command = [Path(sys.executable).with_name("emodna-prep"), "--corpus", corpus, "--quiet", "--root", root]
    return seconds(*map(str, [*command, "--cache", cache, *options]))


def whole_processes(root: Path, corpus: str, rounds: int) -> None:
    """Time the first run with 1 and 2 workers, out of archives, with nothing to do, and the loop, in turn."""
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as packed:
        archives = {form: shutil.make_archive(f"{packed}/corpus", form, root) for form in ("zip", "gztar")}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as scratch:

                def prep(where: object, workers: int, cache: str, scratch: str = scratch) -> float:
                    return prep_seconds(corpus, where, f"{scratch}/{cache}", "--workers", workers)

                def librosa_loop(scratch: str = scratch) -> float:
                    Path(scratch, "npy").mkdir()
                    return seconds(sys.executable, "-m", "tests.benchmarks.librosa_loop", str(root), f"{scratch}/npy")

                rows.append(
                    {
                        "emodna-prep --workers 2": prep(root, 2, "two"),
                        "emodna-prep --workers 1": prep(root, 1, "one"),
                        "the same of a ZIP, 2 workers": prep(archives["zip"], 2, "zip"),
                        "the same of a tar.gz, 2": prep(archives["gztar"], 2, "tar"),
                        "emodna-prep, nothing to do": prep(root, 2, "two"),
                        "librosa loop": librosa_loop(),
                    }
                )
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    for name in rows[0]:
        ratio = statistics.median(row["librosa loop"] / row[name] for row in rows)
        click.echo(f"{name:28} {statistics.median(row[name] for row in rows):7.2f} s   loop / this {ratio:6.2f}")


def steady_rates(root: Path, corpus: str, rounds: int) -> None:
    """Time the loop and the first run with 1 and 2 workers in this process, whose libraries are loaded, in turn."""

    def prep(workers: int) -> Callable[[Path], object]:
        return lambda cache: prepared(corpora.corpus(corpus), root, cache, workers)

    def one_thread_loop(dest: Path) -> None:
        with threadpool_limits(1):  # no slower, and on a busy machine much faster
            loop(root, dest)

    works = {"librosa loop": one_thread_loop, "1 worker": prep(1), "2 workers": prep(2)}
    with tempfile.TemporaryDirectory() as scratch:
        report = prepared(corpora.corpus(corpus), root, Path(scratch), 2)
    first = min(root.rglob("*.wav")).parent
    both_times(lambda dest: loop(first, dest))
    rows = [{name: both_times(work) for name, work in works.items()} for _ in range(rounds)]
    click.echo(
        f"\n{root}, {report.audio_seconds:.0f} s of audio, start-up left out, {rounds} rounds, each one's fastest"
    )
    click.echo(f"{'':13} {'wall':>9} {'x real time':>12} {'loop / this':>12}   {'CPU':>9} {'loop / this':>12}")
    wall, cpu = ({name: min(row[name][each] for row in rows) for name in works} for each in (0, 1))
    for name in works:
        by_wall, by_cpu = (times["librosa loop"] / times[name] for times in (wall, cpu))
        rate = report.audio_seconds / wall[name]
        click.echo(f"{name:13} {wall[name]:7.2f} s {rate:12.0f} {by_wall:12.2f}   {cpu[name]:7.2f} s {by_cpu:12.2f}")
    within = statistics.median(row["librosa loop"][0] / row["2 workers"][0] for row in rows)
    scaling = statistics.median(row["1 worker"][0] / row["2 workers"][0] for row in rows)
    click.echo(f"median within a round: loop / 2 workers {within:.2f}, 1 / 2 workers {scaling:.2f}")
    click.echo(f"fastest rounds: 1 / 2 workers {wall['1 worker'] / wall['2 workers']:.2f}")
    with Stopwatch() as stopwatch:
        _, cpu = both_times(prep(2))
    share = sum(stopwatch.seconds()[step] for step in CORE) / (cpu - stopwatch.overhead)
    click.echo(f"{', '.join(CORE)} in 2 workers: {share:.0%} of the CPU time")


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data/ravdess", show_default=True)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--steady-only", is_flag=True, help="Leave the whole processes out.")
def main(root: Path, corpus: str, rounds: int, steady_only: bool) -> None:
    """Time whole processes, start-up included, and then the rates that longer runs tend to."""
    if not steady_only:
        whole_processes(root, corpus, rounds)
    steady_rates(root, corpus, rounds)


if __name__ == "__main__":
    main()
