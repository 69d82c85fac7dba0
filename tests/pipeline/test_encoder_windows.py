"""Windows over long audio, averages over time, batches for a GPU, and the log-mel spectrogram of encoders."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emodna.pipeline.encoders.anatomy import Anatomy
from emodna.pipeline.encoders.batches import BatchedEncoder
from emodna.pipeline.encoders.front_end import make_input
from emodna.pipeline.encoders.windows import average, encode_in_windows, plan_windows
from tests.pipeline.making import Float32, noise

HOP = 640


@given(length=st.integers(1, 5000), window=st.integers(2, 500), share=st.floats(0, 0.9))
def test_windows_cover_the_audio_and_overlap(length: int, window: int, share: float) -> None:
    overlap = int(share * window)
    windows = plan_windows(length, window, overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    assert {stop - start for start, stop in windows} == {min(length, window)}
    overlaps = [before - start for (_, before), (start, _) in pairwise(windows)]
    assert all(each == overlap for each in overlaps[:-1])
    assert all(overlap <= each < window for each in overlaps[-1:])


@given(bins=st.lists(st.integers(0, 12), min_size=1, max_size=40), first=st.integers(0, 12), count=st.integers(1, 6))
@example(bins=[0, 0], first=0, count=2)
@example(bins=[3, 5], first=0, count=9)
def test_averages_equal_those_of_a_loop(bins: list[int], first: int, count: int) -> None:
    bins.sort()
    hidden = np.random.default_rng(0).standard_normal((len(bins), 3)).astype(np.float32)
    found = average(hidden, np.array(bins), first, first + count)
    for row, number in zip(found, range(first, first + count), strict=True):
        inside = [frame for frame, each in zip(hidden, bins, strict=True) if each == number]
        after = [frame for frame, each in zip(hidden, bins, strict=True) if number < each < first + count]
        expected = inside or after[:1] or [hidden[: max(np.searchsorted(bins, first + count), 1)][-1]]
        np.testing.assert_allclose(row, np.mean(expected, axis=0), atol=1e-6)


class _Sampler:
    """An encoder whose frames are samples of its input."""

    def __init__(self, stride: int) -> None:
        self.stride, self.inputs = stride, 0

    def encode(self, inputs: Float32) -> Float32:
        self.inputs = max(self.inputs, len(inputs))
        return inputs[:, :: self.stride, None]


@pytest.mark.parametrize("length", [16_000, 16_001, 40_000, 123_457])
def test_frames_of_long_audio_come_from_the_nearest_window(length: int) -> None:
    """The samples are their own times, so a frame shows where it comes from."""
    anatomy = Anatomy(("0",), 1, "waveform", 0, "none", "none", 16_000, 320, 0, 1)
    samples = np.arange(length, dtype=np.float32)
    found = encode_in_windows(samples, _Sampler(320), anatomy, overlap=4000, hop=HOP)
    starts = np.array([start for start, _ in plan_windows(length, 16_000, 4000)])
    assert len(found) in (length // HOP, length // HOP + 1)
    for number, (value,) in enumerate(found):
        start = starts[np.abs(starts + 8000 - (number + 0.5) * HOP).argmin()]
        times = np.arange(start, start + 16_000, 320)
        inside = times[(times // HOP == number) & (times < length)]
        assert value == pytest.approx(inside.mean())


class _Recorder:
    """An encoder that returns its inputs times two, or fails for negative ones."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, inputs: Float32) -> Float32:
        self.shapes.append(inputs.shape)
        time.sleep(0.002)  # so that other threads wait
        if inputs.min() < 0:
            raise RuntimeError("negative")
        return 2 * inputs[:, :, None]


def test_a_batch_has_the_windows_of_several_threads() -> None:
    recorder = _Recorder()
    encoder = BatchedEncoder(recorder, 4)
    windows = [np.full((1, 5), number, np.float32) for number in range(40)]
    with ThreadPoolExecutor(6) as pool:
        for window, states in zip(windows, pool.map(encoder.encode, windows), strict=True):
            assert np.array_equal(states, 2 * window[:, :, None])
    assert set(recorder.shapes) == {(4, 5)}
    assert len(recorder.shapes) < len(windows)
    with pytest.raises(RuntimeError, match="negative"):
        encoder.encode(-windows[1])
    assert encoder.encode(windows[3]).max() == 6


@pytest.mark.parametrize(("seconds", "mels"), [(2, 80), (8, 128)])
def test_the_log_mel_spectrogram_equals_that_of_transformers(seconds: int, mels: int) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'emodna[encoders]'")
    extractor = transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=seconds)
    padded = np.pad(noise(1.3), (seconds * 16_000 - 20_800, 0))
    for scaling, is_scaled in (("none", False), ("zero mean, unit variance", True)):
        anatomy = Anatomy(("0",), 1, "log-mel", mels, scaling, "front", len(padded), 320, 0, 400)  # type: ignore[arg-type]
        found, front = make_input(noise(1.3), anatomy)
        (expected,) = extractor(
            padded, sampling_rate=16_000, do_normalize=is_scaled, return_tensors="np"
        ).input_features
        assert front == len(padded) - 20_800
        assert found.shape == (mels, seconds * 100)
        np.testing.assert_allclose(found, expected, atol=2e-5)
