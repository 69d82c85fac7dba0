"""emodna-prep against a loop over librosa, in the same run: as whole processes, and at their steady rates."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from threadpoolctl import threadpool_limits

from emodna.pipeline.corpora.own import Recordings
from tests.benchmarks.inputs import corpus_option, root_option
from tests.benchmarks.librosa_loop import loop
from tests.benchmarks.profile import CORE, Stopwatch, prepared
from tests.benchmarks.timing import Rounds, Seconds, run_seconds, timed


def timed_in_a_folder(work: Callable[[Path], object]) -> Seconds:
    """Return the time of some work in this process, which writes into a new folder."""
    with tempfile.TemporaryDirectory() as scratch:
        return timed(lambda: work(Path(scratch)))


def prep_seconds(corpus: str, root: object, cache: object, *options: object) -> float:
    """Return the wall time of emodna-prep, start-up included."""
    command = Path(sys.executable).with_name("emodna-prep")
    return run_seconds(command, "--corpus", corpus, "--quiet", "--root", root, "--cache", cache, *options)


def whole_processes(root: Path, corpus: str, rounds: int) -> None:
    """Time the first run with 1 and 2 workers, out of archives, with nothing to do, and the loop, in turn."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        archives = {form: shutil.make_archive(f"{name}/corpus", form, root) for form in ("zip", "gztar")}

        def prep(where: object, workers: int, cache: str) -> float:
            shutil.rmtree(scratch / cache, ignore_errors=True)
            return prep_seconds(corpus, where, scratch / cache, "--workers", workers)

        def librosa_loop() -> float:
            shutil.rmtree(scratch / "npy", ignore_errors=True)
            (scratch / "npy").mkdir()
            return run_seconds(sys.executable, "-m", "tests.benchmarks.librosa_loop", root, scratch / "npy")

        works = {
            "emodna-prep --workers 2": lambda: prep(root, 2, "two"),
            "emodna-prep --workers 1": lambda: prep(root, 1, "one"),
            "the same of a ZIP, 2 workers": lambda: prep(archives["zip"], 2, "zip"),
            "the same of a tar.gz, 2": lambda: prep(archives["gztar"], 2, "tar"),
            "emodna-prep, nothing to do": lambda: prep_seconds(corpus, root, scratch / "two", "--workers", 2),
            "librosa loop": librosa_loop,
        }
        taken = Rounds(works, rounds)
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    for name in works:
        click.echo(f"{name:28} {taken.median(name):7.2f} s   loop / this {taken.ratio('librosa loop', name):6.2f}")


def steady_rates(root: Path, rounds: int) -> None:
    """Time the loop and first runs with 1 and 2 workers, in turn: what a run takes more of three times the files."""

    def prep(workers: int, times: int) -> Seconds:
        corpus = Recordings(copies[times], "steady")
        return timed_in_a_folder(lambda cache: prepared(corpus, copies[times], cache, workers))

    def steady(workers: int) -> float:
        once, thrice = prep(workers, 1), prep(workers, 3)
        return (thrice.wall - once.wall) / 2

    def one_thread_loop(dest: Path) -> None:
        with threadpool_limits(1):  # no slower, and on a busy machine much faster
            loop(root, dest)

    with tempfile.TemporaryDirectory() as name:
        copies = {times: copied(root, Path(name) / str(times), times) for times in (1, 3)}
        works = {
            "librosa loop": lambda: timed_in_a_folder(one_thread_loop).wall,
            "1 worker": lambda: steady(1),
            "2 workers": lambda: steady(2),
        }
        duration = prepared(Recordings(copies[1], "steady"), copies[1], Path(name) / "cache", 2).audio_seconds
        first = min(root.rglob("*.wav")).parent
        timed_in_a_folder(lambda dest: loop(first, dest))
        taken = Rounds(works, rounds)
        with Stopwatch() as stopwatch:
            cpu = prep(1, 1).cpu
    click.echo(f"\n{root}, {duration:.0f} s of audio, start-up left out, median of {rounds} rounds")
    click.echo(f"{'':13} {'wall':>9} {'x real time':>12} {'loop / this':>12}")
    for work in works:
        wall, ratio = taken.median(work), taken.ratio("librosa loop", work)
        click.echo(f"{work:13} {wall:7.2f} s {duration / wall:12.0f} {ratio:12.2f}")
    click.echo(f"1 / 2 workers {taken.ratio('1 worker', '2 workers'):.2f}")
    share = sum(stopwatch.seconds()[step] for step in CORE) / (cpu - stopwatch.overhead)
    click.echo(f"{', '.join(CORE)} in 1 worker: {share:.0%} of the CPU time")


def copied(root: Path, folder: Path, times: int) -> Path:
    """A folder that holds a corpus so many times."""
    for number in range(times):
        shutil.copytree(root, folder / str(number))
    return folder


@click.command()
@root_option
@corpus_option
@click.option("--rounds", default=3, show_default=True)
@click.option("--steady-only", is_flag=True, help="Leave the whole processes out.")
def main(root: Path, corpus: str, rounds: int, steady_only: bool) -> None:
    """Time whole processes, start-up included, and then the rates that longer runs tend to."""
    if not steady_only:
        whole_processes(root, corpus, rounds)
    steady_rates(root, rounds)


if __name__ == "__main__":
    main()
