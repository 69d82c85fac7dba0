"""A Dask scheduler: its address, a connection to it, and calls that need nothing of ours to travel."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emodna.pipeline.errors import WorkerError

if TYPE_CHECKING:
    from distributed import Client

#: For how long nobody may answer at the address.
CONNECT_SECONDS: Final = 10.0
#: What Dask raises where the scheduler or the client is gone.
GONE: Final = (OSError, RuntimeError, CancelledError, asyncio.CancelledError)


class Call:
    """Unpickled, it is what a function returns.

    So neither the scheduler nor Dask's part of a worker needs emodna: where a worker lacks it, that is the error of a
    task. Of a task that it cannot unpickle, Dask would not tell, and wait for ever.
    """

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@contextmanager
def connection(scheduler: str, name: str) -> "Iterator[Client]":
    """Connect to a scheduler.

    Parameters
    ----------
    scheduler
        Its address, or the file in which it wrote its address.
    name
        Of the command that connects.

    Raises
    ------
    WorkerError
        No address, or nobody there.
    """
    address = _address(scheduler)
    from distributed import Client

    say_nothing()
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name=name)
    except OSError as error:
        why = str(error.__cause__ or error).rpartition(">: ")[2]  # without the object that it happened in
        raise WorkerError(
            f"--scheduler {scheduler}: no Dask scheduler answers there, for {CONNECT_SECONDS:g} s ({why})"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_SECONDS)


def say_nothing() -> None:
    """Keep distributed from logging what is said in one line by whoever calls it, such as that a connection is lost."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _address(scheduler: str) -> str:
    """Address of a scheduler, out of its file if that is what was named.

    Raises
    ------
    WorkerError
        There is none.
    """
    from distributed.comm.addressing import get_address_host_port, parse_address
    from distributed.security import Security

    file = Path(scheduler)
    try:
        address = json.loads(file.read_bytes())["address"] if file.suffix == ".json" else scheduler
        host, port = get_address_host_port(address)
        if not host or not 0 < port < 2**16:
            raise ValueError("no host, or no such port")  # noqa: TRY301
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        valid = "tcp://HOST:PORT, tls://HOST:PORT, or the .json file of `dask scheduler --scheduler-file`"
        raise WorkerError(f"--scheduler {scheduler}: {reason}; valid: {valid}") from error
    encrypts, security = parse_address(address)[0] in ("tls", "wss"), Security()
    if encrypts and security.get_connection_args("client").get("ssl_context") is None:
        raise WorkerError(f"--scheduler {scheduler}: TLS needs distributed.comm.tls in Dask's configuration")
    if security.require_encryption and not encrypts:
        raise WorkerError(f"--scheduler {scheduler}: Dask's configuration requires encryption: tls://HOST:PORT")
    return str(address)
