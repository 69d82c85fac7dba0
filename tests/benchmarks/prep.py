"""Compare emodna-prep with a loop over librosa, as whole processes and without start-up."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from threadpoolctl import threadpool_limits

from emodna.pipeline.corpora.own import Recordings
from tests.benchmarks.inputs import corpus_option, root_option
from tests.benchmarks.librosa_loop import extract_with_librosa
from tests.benchmarks.profile import LIBRARY_STEPS, Stopwatch, prepare_once
from tests.benchmarks.timing import Rounds, Seconds, measure_time, time_process


def time_in_folder(work: Callable[[Path], object]) -> Seconds:
    """Return the time of a function of a new folder."""
    with tempfile.TemporaryDirectory() as scratch:
        return measure_time(lambda: work(Path(scratch)))


def time_prep(corpus: str, root: object, cache: object, *options: object) -> float:
    command = Path(sys.executable).with_name("emodna-prep")
    return time_process(command, "--corpus", corpus, "--quiet", "--root", root, "--cache", cache, *options)


def print_processes(root: Path, corpus: str, rounds: int) -> None:
    """Time in turn: the loop, and emodna-prep with 1 and 2 workers, from archives, and with nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        archives = {form: shutil.make_archive(f"{name}/corpus", form, root) for form in ("zip", "gztar")}

        def prep(source: object, workers: int, cache: str) -> float:
            shutil.rmtree(scratch / cache, ignore_errors=True)
            return time_prep(corpus, source, scratch / cache, "--workers", workers)

        def librosa_loop() -> float:
            shutil.rmtree(scratch / "npy", ignore_errors=True)
            (scratch / "npy").mkdir()
            return time_process(sys.executable, "-m", "tests.benchmarks.librosa_loop", root, scratch / "npy")

        works = {
            "emodna-prep --workers 2": lambda: prep(root, 2, "two"),
            "emodna-prep --workers 1": lambda: prep(root, 1, "one"),
            "from a ZIP, 2 workers": lambda: prep(archives["zip"], 2, "zip"),
            "from a tar.gz, 2 workers": lambda: prep(archives["gztar"], 2, "tar"),
            "emodna-prep, nothing to do": lambda: time_prep(corpus, root, scratch / "two", "--workers", 2),
            "librosa loop": librosa_loop,
        }
        taken = Rounds(works, rounds)
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    for name in works:
        click.echo(f"{name:28} {taken.median(name):7.2f} s   loop / this {taken.ratio('librosa loop', name):6.2f}")


def print_steady_rates(root: Path, rounds: int) -> None:
    """Time the loop, and in turn runs with 1 and 2 workers: the extra time for three times the files."""

    def prep(workers: int, times: int) -> Seconds:
        corpus = Recordings(copies[times], "steady")
        return time_in_folder(lambda cache: prepare_once(corpus, copies[times], cache, workers))

    def measure_steady(workers: int) -> float:
        once, thrice = prep(workers, 1), prep(workers, 3)
        return (thrice.wall - once.wall) / 2

    def extract_on_one_thread(dest: Path) -> None:
        with threadpool_limits(1):  # much faster on a busy machine
            extract_with_librosa(root, dest)

    with tempfile.TemporaryDirectory() as name:
        copies = {times: copy_corpus(root, Path(name) / str(times), times) for times in (1, 3)}
        works = {
            "librosa loop": lambda: time_in_folder(extract_on_one_thread).wall,
            "1 worker": lambda: measure_steady(1),
            "2 workers": lambda: measure_steady(2),
        }
        duration = prepare_once(Recordings(copies[1], "steady"), copies[1], Path(name) / "cache", 2).audio_seconds
        first = min(root.rglob("*.wav")).parent
        time_in_folder(lambda dest: extract_with_librosa(first, dest))
        taken = Rounds(works, rounds)
        with Stopwatch() as stopwatch:
            cpu = prep(1, 1).cpu
    click.echo(f"\n{root}, {duration:.0f} s of audio, without start-up, median of {rounds} rounds")
    click.echo(f"{'':13} {'wall':>9} {'x real time':>12} {'loop / this':>12}")
    for work in works:
        wall, ratio = taken.median(work), taken.ratio("librosa loop", work)
        click.echo(f"{work:13} {wall:7.2f} s {duration / wall:12.0f} {ratio:12.2f}")
    click.echo(f"1 / 2 workers {taken.ratio('1 worker', '2 workers'):.2f}")
    share = sum(stopwatch.seconds()[step] for step in LIBRARY_STEPS) / (cpu - stopwatch.overhead)
    click.echo(f"{', '.join(LIBRARY_STEPS)} in 1 worker: {share:.0%} of the CPU time")


def copy_corpus(root: Path, folder: Path, times: int) -> Path:
    """Fill a folder with `times` copies of a corpus, and return it."""
    for number in range(times):
        shutil.copytree(root, folder / str(number))
    return folder


@click.command()
@root_option
@corpus_option
@click.option("--rounds", default=3, show_default=True)
@click.option("--steady-only", is_flag=True, help="Skip whole processes.")
def main(root: Path, corpus: str, rounds: int, steady_only: bool) -> None:
    """Time whole processes, then rates without start-up."""
    if not steady_only:
        print_processes(root, corpus, rounds)
    print_steady_rates(root, rounds)


if __name__ == "__main__":
    main()
