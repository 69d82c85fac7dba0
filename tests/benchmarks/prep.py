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

from emodna.pipeline.corpora.own import Recordings
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


def steady_rates(root: Path, rounds: int) -> None:
    """Time the loop and first runs with 1 and 2 workers, in turn: what a run takes more of three times the files."""

    def prep(workers: int, times: int) -> Callable[[Path], object]:
        return lambda cache: prepared(Recordings(copies[times], "steady"), copies[times], cache, workers)

    def steady(workers: int) -> tuple[float, float]:
        once, thrice = both_times(prep(workers, 1)), both_times(prep(workers, 3))
        return (thrice[0] - once[0]) / 2, (thrice[1] - once[1]) / 2

    def one_thread_loop(dest: Path) -> None:
        with threadpool_limits(1):  # no slower, and on a busy machine much faster
            loop(root, dest)

    with tempfile.TemporaryDirectory() as name:
        copies = {times: copied(root, Path(name) / str(times), times) for times in (1, 3)}
        works = {"librosa loop": lambda: both_times(one_thread_loop), "1 worker": lambda: steady(1)}
        works["2 workers"] = lambda: steady(2)
        seconds_of_audio = prepared(Recordings(copies[1], "steady"), copies[1], Path(name) / "cache", 2).audio_seconds
        first = min(root.rglob("*.wav")).parent
        both_times(lambda dest: loop(first, dest))
        rows = [{name: work() for name, work in works.items()} for _ in range(rounds)]
        with Stopwatch() as stopwatch:
            _, cpu = both_times(prep(1, 1))
    click.echo(f"\n{root}, {seconds_of_audio:.0f} s of audio, start-up left out, median of {rounds} rounds")
    click.echo(f"{'':13} {'wall':>9} {'x real time':>12} {'loop / this':>12}")
    for name in works:
        wall = statistics.median(row[name][0] for row in rows)
        ratio = statistics.median(row["librosa loop"][0] / row[name][0] for row in rows)
        click.echo(f"{name:13} {wall:7.2f} s {seconds_of_audio / wall:12.0f} {ratio:12.2f}")
    scaling = statistics.median(row["1 worker"][0] / row["2 workers"][0] for row in rows)
    click.echo(f"1 / 2 workers {scaling:.2f}")
    share = sum(stopwatch.seconds()[step] for step in CORE) / (cpu - stopwatch.overhead)
    click.echo(f"{', '.join(CORE)} in 1 worker: {share:.0%} of the CPU time")


def copied(root: Path, folder: Path, times: int) -> Path:
    """A folder that holds a corpus so many times."""
    for number in range(times):
        shutil.copytree(root, folder / str(number))
    return folder


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data/ravdess", show_default=True)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--steady-only", is_flag=True, help="Leave the whole processes out.")
def main(root: Path, corpus: str, rounds: int, steady_only: bool) -> None:
    """Time whole processes, start-up included, and then the rates that longer runs tend to."""
    if not steady_only:
        whole_processes(root, corpus, rounds)
    steady_rates(root, rounds)


if __name__ == "__main__":
    main()
