"""What only the audio itself can tell: clipping, offset, digital silence at the ends. The store does not record it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.archives import open_tree
from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import UNUSABLE, CorpusError, rejection
from emodna.pipeline.store import FeatureStore

#: Clipped is what stays at the file's extreme for so many samples: a smooth peak does so for one or two.
CLIPPED_RUN: Final = 3
#: Lowest extreme, relative to full scale, that a converter can have clipped at: audio may have been turned down since.
_LOWEST_CLIP: Final = 0.1
#: Mean, relative to full scale, from which on there is an offset (-46 dB).
OFFSET: Final = 0.005
#: s of samples that are exactly zero, from which on they are named.
ZEROS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Waveform:
    """Facts of the audio of one recording; or why there are none."""

    row: int
    """Of the recording's first utterance."""
    clipped: int = 0
    """Samples in runs of at least `CLIPPED_RUN` at the file's own extreme."""
    offset: float = 0.0
    """Mean of the samples, relative to full scale."""
    zeros_before: float = 0.0
    """s of digital silence at the beginning."""
    zeros_behind: float = 0.0
    """s of digital silence at the end; 0 where all is silent."""
    problem: str | None = None
    """Changed since it was prepared, or not to be read."""


def waveforms(store: FeatureStore, root: Path | None, examined: Callable[[], None]) -> Iterator[Waveform]:
    """Read the audio of a store again, each recording once, in order of path.

    Parameters
    ----------
    root
        Where the audio lies; None is the root that the store records.
    examined
        Is called after each recording.

    Raises
    ------
    CorpusError
        No such root.
    """
    table = store.columns(["path", "audio_sha256"])
    paths, hashes = (table[name].to_pylist() for name in ("path", "audio_sha256"))
    root = Path(store.snapshot.root) if root is None else root
    try:
        tree = open_tree(root, sorted({PurePosixPath(path).suffix.lower() for path in paths}))
    except CorpusError as error:
        raise CorpusError(f"--audio: {error} (give the one where the audio lies now by --root)") from error
    channel = int(store.snapshot.parameters["channel"])
    for path, rows in groupby(sorted(range(len(paths)), key=paths.__getitem__), key=paths.__getitem__):
        row = next(rows)
        try:
            with tree.open(path) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == hashes[row]:
                    recording = decode(stream, channel=channel, max_seconds=np.inf)
                    yield judge(row, recording.samples, recording.sample_rate)
                else:
                    yield Waveform(row, problem="not the audio that was prepared: changed since")
        except UNUSABLE as error:
            yield Waveform(row, problem=rejection(error))
        examined()


def judge(row: int, samples: NDArray[np.float32], sample_rate: int) -> Waveform:
    """Facts of (n,) samples at a rate in Hz."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return Waveform(row, zeros_before=len(samples) / sample_rate)
    return Waveform(
        row,
        clipped=_clipped(samples),
        offset=float(samples.mean(dtype=np.float64)),
        zeros_before=int(sounding[0]) / sample_rate,
        zeros_behind=(len(samples) - 1 - int(sounding[-1])) / sample_rate,
    )


def _clipped(samples: NDArray[np.float32]) -> int:
    """Samples in long enough runs at the highest or the lowest value that there is."""
    count = 0
    for extreme in (samples.max(), samples.min()):
        if abs(extreme) < _LOWEST_CLIP:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], samples == extreme, [False]])))
        runs = edges[1::2] - edges[::2]
        count += int(runs[runs >= CLIPPED_RUN].sum())
    return count
