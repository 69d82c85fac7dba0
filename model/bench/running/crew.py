"""Workers for cells: processes that live for the whole grid, with one cell at a time, here or in a Dask cluster."""

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from emodna.model.bench.running.worker import Order, carry_out_there
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.prepare.cluster import CONNECT_SECONDS, Call, connection, say_nothing

if TYPE_CHECKING:
    from distributed import Client, Future

#: Deaths of its worker that a cell survives: the first may be the machine's fault, such as no memory.
_DEATHS: Final = 1
#: What a worker on a cluster declares to have: dask worker --resources GPU=1.
_GPU: Final = "GPU"


@dataclass(slots=True)
class Crew:
    """Whoever has cells to be run."""

    client: "Client"
    place: str
    """Where the workers are, in words."""
    threads: int
    """Of each cell."""
    devices: Sequence[str]
    """As torch names them; a cell goes to the one that has the fewest."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """That a cell needs of its worker."""
    local: bool = False
    """Whether they are on this machine."""

    def workers(self) -> int:
        """How many can run a cell.

        Raises
        ------
        WorkerError
            There are some, but none has what a cell needs.
        """
        found: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        fit = sum(
            all(facts["resources"].get(name, 0) >= amount for name, amount in self.resources.items())
            for facts in found.values()
        )
        if found and not fit:
            raise WorkerError(
                f"--device cuda: no worker at {self.place} declares a GPU; start them by: dask worker {self.place} "
                f"--nthreads 1 --resources {_GPU}=1"
            )
        return fit

    def send(self, order: Order, ended: "Callable[[Future[Any]], object]") -> "Future[Any]":
        """Hand a cell to the worker that has least to do; should that die, another one goes on with it.

        Parameters
        ----------
        ended
            Is called, by a thread of Dask's, with the future when there is something to be known.
        """
        future = self.client.submit(
            pickle.loads,
            pickle.dumps(Call(carry_out_there, order)),
            key=f"cell-{uuid4()}",
            resources=dict(self.resources) or None,
        )
        future.add_done_callback(ended)
        return future


@contextmanager
def local_crew(workers: int, threads: int, devices: Sequence[str]) -> Iterator[Crew]:
    """Processes of this machine; one that dies is started anew."""
    import dask.config
    from distributed import Client, LocalCluster

    say_nothing()
    # Torch reads these as it is imported; a user's own would have each worker take all cores.
    pools = {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")}
    settings = {
        "distributed.nanny.pre-spawn-environ": pools,
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.worker-ttl": None,  # one that is only slow is alive: its nanny knows if it is not
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            preload=["emodna.model.bench.running.worker"],
        ) as cluster,
        Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False, name="emodna-bench") as client,
    ):
        yield Crew(client, "this machine", threads, devices, local=True)


@contextmanager
def remote_crew(scheduler: str, threads: int, device: str) -> Iterator[Crew]:
    """Workers of a cluster, that came to its scheduler and that will come.

    Raises
    ------
    WorkerError
        No address, or nobody there.
    """
    with connection(scheduler, "emodna-bench") as client:
        yield Crew(client, scheduler, threads, [device], {_GPU: 1} if device.startswith("cuda") else {})
