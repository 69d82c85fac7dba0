"""The loader yields the batches of both streams, whatever the residency."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.config import PADDINGS, Padding
from emodna.model.data import loading
from emodna.model.data.loading import RESIDENCIES, Loader, Residency, choose_resident_streams
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.errors import ConfigError
from emodna.pipeline.features import MfccSet
from tests.model.small import InterruptAt, Interruption, Stores, assert_no_thread_left, assert_same_tensors, fit_small

CPU = torch.device("cpu")
Streams = tuple[SourceStream, TargetStream]


def make_framer(padding: Padding = "silence", *, own: bool = False) -> Framer:
    values = Statistics(np.linspace(-30, 5, 40, dtype=np.float32), np.linspace(1, 9, 40, dtype=np.float32))
    return Framer(40, padding, None if own else values, MfccSet().silence)


def make_streams(
    pair: Stores, batch_size: int = 8, seed: int = 0, framer: Framer | None = None, skipped: int = 3
) -> Streams:
    """Make a stream of two sources, the second without every `skipped`-th label, and a stream of the target."""
    of_source, of_target = (CorpusWindows(store, framer or make_framer(), ["de", "en"]) for store in pair)
    labels = pair[1].labels("valence").copy()
    labels[::skipped] = -1
    sources = [(of_source, pair[0].labels("valence")), (of_target, labels)]
    batches = {"batch_size": batch_size, "seed": seed}
    return SourceStream(sources, **batches), TargetStream(of_target, **batches)


@settings(deadline=None, max_examples=20)
@given(
    residency=st.sampled_from(RESIDENCIES),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**31),
    first=st.integers(0, 40),
    padding=st.sampled_from(PADDINGS),
    own=st.booleans(),
    skipped=st.integers(2, 32),
)
def test_batches_equal_those_of_the_streams(
    pair: Stores,
    residency: Residency,
    batch_size: int,
    seed: int,
    first: int,
    padding: Padding,
    own: bool,
    skipped: int,
) -> None:
    steps, framer = range(first, first + 3), make_framer(padding, own=own)
    fresh, streams = (make_streams(pair, batch_size, seed, framer, skipped) for _ in range(2))
    with assert_no_thread_left(), Loader(*streams, steps, CPU, residency) as loader:
        for step in steps:
            for given, stream in zip(next(loader), fresh, strict=True):
                expected = stream.batch(step)
                assert type(given) is type(expected)
                assert_same_tensors(given.tensors, expected.tensors)


@settings(deadline=None, max_examples=20)
@given(
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**31),
    step=st.integers(0, 40),
    padding=st.sampled_from(PADDINGS),
    own=st.booleans(),
    skipped=st.integers(2, 32),
)
def test_a_batch_contains_the_windows_of_its_ids(
    pair: Stores, batch_size: int, seed: int, step: int, padding: Padding, own: bool, skipped: int
) -> None:
    framer = make_framer(padding, own=own)
    stores = {name: (store, row) for store in pair for row, name in enumerate(store.ids)}
    languages = {
        name: ["de", "en"].index(each)
        for store in pair
        for name, each in zip(store.ids, store.column("language"), strict=True)
    }
    for stream in make_streams(pair, batch_size, seed, framer, skipped):
        batch = stream.batch(step)
        ids = stream.ids(step)
        assert len(ids) == batch_size
        for i, name in enumerate(ids):
            store, row = stores[name]
            window = np.empty((40, 40), np.float32)
            assert batch.lengths[i] == framer(store[row], float(store.peak_db[row]), window)
            assert np.array_equal(batch.features[i].T.numpy(), window)
            assert batch.language[i] == languages[name]
        if isinstance(stream, SourceStream):
            labels = [stores[name][0].labels("valence")[stores[name][1]] for name in ids]
            assert batch.tensors["labels"].tolist() == labels


def test_weights_and_logs_do_not_depend_on_residency_and_a_resume_may_change_it(pair: Stores, tmp_path: Path) -> None:
    for residency in RESIDENCIES:
        fit_small(*pair, tmp_path / residency, residency=residency)
    options: dict[str, Any] = {"resume": True, "settings": {"checkpoint_seconds": "0"}}
    with pytest.raises(Interruption):
        fit_small(*pair, tmp_path / "both", residency="on", callback=InterruptAt(2), **options)
    fit_small(*pair, tmp_path / "both", residency="off", **options)
    for one, another in (("on", "off"), ("auto", "off"), ("both", "off")):
        for name in ("model.safetensors", "metrics.jsonl"):
            assert (tmp_path / one / name).read_bytes() == (tmp_path / another / name).read_bytes()


class TestResidents:
    @pytest.fixture
    def both(self, pair: Stores) -> Streams:
        return make_streams(pair)

    @pytest.mark.parametrize(
        ("room", "kept"), [(10**9, ["target", "source"]), (300_000, ["target"]), (200_000, []), (0, [])]
    )
    def test_auto_chooses_streams_that_fit_the_smallest_first(
        self, room: int, kept: list[str], both: Streams, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # 32 windows of the target take 206 kB, 53 of the source 341 kB.
        monkeypatch.setattr(loading, "_HOST_BYTES", room)
        names = dict(zip(both, ("source", "target"), strict=True))
        assert [names[stream] for stream in choose_resident_streams("auto", both, 100, CPU)] == kept

    def test_auto_chooses_streams_that_are_read_completely(self, both: Streams) -> None:
        assert choose_resident_streams("auto", both, 3, CPU) == []
        assert choose_resident_streams("auto", both, 4, CPU) == [both[1]]
        assert len(choose_resident_streams("auto", both, 7, CPU)) == 2

    def test_on_chooses_all_and_off_none(self, both: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "_HOST_BYTES", 0)
        assert choose_resident_streams("on", both, 1, CPU) == list(both)
        assert choose_resident_streams("off", both, 10**6, CPU) == []

    def test_too_large_windows_are_an_error(
        self, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "_measure_memory", lambda _: (10**5, 10**5))
        with pytest.raises(ConfigError) as raised:
            fit_small(*pair, tmp_path / "run", residency="on")
        assert (raised.value.field, raised.value.value) == ("residency", "on")
