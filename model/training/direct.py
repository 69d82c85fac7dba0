"""Fit a method that has no training steps."""

import math
import time
from typing import Final

import numpy as np
import torch

from emodna.model.data.batch import LabelledBatch
from emodna.model.data.stream import Stream
from emodna.model.errors import TrainingError
from emodna.model.methods.base import DirectMethod
from emodna.model.run_folder import RunFolder
from emodna.model.training.log import FitCallback, MetricsLog
from emodna.model.training.loop import Timing

#: Number of the only step, in logs and results.
STEP: Final = 1


def fit_directly(
    method: DirectMethod, source: Stream[LabelledBatch], *, device: torch.device, run: RunFolder, callback: FitCallback
) -> Timing:
    """Fit a method in place to all utterances of a stream, and move it to a device.

    Logs one step and writes no checkpoint: a resumed run is fitted again. Raises TrainingError if a value to log or a
    weight is not finite, StoreError for a damaged utterance.
    """
    log = MetricsLog(run.metrics, keep=0)
    callback.on_start(0)
    start = time.perf_counter()
    values = dict(method.fit(source.gather(np.arange(len(source))), source.weights))
    has_finite_weights = all(bool(each.isfinite().all()) for each in method.parameters())
    if not has_finite_weights or not all(map(math.isfinite, values.values())):
        raise TrainingError("its weights are not finite", where=f"method {method.name}")
    log.write(STEP, values)
    log.sync()
    callback.on_log(STEP, values)
    method.to(device)
    return Timing(STEP, time.perf_counter() - start, 0.0)
