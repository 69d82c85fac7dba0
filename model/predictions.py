"""Predictions as a table: beside each, what the corpus says of the utterance."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.files import write_atomically
from emodna.pipeline.layout import INDEX_SCHEMA
from emodna.pipeline.names import renamed
from emodna.pipeline.store import FeatureStore

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


def write_predictions(
    path: Path, store: FeatureStore, probabilities: NDArray[np.float64], predicted: NDArray[np.int64]
) -> None:
    """Write the predictions for all utterances of a store atomically, as Parquet.

    The columns are id, probability (of class 1), label (0 or 1), then what the store's index says of each utterance.

    Parameters
    ----------
    probabilities, predicted
        (n,) in the store's order.
    """
    columns = {"id": store.table["id"], "probability": probabilities, "label": predicted.astype(np.int8)}
    added = [name for name in store.table.column_names if name not in INDEX_SCHEMA.names]
    described = [*_DESCRIBING, *added]
    columns |= {new: store.table[name] for name, new in renamed(described, columns).items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    write_atomically(path, sink.getvalue().to_pybytes())
