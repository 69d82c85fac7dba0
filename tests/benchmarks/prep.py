"""The whole command emodna-prep, start-up included, against a loop over librosa, in the same run."""

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


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data/ravdess", show_default=True)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(root: Path, corpus: str, rounds: int) -> None:
    """Time the first run with 1 and 2 workers, a second run with nothing to do, and the loop, in turn."""
    prep = [str(Path(sys.executable).with_name("emodna-prep")), "--corpus", corpus, "--root", str(root), "--quiet"]
    loop = [sys.executable, "-m", "tests.benchmarks.librosa_loop", str(root)]
    rows: list[dict[str, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            caches = [str(Path(scratch, name)) for name in ("one", "two")]
            Path(scratch, "npy").mkdir()
            rows.append(
                {
                    "emodna-prep --workers 2": seconds(*prep, "--workers", "2", "--cache", caches[1]),
                    "emodna-prep --workers 1": seconds(*prep, "--workers", "1", "--cache", caches[0]),
                    "emodna-prep, nothing to do": seconds(*prep, "--workers", "2", "--cache", caches[1]),
                    "librosa loop": seconds(*loop, str(Path(scratch, "npy"))),
                }
            )
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    for name in rows[0]:
        ratio = statistics.median(row["librosa loop"] / row[name] for row in rows)
        click.echo(f"{name:28} {statistics.median(row[name] for row in rows):7.2f} s   loop / this {ratio:6.2f}")


if __name__ == "__main__":
    main()
