"""A worker function that kills its process; it imports no torch, so that new workers start fast."""

import os
import signal

from emodna.model.bench.worker import RunOrder, RunReply


def kill_worker(order: RunOrder) -> RunReply:
    """Kill the worker if the run is from CASIA to EMODB, as if it ran out of memory; else return a score."""
    if order.run.pair == ("casia", "emodb"):
        os.kill(os.getpid(), signal.SIGKILL)
    return RunReply("done", {"uar": 50.0})
