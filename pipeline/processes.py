"""Worker processes on this machine, each with its own pipe to this process.

A shared queue, as in concurrent.futures, waits forever for the rest of a message if its sender is killed.
"""

import multiprocessing
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from emodna.pipeline.errors import DeadWorkerError, Remedy, WorkerError
from emodna.pipeline.threads import limit_to_one_thread

Task = TypeVar("Task")
Reply = TypeVar("Reply")

#: Method that starts processes. A fork of this process would copy the locks of its threads.
_METHOD: Final = "forkserver" if sys.platform == "linux" else "spawn"
_PROBLEM: Final = "a worker process died (killed, or out of memory)"


@contextmanager
def start_processes(
    count: int, make_function: Callable[[], Callable[[Task], Reply]], preload: Sequence[str], *, resume: str
) -> Iterator[tuple[ThreadPoolExecutor, Callable[[Task], Reply]]]:
    """Start processes; yield a pool of threads, and a function that performs a task in an idle process.

    `make_function` and `preload` are those of `_WorkerProcess`, `resume` is the advice if a process dies. The function
    raises the errors of `_WorkerProcess.perform`.
    """
    idle: SimpleQueue[_WorkerProcess[Task, Reply]] = SimpleQueue()
    processes: list[_WorkerProcess[Task, Reply]] = []

    def perform(task: Task) -> Reply:
        process = idle.get()
        try:
            return process.perform(task)
        except WorkerError as error:
            raise type(error)(error.problem, remedy=Remedy(f"try fewer {{workers}}; {resume}")) from error
        finally:
            idle.put(process)

    with ThreadPoolExecutor(2 * count) as pool:  # the next task waits while a process works
        try:
            for _ in range(count):
                processes.append(_WorkerProcess(make_function, preload))
                idle.put(processes[-1])
            yield pool, perform
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.end()


class _WorkerProcess(Generic[Task, Reply]):
    """A process that performs one task at a time, with one thread for numerical libraries.

    Parameters
    ----------
    make_function
        Picklable function that the process calls once. It returns the function that maps a task to a reply.
    preload
        Modules that the parent of all worker processes imports once; each process imports the others.
    """

    def __init__(self, make_function: Callable[[], Callable[[Task], Reply]], preload: Sequence[str] = ()) -> None:
        self._make_function, self._preload = make_function, list(preload)
        self._lock = threading.Lock()
        self._has_ended, self._is_ready = False, False
        self._start()

    def perform(self, task: Task) -> Reply:
        """Perform a task in the process.

        Raises DeadWorkerError if the process dies; the next task starts another one. Raises WorkerError if the process
        dies before its first task, and the errors of the task and of `make_function`.
        """
        with self._lock:
            if self._has_ended:
                raise DeadWorkerError(_PROBLEM)
            if self._process is None:
                self._start()
        if not self._is_ready:
            try:
                self._receive()
            except DeadWorkerError as error:
                raise WorkerError(f"{_PROBLEM} while it started") from error
            self._is_ready = True
        with self._detect_death():
            self._connection.send(task)
        reply: Reply = self._receive()
        return reply

    def end(self) -> None:
        """End the process; performs no more tasks."""
        with self._lock:
            self._has_ended = True
            self._stop()

    def _start(self) -> None:
        context: Any = multiprocessing.get_context(_METHOD)
        context.set_forkserver_preload(self._preload)
        self._connection, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self._make_function), daemon=True)
        process.start()
        there.close()  # now only the process holds this end, so its death ends the stream
        self._process, self._is_ready = process, False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self._process = None

    def _receive(self) -> Any:
        with self._detect_death():
            reply = self._connection.recv()
        if isinstance(reply, Exception):
            raise reply
        return reply

    @contextmanager
    def _detect_death(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            with self._lock:
                self._stop()
            raise DeadWorkerError(_PROBLEM) from error


def start_preloading(modules: Sequence[str]) -> None:
    """Begin to import the modules of later processes, while this process does other work."""
    if _METHOD == "forkserver":
        forkserver.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def _serve(connection: Connection, make_function: Callable[[], Callable[[Any], Any]]) -> None:
    """Perform tasks until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the parent ends this one
    limit_to_one_thread()
    with suppress(EOFError, OSError):
        function = _call_safely(make_function)
        connection.send(function if isinstance(function, Exception) else None)
        while True:
            connection.send(_call_safely(function, connection.recv()))


def _call_safely(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call, or its error."""
    try:
        return function(*arguments)
    except Exception as error:
        return make_sendable(error)


def make_sendable(error: Exception) -> Exception:
    """Return the error, or a RuntimeError if it cannot be pickled. Its note is the traceback of the worker."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
