"""Flip every byte of a small store in turn: `python -m tests.faults.flips`.

Each flip has to be found by `verify`, or at opening, under the name of the file that it is in, and of the utterance
whose features it is in; nothing that is read may differ from what was written.
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
from tests.faults.tiny import Truth, tiny_store
from tests.pipeline.making import find_features_offset, flip


def kind(path: Path) -> str:
    """What a file is, whatever its content."""
    if path.parent.name == "journal":
        return "journal"
    return path.name.split("-")[0] if path.suffix in (".h5", ".parquet") else path.name


def flips(truth: Truth, masks: Sequence[int], step: int, offset: int = 0) -> Iterator[tuple[str, str | None]]:
    """Flip bytes in turn; the kind of file of each, and what went wrong, if anything."""
    places = _utterances(truth)
    for path in sorted(each for each in truth.path.rglob("*") if each.is_file()):
        for position in range(offset, path.stat().st_size, step):
            for mask in masks:
                flip(path, position, mask)
                complaint = _complaint(truth, path, places.get(position) if path.suffix == ".h5" else None)
                flip(path, position, mask)
                yield kind(path), complaint and f"{path.name}: byte {position}, mask {mask}: {complaint}"


def _utterances(truth: Truth) -> dict[int, str]:
    """Position in the shard -> the utterance whose features hold this byte."""
    (shard,) = truth.path.glob("*.h5")
    store = FeatureStore(truth.path)
    start = find_features_offset(shard)
    places = {}
    for id, frame, frames in zip(store.ids, store.column("offset"), store.column("frames"), strict=True):
        size = truth.features[id][0].nbytes
        places.update(dict.fromkeys(range(start + frame * size, start + (frame + frames) * size), id))
    return places


def _complaint(truth: Truth, path: Path, utterance: str | None) -> str | None:
    """What is wrong with how a damaged store is read; None if the damage is found and nothing is read wrong."""
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
        problems = store.verify()
    except StoreError as error:
        problems = [str(error)]
    named = [each for each in problems if path.name in each]
    if not named:
        return f"not found: {problems}"
    if utterance is not None and not any(utterance in each for each in named):
        return f"utterance {utterance} not named: {problems}"
    return None


@click.command(context_settings={"show_default": True})
@click.option("--mask", "masks", type=int, multiple=True, default=(1, 0x80, 0xFF), help="Bits to flip.")
@click.option("--step", type=int, default=1, help="Flip each so-manieth byte only.")
@click.option("--json", "as_json", is_flag=True)
def main(masks: Sequence[int], step: int, as_json: bool) -> None:
    """Flip, and print how many were tried and found; exit 1 if one was not."""
    tried, missed = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for what, complaint in flips(tiny_store(Path(folder)), masks, step):
            tried[what] += 1
            if complaint is not None:
                missed.append(complaint)
                click.echo(complaint, err=True)
    if as_json:
        click.echo(json.dumps({"tried": tried, "missed": missed}))
    else:
        click.echo(f"{tried.total()} flips ({', '.join(f'{n} {what}' for what, n in tried.items())})")
        click.echo(f"{tried.total() - len(missed)} found and named")
    sys.exit(int(bool(missed)))


if __name__ == "__main__":
    main()
