"""Predictions for a store, and as a table: beside each, what the corpus says of the utterance."""

from collections.abc import Callable, Iterator
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import classified
from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.layout import INDEX_SCHEMA
from emodna.pipeline.tables import renamed

#: Columns of the index that describe an utterance; those that a corpus added stand beside them.
_DESCRIBING: Final = (
    "path",
    "duration",
    "speaker",
    "gender",
    "language",
    "text",
    "intensity",
    "emotion_code",
    "emotion",
)

#: Features that are read at a time, at most.
_VALUES: Final = 1 << 22


def probabilities_of(
    model: TrainedModel,
    store: FeatureStore,
    told: Callable[[int], None] = lambda _more: None,
    *,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Probability of class 1 (n,) for the utterances of a store, in its order, read piece by piece.

    Parameters
    ----------
    told
        Is told how many more utterances have been read.
    rows
        (n,) of the utterances in question, in order; None: all of them.
    """
    return model.probabilities(utterances_of(store, told, rows=rows))


def utterances_of(
    store: FeatureStore,
    told: Callable[[int], None] = lambda _more: None,
    *,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Features [frames, dim] and peak in dB of utterances of a store, with the parameters of `probabilities_of`."""
    wanted = np.ones(len(store), np.bool_)
    if rows is not None:
        wanted[:] = False
        wanted[rows] = True
    for block, features in store.blocks(_VALUES):
        ends = np.cumsum(store.frames[block])
        found = zip(np.split(features, ends[:-1]), store.peak_db[block].tolist(), strict=True)
        yield from compress(found, wanted[block])
        told(len(ends))


def write_predictions(path: Path, store: FeatureStore, probabilities: NDArray[np.float64], supervision: str) -> None:
    """Write the predictions for all utterances of a store atomically, as Parquet.

    The columns are id, probability (of class 1), label (0 or 1), then what the store's index says of each utterance;
    the schema's metadata has `supervision`: whose labels the model has learnt from.

    Parameters
    ----------
    probabilities
        (n,) in the store's order.
    """
    labels = classified(probabilities).astype(np.int8)
    columns = {"id": store.table["id"], "probability": probabilities, "label": labels}
    added = [name for name in store.table.column_names if name not in INDEX_SCHEMA.names]
    described = [*_DESCRIBING, *added]
    columns |= {new: store.table[name] for name, new in renamed(described, columns).items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata({"supervision": supervision}), sink)
    write_atomically(path, sink.getvalue().to_pybytes())
