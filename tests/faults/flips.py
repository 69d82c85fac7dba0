"""Flip every byte of a small store in turn: `python -m tests.faults.flips`.

Opening or `verify` must report each flip with the name of its file, and of the utterance if features are damaged.
Reading never returns wrong data.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore
from tests.faults.tiny import Truth, make_tiny_store
from tests.pipeline.making import find_features_offset, flip


def classify_file(path: Path) -> str:
    if path.parent.name == "journal":
        return "journal"
    return path.name.split("-")[0] if path.suffix in (".h5", ".parquet") else path.name


def try_flips(truth: Truth, masks: Sequence[int], step: int, offset: int = 0) -> Iterator[tuple[str, str | None]]:
    """Flip bytes in turn; yield the kind of each file, and the problem if there is one."""
    places = _map_positions(truth)
    for path in sorted(each for each in truth.path.rglob("*") if each.is_file()):
        for position in range(offset, path.stat().st_size, step):
            for mask in masks:
                flip(path, position, mask)
                problem = _find_problem(truth, path, places.get(position) if path.suffix == ".h5" else None)
                flip(path, position, mask)
                yield classify_file(path), problem and f"{path.name}: byte {position}, mask {mask}: {problem}"


def _map_positions(truth: Truth) -> dict[int, str]:
    """Return the utterance for each byte position of features in the shard."""
    (shard,) = truth.path.glob("*.h5")
    store = FeatureStore(truth.path)
    start = find_features_offset(shard)
    places = {}
    for id, frame, frames in zip(store.ids, store.column("offset"), store.column("frames"), strict=True):
        size = truth.features[id][0].nbytes
        places.update(dict.fromkeys(range(start + frame * size, start + (frame + frames) * size), id))
    return places


def _find_problem(truth: Truth, path: Path, utterance: str | None) -> str | None:
    """Return the problem of reading a damaged store; None if the damage is reported and no data is wrong."""
    try:
        store = FeatureStore(truth.path)
        for row, id in enumerate(store.ids):
            if store.labels("arousal")[row] != truth.arousal[id]:
                return f"wrong label of {id}"
            try:
                features = store[row]
            except StoreError:
                continue
            if not np.array_equal(features, truth.features[id]):
                return f"wrong features of {id}"
        problems = list(map(str, store.verify()))
    except StoreError as error:
        problems = [str(error)]
    problems_of_file = [each for each in problems if path.name in each]
    if not problems_of_file:
        return f"not found: {problems}"
    if utterance is not None and not any(utterance in each for each in problems_of_file):
        return f"utterance {utterance} not named: {problems}"
    return None


@click.command(context_settings={"show_default": True})
@click.option("--mask", "masks", type=int, multiple=True, default=(1, 0x80, 0xFF), help="Bits to flip.")
@click.option("--step", type=int, default=1, help="Distance between flipped bytes.")
@click.option("--json", "as_json", is_flag=True)
def main(masks: Sequence[int], step: int, as_json: bool) -> None:
    """Flip bytes and print how many flips were found; exit 1 if one was not."""
    tried, missed = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for kind, problem in try_flips(make_tiny_store(Path(folder)), masks, step):
            tried[kind] += 1
            if problem is not None:
                missed.append(problem)
                click.echo(problem, err=True)
    if as_json:
        click.echo(json.dumps({"tried": tried, "missed": missed}))
    else:
        click.echo(f"{tried.total()} flips ({', '.join(f'{count} {kind}' for kind, count in tried.items())})")
        click.echo(f"{tried.total() - len(missed)} found and named")
    sys.exit(int(bool(missed)))


if __name__ == "__main__":
    main()
