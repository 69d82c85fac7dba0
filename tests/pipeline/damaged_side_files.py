"""Damage a side file of a store, byte by byte, and prepare again.

`python -m tests.pipeline.damaged_side_files audio-stat.sealed|journal FOLDER`: a process of its own, because reading
such a file may end the process. It prints what went wrong, if anything.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from emodna.pipeline.store import layout
from tests.pipeline.making import content, emodb_names, flip, prepared, tiny_emodb
from tests.pipeline.test_prepare import stopped_before_commit

FLIPS = 8


def main(kind: str, folder: Path) -> None:
    layout.UTTERANCES_PER_SHARD = 2  # type: ignore[misc]
    root = folder / "root"
    tiny_emodb(root, emodb_names(4))
    complete = prepared(root, folder / "complete").store
    expected = content(complete)
    store = stopped_before_commit(root, folder / "stopped") if kind == "journal" else complete
    files = sorted((store / kind).iterdir()) if kind == "journal" else [store / kind]
    names = [file.relative_to(store) for file in files]
    generator = np.random.default_rng(0)
    for number in range(FLIPS):
        name = names[number % len(names)]
        cache = folder / str(number)
        copy = Path(shutil.copytree(store, cache / "emodb" / store.name))
        position = int(generator.integers(0, (copy / name).stat().st_size))
        flip(copy / name, position, int(generator.integers(1, 256)))
        print(name, position, file=sys.stderr, flush=True)
        prepared(root, cache)
        if content(copy) != expected:
            print(f"{name}: byte {position} was believed")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
