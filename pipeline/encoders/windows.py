"""Hidden states of audio of any length, at a fixed frame rate."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.encoders.anatomy import Anatomy, Encoder
from emodna.pipeline.encoders.front_end import make_input


def plan_windows(length: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return first and last sample (exclusive) of windows that cover `length` samples.

    Only the last two windows overlap by more than `overlap`, so that the last one is as long as the others.
    """
    starts = [*range(0, max(length - window, 0), window - overlap), max(length - window, 0)]
    return [(start, min(start + window, length)) for start in starts]


def encode_in_windows(
    samples: NDArray[np.float32], encoder: Encoder, anatomy: Anatomy, *, overlap: int, hop: int
) -> NDArray[np.float32]:
    """Return the hidden states (frames, dim) of (n,) samples, averaged over each `hop` samples.

    Each frame is the mean of the encoder's frames whose centres it contains. It comes from the window whose centre is
    the nearest. Frames of padding are dropped.
    """
    return np.concatenate(list(_encode_each(samples, encoder, anatomy, overlap, hop)))


def _encode_each(
    samples: NDArray[np.float32], encoder: Encoder, anatomy: Anatomy, overlap: int, hop: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the frames that come from each window."""
    windows = plan_windows(len(samples), anatomy.window, overlap)
    centres = [(start + stop) / 2 for start, stop in windows]
    borders = [(before + after) / 2 for before, after in pairwise(centres)]
    first = 0
    for number, (start, stop) in enumerate(windows):
        inputs, front = make_input(samples[start:stop], anatomy)
        (hidden,) = encoder.encode(inputs[None])
        at = np.arange(len(hidden)) * anatomy.stride + anatomy.centre - front
        is_real = (at >= 0) & (at < stop - start)
        bins = (at[is_real] + start) // hop
        is_last = number == len(windows) - 1
        last = int(bins[-1]) + 1 if is_last else int(np.ceil(borders[number] / hop - 0.5))
        yield average(hidden[is_real], bins, first, last)
        first = last


def average(hidden: NDArray[np.float32], bins: NDArray[np.int64], first: int, last: int) -> NDArray[np.float32]:
    """Return the means (last - first, dim) of the frames (n, dim) in each bin from `first` to before `last`.

    `bins` (n,) are the bins of the frames, in order. A bin without frames takes the next one, or the last.
    """
    wanted = np.arange(first, last)
    starts = np.searchsorted(bins, wanted)
    counts = np.searchsorted(bins, wanted, side="right") - starts
    end = max(int(np.searchsorted(bins, last)), 1)
    frames = hidden[:end]
    if starts[-1] >= end:  # empty bins at the end start with the copy of a frame
        starts, frames = np.minimum(starts, end), np.concatenate([frames, frames[-1:]])
    # reduceat returns the frame at the start of an empty part.
    sums = np.add.reduceat(frames, starts, axis=0)
    means: NDArray[np.float32] = sums / np.maximum(counts, 1)[:, None].astype(np.float32)
    return means
