"""Make a store with every kind of file, small enough to damage each of its bytes in turn."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.prepare.history import History, write_journal
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import make_emodb_names, prepare_corpus, write_tiny_emodb


@dataclass(frozen=True)
class Truth:
    """The correct content of a store."""

    path: Path
    root: Path
    features: dict[str, NDArray[np.float32]]
    arousal: dict[str, int]


def make_tiny_store(folder: Path) -> Truth:
    """Make a store of three utterances, a rejected file, a side file and a journal."""
    root = folder / "root"
    write_tiny_emodb(root, make_emodb_names(3))
    (root / "wav" / "08b01Wa.wav").write_bytes(b"no audio")
    store = prepare_corpus(root, folder / "cache", workers=1).store
    opened = FeatureStore(store)
    history = History(store, "emodb", ExtractionConfig(MfccSet()), root, rehash=False)
    (shard,) = opened.snapshot.shards.values()
    write_journal(store, shard.name, history.utterances, ExtractionConfig(MfccSet()))
    for lock in (layout.READER_LOCK, layout.WRITER_LOCK):
        (store / lock).unlink(missing_ok=True)
    features = {id: np.array(opened[row]) for row, id in enumerate(opened.ids)}
    place = Path(shutil.copytree(store, folder / "store"))
    return Truth(place, root, features, dict(zip(opened.ids, opened.labels("arousal").tolist(), strict=True)))
