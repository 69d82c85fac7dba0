"""Test many readers and writers of one store: `python -m tests.faults.crowd --seconds 60`.

Writers prepare one of two roots in turn, and some are killed. Readers repeatedly open the store, wait a little and read
all of it. Each must find one of the two contents. Some readers get no locks, as on another host: for them a file may be
missing, but they never read anything else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import click

from emodna.cli.prep import main as prep
from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore, layout
from tests.faults import forking, scenarios
from tests.pipeline.making import content, make_emodb_names, write_tiny_emodb


def make_prep(root: Path, cache: Path) -> Callable[[], object]:
    return forking.make_command(prep, "--corpus", "emodb", "--root", root, "--cache", cache, "--workers", 2, "-q")


def read_repeatedly(store: Path, fingerprints: Sequence[str], end: float, seed: int, *, unlocked: bool) -> Counter[str]:
    """Open and read a store repeatedly; return counts of the results."""
    draw, results = random.Random(seed), Counter[str]()

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if unlocked:
        fcntl.flock = refuse
    while time.monotonic() < end:
        try:
            opened = FeatureStore(store)
            time.sleep(draw.choice([0, 0, 0.01, 0.1, 0.4]))
            assert opened.fingerprint in fingerprints
            frames = sum(len(features) for features in opened)  # checks each checksum
            assert frames == opened.snapshot.counts["frames"]
            assert len(opened.read_rejected()) == opened.snapshot.counts["rejected"]
            results[f"read {'AB'[fingerprints.index(opened.fingerprint)]}"] += 1
        except StoreError as error:
            if not unlocked or "missing" not in str(error):
                raise
            results["missing"] += 1
    return results


def write_repeatedly(roots: Sequence[Path], cache: Path, until: float, seed: int) -> Counter[str]:
    """Prepare random roots in children, and kill some children; return the number of killed and of finished ones."""
    draw, ends = random.Random(seed), Counter[str]()
    while time.monotonic() < until:
        child = forking.Child(make_prep(draw.choice(roots), cache))
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, 0.5))
            child.kill()
        result = child.wait()
        assert result.code in (0, -9), result
        ends["killed" if result.code else "finished"] += 1
    return ends


def run_crowd(folder: Path, seconds: float, readers: int, unlocked: int, writers: int) -> Counter[str]:
    """Run all readers and writers; return the sum of their counts."""
    layout.UTTERANCES_PER_SHARD = 4  # type: ignore[misc]
    roots, names = [folder / "a", folder / "b"], make_emodb_names(14)
    write_tiny_emodb(roots[0], names[:10])
    write_tiny_emodb(roots[1], names[:4])
    write_tiny_emodb(roots[1], names[4:], variant="b")
    forking.preload(make_prep(roots[0], folder / "warm-up"))
    stores = []
    for root in roots:
        assert forking.run_child(make_prep(root, folder / f"alone-{root.name}")).code == 0
        stores.append(next((folder / f"alone-{root.name}" / "emodb").iterdir()))
    fingerprints = [forking.evaluate(lambda store=store: FeatureStore(store).fingerprint) for store in stores]
    cache = folder / "cache"
    assert forking.run_child(make_prep(roots[0], cache)).code == 0
    store = next((cache / "emodb").iterdir())

    until = time.monotonic() + seconds
    children = [
        forking.ChildTask(lambda n=n: read_repeatedly(store, fingerprints, until, n, unlocked=n >= readers))
        for n in range(readers + unlocked)
    ]
    children += [forking.ChildTask(lambda n=n: write_repeatedly(roots, cache, until, n)) for n in range(writers)]
    total = sum((Counter(child.get_result()) for child in children), Counter[str]())

    last = forking.run_child(make_prep(roots[1], cache))
    assert last.code == 0, last
    assert content(store) == content(stores[1])
    assert forking.evaluate(lambda: scenarios.list_leftovers(store)) == []
    return total


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--readers", default=4, show_default=True)
@click.option("--unlocked", default=1, show_default=True, help="Readers that get no locks.")
@click.option("--writers", default=2, show_default=True)
def main(seconds: float, readers: int, unlocked: int, writers: int) -> None:
    """Read and write one store from many processes, and print the counts."""
    with tempfile.TemporaryDirectory() as folder:
        total = run_crowd(Path(folder), seconds, readers, unlocked, writers)
    click.echo(", ".join(f"{name}: {count}" for name, count in sorted(total.items())))


if __name__ == "__main__":
    main()
