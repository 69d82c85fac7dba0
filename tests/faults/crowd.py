"""Many readers and writers of one store: `python -m tests.faults.crowd --seconds 60`.

Writers prepare one of two roots in turn, and some of them are killed; readers open the store over and over, wait a
little, and read all of it. Each must find one of the two contents, whole. Some readers get no locks, as on another
host: they may be told that a file is gone, but must never read anything else.
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
from tests.faults import forking, scenario
from tests.pipeline.making import content, make_emodb_names, write_tiny_emodb


def prepare(root: Path, cache: Path) -> Callable[[], object]:
    return forking.command(prep, "--corpus", "emodb", "--root", root, "--cache", cache, "--workers", 2, "-q")


def read(store: Path, fingerprints: Sequence[str], until: float, seed: int, *, unlocked: bool) -> Counter[str]:
    """Open and read over and over; what was found, counted."""
    draw, found = random.Random(seed), Counter[str]()

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if unlocked:
        fcntl.flock = refuse
    while time.monotonic() < until:
        try:
            opened = FeatureStore(store)
            time.sleep(draw.choice([0, 0, 0.01, 0.1, 0.4]))
            assert opened.fingerprint in fingerprints
            frames = sum(len(features) for features in opened)  # each compared with its checksum
            assert frames == opened.snapshot.counts["frames"]
            assert len(opened.read_rejected()) == opened.snapshot.counts["rejected"]
            found[f"read {'AB'[fingerprints.index(opened.fingerprint)]}"] += 1
        except StoreError as error:
            if not unlocked or "missing" not in str(error):
                raise
            found["gone"] += 1
    return found


def write(roots: Sequence[Path], cache: Path, until: float, seed: int) -> Counter[str]:
    """Prepare the roots in turn, each in a child, and kill some; how the runs ended, counted."""
    draw, ended = random.Random(seed), Counter[str]()
    while time.monotonic() < until:
        child = forking.Child(prepare(draw.choice(roots), cache))
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, 0.5))
            child.kill()
        last = child.wait()
        assert last.code in (0, -9), last
        ended["killed" if last.code else "finished"] += 1
    return ended


def crowd(folder: Path, seconds: float, readers: int, unlocked: int, writers: int) -> Counter[str]:
    """Let them run; what became of them, counted."""
    layout.UTTERANCES_PER_SHARD = 4  # type: ignore[misc]
    roots, names = [folder / "a", folder / "b"], make_emodb_names(14)
    write_tiny_emodb(roots[0], names[:10])
    write_tiny_emodb(roots[1], names[:4])
    write_tiny_emodb(roots[1], names[4:], variant="b")
    forking.preload(prepare(roots[0], folder / "warm-up"))
    stores = []
    for root in roots:
        assert forking.run(prepare(root, folder / f"alone-{root.name}")).code == 0
        stores.append(next((folder / f"alone-{root.name}" / "emodb").iterdir()))
    fingerprints = [forking.answer(lambda store=store: FeatureStore(store).fingerprint) for store in stores]
    cache = folder / "cache"
    assert forking.run(prepare(roots[0], cache)).code == 0
    store = next((cache / "emodb").iterdir())

    until = time.monotonic() + seconds
    children = [
        forking.Asked(lambda n=n: read(store, fingerprints, until, n, unlocked=n >= readers))
        for n in range(readers + unlocked)
    ]
    children += [forking.Asked(lambda n=n: write(roots, cache, until, n)) for n in range(writers)]
    total = sum((Counter(child.answer()) for child in children), Counter[str]())

    last = forking.run(prepare(roots[1], cache))
    assert last.code == 0, last
    assert content(store) == content(stores[1])
    assert forking.answer(lambda: scenario.left_over(store)) == []
    return total


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--readers", default=4, show_default=True)
@click.option("--unlocked", default=1, show_default=True, help="Readers that get no locks.")
@click.option("--writers", default=2, show_default=True)
def main(seconds: float, readers: int, unlocked: int, writers: int) -> None:
    """Read and write one store from many processes, and print what they found."""
    with tempfile.TemporaryDirectory() as folder:
        total = crowd(Path(folder), seconds, readers, unlocked, writers)
    click.echo(", ".join(f"{name}: {count}" for name, count in sorted(total.items())))


if __name__ == "__main__":
    main()
