"""How a finished cell answers: the share of the target that it calls class 1. It needs no torch."""

import pyarrow as pa
import pyarrow.parquet as pq

from emodna.model.bench.spec import Experiment, RunSpec


def called_class_1(bench: Experiment, cell: RunSpec) -> float | None:
    """Percent of the target's utterances, labelled or not; None where the predictions are gone or damaged."""
    try:
        labels = pq.read_table(bench.run_folder(cell).predictions, columns=["label"], use_threads=False)["label"]
        return float(100 * sum(labels.to_pylist()) / len(labels))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
