"""What a worker is made to do in place of a cell. It needs no torch, so that dying is cheap."""

import os
import signal

from emodna.model.bench.worker import RunOrder, RunReply


def kill_worker(order: RunOrder) -> RunReply:
    """Die of the cell from CASIA to EMODB, as of one that takes all memory."""
    if order.run.pair == ("casia", "emodb"):
        os.kill(os.getpid(), signal.SIGKILL)
    return RunReply("done", {"uar": 50.0})
