"""Predict for a store, and write predictions.parquet with the metadata of the utterances."""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress, repeat
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model.data.speakers import SpeakerStatistics
from emodna.model.data.windows import Utterance
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import assign_labels
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.layout import INDEX_SCHEMA
from emodna.pipeline.tables import choose_column_names
from emodna.pipeline.tasks import Task

#: Columns of the index that are copied to the predictions, like the columns that a corpus adds.
_METADATA_COLUMNS: Final = (
    *("path", "duration", "speaker", "gender", "language"),
    *("text", "intensity", "emotion_code", "emotion"),
)

#: Largest number of feature values per read.
_CHUNK_VALUES: Final = 1 << 22
#: Utterances per read of pooled ones.
_CHUNK_ROWS: Final = 256

_Rows = NDArray[np.int64] | None
_OnProgress = Callable[[int], None]


def predict_store(
    model: TrainedModel, store: FeatureStore, on_progress: _OnProgress = lambda _more: None, *, rows: _Rows = None
) -> NDArray[np.float64]:
    """Return the probabilities (n, classes) for some rows (n,) of a store (None: all), in the store's order.

    A model that is normalised by speaker uses the statistics of the store's speakers. Reads block by block; calls
    `on_progress` with the number of utterances read since the last call.
    """
    adapted = model.adapt_to_speakers(store)
    if adapted.reads_statistics:
        return adapted.accept_pooled().probabilities(_read_pooled(adapted, store, on_progress, rows))
    return adapted.probabilities(read_utterances(store, on_progress, rows=rows, speakers=adapted.speakers))


def embed_store(model: TrainedModel, store: FeatureStore, *, rows: _Rows = None) -> NDArray[np.float32] | None:
    """Return the emotion features (n, width) of the utterances of `predict_store`; None if the model has none."""
    adapted = model.adapt_to_speakers(store)
    return adapted.embeddings(read_utterances(store, rows=rows, speakers=adapted.speakers))


def read_utterances(
    store: FeatureStore,
    on_progress: _OnProgress = lambda _more: None,
    *,
    rows: _Rows = None,
    speakers: SpeakerStatistics | None = None,
) -> Iterator[Utterance]:
    """Yield the utterances of `predict_store`, with their statistics in `speakers`."""
    wanted = np.full(len(store), rows is None)
    if rows is not None:
        wanted[rows] = True
    for block, features in store.iterate_blocks(_CHUNK_VALUES):
        ends = np.cumsum(store.frames[block])
        own = repeat(None, len(ends)) if speakers is None else speakers.select(np.arange(block.start, block.stop))
        utterances = zip(np.split(features, ends[:-1]), store.peak_db[block].tolist(), own, strict=True)
        yield from compress(utterances, wanted[block])
        on_progress(len(ends))


def _read_pooled(
    model: TrainedModel, store: FeatureStore, on_progress: _OnProgress, rows: _Rows
) -> Iterator[Utterance]:
    """Yield the utterances of `predict_store` as `TrainedModel.represent` does; those of a training are known."""
    wanted = np.arange(len(store)) if rows is None else np.unique(rows)
    view = model.view(store)
    for first in range(0, len(wanted), _CHUNK_ROWS):
        block = wanted[first : first + _CHUNK_ROWS]
        own = repeat(None, len(block)) if model.speakers is None else model.speakers.select(block)
        yield from zip(view.gather(block), store.peak_db[block].tolist(), own, strict=True)
        on_progress(len(block))


def write_predictions(
    path: Path,
    store: FeatureStore,
    probabilities: NDArray[np.float64],
    task: Task,
    supervision: str,
    exposure: Exposure,
    outside: Sequence[str] | None = None,
    training_labels: NDArray[np.bool_] | None = None,
) -> None:
    """Write the probabilities (n, classes) of all utterances of a store, in its order, to a Parquet file, atomically.

    The columns are id, those of `Task.probability_columns`, label (the most probable class), `outside` (n,) if given,
    as `Prediction.outside`, `training_label` if `training_labels` (n,) are given, True for utterances whose label
    trained the run, and the metadata of each utterance in the store's index. The schema's metadata contains
    `supervision`, see `Supervision`, and `exposure`, see `find_exposure`.
    """
    table, labels = store.table, assign_labels(probabilities).astype(np.int8)
    shown = probabilities[:, -len(task.probability_columns) :].T
    columns = {"id": table["id"], **dict(zip(task.probability_columns, shown, strict=True)), "label": labels}
    if outside is not None:
        columns["outside"] = pa.array(outside, pa.string())
    if training_labels is not None:
        columns["training_label"] = training_labels
    corpus_columns = [name for name in table.column_names if name not in INDEX_SCHEMA.names]
    new_names = choose_column_names([*_METADATA_COLUMNS, *corpus_columns], columns)
    columns |= {new: table[name] for name, new in new_names.items()}
    sink = pa.BufferOutputStream()
    marks = {"supervision": supervision, "exposure": exposure}
    pq.write_table(pa.table(columns).replace_schema_metadata(marks), sink)
    write_atomically(path, sink.getvalue().to_pybytes())
