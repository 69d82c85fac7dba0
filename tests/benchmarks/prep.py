"""The whole command emodna-prep, start-up included, against a loop over librosa, in the same run."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click


def seconds(*command: str) -> float:
    """Wall time of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def prep_seconds(corpus: str, root: object, cache: object, *options: object) -> float:
    """Wall time of emodna-prep, start-up included."""
    command = [Path(sys.executable).with_name("emodna-prep"), "--corpus", corpus, "--quiet", "--root", root]
    return seconds(*map(str, [*command, "--cache", cache, *options]))


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data/ravdess", show_default=True)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(root: Path, corpus: str, rounds: int) -> None:
    """Time the first run with 1 and 2 workers, out of archives, with nothing to do, and the loop, in turn."""
    loop = [sys.executable, "-m", "tests.benchmarks.librosa_loop", str(root)]
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as packed:
        archives = {form: shutil.make_archive(f"{packed}/corpus", form, root) for form in ("zip", "gztar")}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as scratch:

                def prep(where: object, workers: int, cache: str, scratch: str = scratch) -> float:
                    return prep_seconds(corpus, where, f"{scratch}/{cache}", "--workers", workers)

                Path(scratch, "npy").mkdir()
                rows.append(
                    {
                        "emodna-prep --workers 2": prep(root, 2, "two"),
                        "emodna-prep --workers 1": prep(root, 1, "one"),
                        "the same of a ZIP, 2 workers": prep(archives["zip"], 2, "zip"),
                        "the same of a tar.gz, 2": prep(archives["gztar"], 2, "tar"),
                        "emodna-prep, nothing to do": prep(root, 2, "two"),
                        "librosa loop": seconds(*loop, str(Path(scratch, "npy"))),
                    }
                )
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    for name in rows[0]:
        ratio = statistics.median(row["librosa loop"] / row[name] for row in rows)
        click.echo(f"{name:28} {statistics.median(row[name] for row in rows):7.2f} s   loop / this {ratio:6.2f}")


if __name__ == "__main__":
    main()
