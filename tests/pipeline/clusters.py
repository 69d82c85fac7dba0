"""Start real Dask clusters of several processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from distributed import Client

import tests

#: Time limit in s for steps that may be slow on a busy machine.
PATIENCE = 120.0


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Cluster:
    """A scheduler and its workers, started by Dask's own commands."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.file = folder / "scheduler.json"
        self._environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        self._log = (folder / "log").open("wb")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", 0, "--scheduler-file", self.file)
        wait_until(self._is_ready)

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_bytes())["address"])

    def add_worker(
        self, *, threads: int = 2, replacements: Mapping[Path, Path] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker process and wait for it; it sees each value of `replacements` at the path of its key."""
        mounts = "".join(f"mount --bind '{new}' '{path}' && " for path, new in (replacements or {}).items())
        shell = ["unshare", "-rm", "sh", "-c", f'{mounts} exec "$@"', "sh"] if mounts else []
        options = ("--scheduler-file", self.file, "--nthreads", threads, "--no-nanny")
        with self.client() as client:
            before = len(client.nthreads())
            process = self._start("worker", *options, "--local-directory", self.folder, shell=shell)
            client.wait_for_workers(before + 1, timeout=PATIENCE)
        return process

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(self.address, timeout=PATIENCE, set_as_default=False) as client:
            yield client

    def end(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._log.close()

    def _start(self, kind: str, *options: object, shell: list[str] | None = None) -> subprocess.Popen[bytes]:
        command = [*(shell or []), sys.executable, "-m", "dask", kind, "--host", "127.0.0.1", "--no-dashboard"]
        folder = Path(str(tests.__file__)).parents[1]
        process = subprocess.Popen(
            [*command, *map(str, options)], cwd=folder, env=self._environment, stdout=self._log, stderr=self._log
        )
        self._processes.append(process)
        return process

    def _is_ready(self) -> bool:
        assert self.scheduler.poll() is None, (self.folder / "log").read_text()
        return self.file.exists() and self.file.read_bytes().rstrip().endswith(b"}")


@contextmanager
def start_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a scheduler; it and its workers end with the context."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()


@cache
def can_hide_files() -> bool:
    """Return True if processes can get their own mounts on this machine."""
    if shutil.which("unshare") is None:
        return False
    mounts = ["unshare", "-rm", "sh", "-c", "mount --bind /tmp /tmp"]
    return subprocess.run(mounts, capture_output=True, check=False).returncode == 0
