"""Fit a method that has no training steps."""

import math
import time

import numpy as np
import torch

from emodna.model.data.batch import LabelledBatch
from emodna.model.data.stream import Stream
from emodna.model.errors import TrainingError
from emodna.model.methods.base import DirectMethod
from emodna.model.run_folder import RunFolder
from emodna.model.training.log import FitCallback, MetricsLog
from emodna.model.training.loop import Timing

_STEP = 1


def fit_directly(
    method: DirectMethod, source: Stream[LabelledBatch], *, device: torch.device, run: RunFolder, callback: FitCallback
) -> Timing:
    """Fit a method in place to all labelled source utterances, and move it to a device.

    It logs one step and writes no checkpoint: a resumed run is fitted again. Raises TrainingError if a parameter is not
    finite, StoreError for a damaged utterance.
    """
    log = MetricsLog(run.metrics, keep=0)
    callback.on_start(0)
    start = time.perf_counter()
    values = dict(method.fit(source.gather(np.arange(len(source))), source.weights))
    if not all(bool(each.isfinite().all()) for each in method.parameters()) or not all(
        map(math.isfinite, values.values())
    ):
        raise TrainingError("the weights are not finite", where=f"method {method.name}")
    log.write(_STEP, values)
    callback.on_log(_STEP, values)
    method.to(device)
    return Timing(_STEP, time.perf_counter() - start, 0.0)
