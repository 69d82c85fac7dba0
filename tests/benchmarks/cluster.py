"""Compare emodna-prep on a local Dask cluster with emodna-prep with local worker processes."""

import itertools
import tempfile
from pathlib import Path

import click

from tests.benchmarks.inputs import corpus_option, root_option
from tests.benchmarks.prep import time_prep
from tests.benchmarks.timing import Rounds
from tests.pipeline.clusters import start_cluster


@click.command()
@root_option
@corpus_option
@click.option("--rounds", default=3, show_default=True)
def main(root: Path, corpus: str, rounds: int) -> None:
    """Time first runs in turn: with two processes, and on a running cluster of two workers with one thread each."""
    with tempfile.TemporaryDirectory() as scratch, start_cluster(Path(scratch, "cluster")) as running:
        for _ in range(2):
            running.add_worker(threads=1)
        caches = (Path(scratch, f"cache{number}") for number in itertools.count())

        def prep(*options: object) -> float:
            return time_prep(corpus, root, next(caches), *options)

        prep("--scheduler", running.file)  # the workers of a cluster load their libraries once
        works = {"local": lambda: prep("--workers", 2), "remote": lambda: prep("--scheduler", running.file)}
        taken = Rounds(works, rounds)
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    ratio = taken.ratio("remote", "local")
    click.echo(f"--workers 2                    {taken.median('local'):7.2f} s")
    click.echo(f"--scheduler, 2 workers here    {taken.median('remote'):7.2f} s   ratio to --workers 2 {ratio:6.2f}")


if __name__ == "__main__":
    main()
