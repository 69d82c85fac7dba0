"""emodna-prep on a Dask cluster of this machine against processes of its own, in the same run."""

import statistics
import tempfile
from pathlib import Path

import click

from tests.benchmarks.prep import prep_seconds
from tests.pipeline.clusters import cluster


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data/ravdess", show_default=True)
@click.option("--corpus", default="ravdess", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(root: Path, corpus: str, rounds: int) -> None:
    """Time whole first runs, in turn: two processes, and a cluster of two workers of one thread that runs already."""
    local, remote = [], []
    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch, "cluster")) as running:
        for _ in range(2):
            running.add_worker(threads=1)
        warm_up = (corpus, root, Path(scratch, "warm"), "--scheduler", running.file)
        prep_seconds(*warm_up)  # the workers of a cluster load their libraries once
        for number in range(rounds):
            local.append(prep_seconds(corpus, root, Path(scratch, f"local{number}"), "--workers", 2))
            remote.append(prep_seconds(corpus, root, Path(scratch, f"cluster{number}"), "--scheduler", running.file))
    click.echo(f"{root}, whole processes, median of {rounds} rounds")
    ratio = statistics.median(there / here for here, there in zip(local, remote, strict=True))
    click.echo(f"--workers 2                    {statistics.median(local):7.2f} s")
    click.echo(f"--scheduler, 2 workers here    {statistics.median(remote):7.2f} s   this / --workers 2 {ratio:6.2f}")


if __name__ == "__main__":
    main()
