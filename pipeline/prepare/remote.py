"""What a worker of a Dask cluster does: examine a batch of recordings, whose files it opens itself."""

import pickle
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from emodna.pipeline.archives import Stamp, Tree
from emodna.pipeline.errors import CorpusError, WorkerError
from emodna.pipeline.prepare.extract import Extraction, Job, Outcome, examine_all
from emodna.pipeline.prepare.versions import feature_versions
from emodna.pipeline.threads import hold_to_one_thread

#: Roots that a process holds open: those of runs that are at work, and of the last ones that were killed.
_ROOTS: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker found out about a batch."""

    worker: str
    cpu: str
    """Kind of instructions that torch computes by there."""
    outcomes: Sequence[Outcome]
    sizes: Sequence[int | None]
    """Bytes of each recording's file as the worker sees it; None where it sees none."""


_opened: Final[dict[bytes, tuple[Tree, Extraction]]] = {}
_opening: Final = threading.Lock()
_held: Final = threading.local()


def written_order(tree: Tree, extraction: Extraction) -> bytes:
    """What the batches of a run share: so small that it travels with each, and a worker opens its tree once."""
    return pickle.dumps((tree.root, _archive(tree.root), pickle.dumps((tree, extraction))))


def examine_there(versions: Mapping[str, str], order: bytes, jobs: bytes) -> Answer:
    """Examine a batch; called on a worker.

    Parameters
    ----------
    versions
        `feature_versions` of whoever asks.
    order
        As `written_order` makes it.
    jobs
        The batch, pickled: nothing of ours is unpickled before the versions are known to be the same.

    Raises
    ------
    WorkerError
        Other versions here.
    CorpusError
        The root is not here, or is another one.
    """
    _refuse_differences(versions)
    tree, extraction = _open(order)
    if not hasattr(_held, "held"):
        hold_to_one_thread()
        _held.held = True
    batch: list[Job] = pickle.loads(jobs)  # noqa: S301 (whoever reaches a Dask worker may run anything on it)
    outcomes = examine_all(batch, tree, extraction)
    stamps = [tree.stamp(job.path) for job in batch]
    return Answer(_name(), _cpu(), outcomes, [None if stamp is None else stamp.size for stamp in stamps])


def forget(order: bytes) -> None:
    """Close the root of a run; called on a worker."""
    with _opening:
        _opened.pop(order, None)


def _open(order: bytes) -> tuple[Tree, Extraction]:
    """Open a root once per process: a compressed tar is unpacked by that."""
    with _opening:
        if order not in _opened:
            root, asked, rest = pickle.loads(order)  # noqa: S301
            try:
                _refuse_another(root, asked)
                opened = pickle.loads(rest)  # noqa: S301
            except (CorpusError, OSError) as error:
                why = f"root {root}: {error.strerror}" if isinstance(error, OSError) else str(error)
                raise CorpusError(f"{_name()}: {why}; the audio has to lie at the same path on every worker") from error
            while len(_opened) >= _ROOTS:
                del _opened[next(iter(_opened))]
            _opened[order] = opened
        return _opened[order]


def _refuse_another(root: Path, asked: Stamp | None) -> None:
    """Refuse an archive that is not the one that the others work on; its time may differ, where it is a copy."""
    here = _archive(root)
    if here is not None and asked is not None and here.size != asked.size:
        raise CorpusError(f"root {root}: {here.size} bytes, {asked.size} where emodna-prep runs")


def _archive(root: Path) -> Stamp | None:
    """Size and time of a root that is a file."""
    if not root.is_file():
        return None
    status = root.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def _refuse_differences(asked: Mapping[str, str]) -> None:
    here = _versions()
    different = [name for name, version in asked.items() if here.get(name) != version]
    if different:
        there, mine = (", ".join(f"{name} {versions.get(name)}" for name in different) for versions in (here, asked))
        raise WorkerError(f"{_name()} has {there}, but emodna-prep {mine}: the features would not be the same")


@cache
def _versions() -> Mapping[str, str]:
    return feature_versions()


@cache
def _cpu() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


@cache
def _name() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address} ({socket.gethostname()})"
