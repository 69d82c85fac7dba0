"""Segmentation of long recordings at pauses: the rule, and stores of segments."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests
from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.audio.segment import (
    EnergySegmenter,
    Segmenter,
    find_segmenter,
    get_recording_ids,
    get_segment_starts,
    make_segment_id,
)
from emodna.pipeline.corpora.own import Manifest, Recordings
from emodna.pipeline.errors import AudioError, CorpusError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare import PrepareReport
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import LONG_AGO, CallbackLog, Float32, age, content, noise, prepare_corpus, wav

RATE = 22_050
BLOCK = 0.01  # s
ENERGY = EnergySegmenter()

Span = tuple[float, float]


def make_bursts(
    seconds: float, spans: Sequence[Span], *, level: float = 0.3, floor: float = 1e-3, rate: int = RATE, seed: int = 0
) -> Float32:
    """Return quiet noise with a tone in each span that pulses four times a second, like syllables."""
    samples = noise(seconds, rate, seed, floor)
    for start, stop in spans:
        first, last = round(start * rate), round(stop * rate)
        time = np.arange(last - first) / rate
        tone = (0.6 + 0.4 * np.cos(2 * np.pi * 4 * time)) * np.sin(2 * np.pi * 200 * time)
        samples[first:last] += (level * tone).astype(np.float32)
    return samples


def find_segments(samples: Float32, rule: Segmenter = ENERGY) -> list[Span]:
    """Return the segments in s, after checking their invariants."""
    segments = rule.find_segments(samples, RATE)
    assert segments == sorted(segments)
    for (_, stop), (start, _) in pairwise(segments):
        assert stop <= start
    assert segments[0][0] >= 0
    assert segments[-1][1] <= len(samples) / RATE
    longest = rule.parameters()["max_piece"]
    assert isinstance(longest, float)
    for start, stop in segments:
        assert 0.2 - BLOCK <= stop - start <= longest + BLOCK
        assert (100 * start, 100 * stop) == pytest.approx((round(100 * start), round(100 * stop)))
    return list(segments)


class TestRule:
    @pytest.mark.parametrize(("offset", "floor"), [(0.0, 0.0), (0.02, 1e-4), (-0.05, 1e-2)])
    def test_each_utterance_becomes_a_segment_with_margins(self, offset: float, floor: float) -> None:
        spans = [(0.8, 2.1), (3.0, 3.4), (5.2, 9.7)]
        segments = find_segments(make_bursts(11, spans, floor=floor) + np.float32(offset))
        assert len(segments) == len(spans)
        for (start, stop), (first, last) in zip(spans, segments, strict=True):
            assert start - 0.1 - 2 * BLOCK <= first <= start
            assert stop <= last <= stop + 0.1 + 2 * BLOCK

    @pytest.mark.parametrize("rate", [8_000, 11_025, 48_000])
    def test_the_sample_rate_does_not_change_the_cuts(self, rate: int) -> None:
        """The ids of segments must be the same for all feature sets."""
        spans = [(0.8, 2.1), (3.0, 3.4), (5.2, 9.7)]
        segments = ENERGY.find_segments(make_bursts(11, spans, floor=0, rate=rate), rate)
        assert segments == find_segments(make_bursts(11, spans, floor=0))

    def test_a_steady_sound_has_no_pause(self) -> None:
        """Blocks of nearly equal level were cut at random."""
        tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(25 * RATE) / RATE)
        segments = find_segments(tone.astype(np.float32))
        assert (segments[0][0], segments[-1][1]) == (0, 25)
        tone[5 * RATE : 6 * RATE] = 0  # a real pause is found
        first, second = find_segments(tone[: 12 * RATE].astype(np.float32))
        assert (first[1], second[0]) == (pytest.approx(5.1), pytest.approx(5.9))
        segments = find_segments(tone[6 * RATE :].astype(np.float32))
        assert all(stop == start for (_, stop), (start, _) in pairwise(segments))

    def test_short_pauses_do_not_cut(self) -> None:
        ((start, stop),) = find_segments(make_bursts(5, [(1, 1.8), (2.2, 3), (3.4, 4)]))
        assert start <= 1
        assert stop >= 4

    def test_segments_reach_the_ends_of_the_recording_and_clicks_are_not_voice(self) -> None:
        first, last = find_segments(make_bursts(6, [(0, 1.5), (3, 3.1), (4.5, 6)]))
        assert first[0] == 0
        assert last[1] >= 6 - BLOCK

    @pytest.mark.parametrize(("seconds", "word"), [(10, 0.4), (60, 0.5)])
    def test_a_single_word_is_found_in_a_long_recording(self, seconds: float, word: float) -> None:
        """The loudest second of such a recording is mostly noise, which was taken for voice."""
        ((start, stop),) = find_segments(make_bursts(seconds, [(3, 3 + word)]))
        assert start <= 3
        assert 3 + word <= stop <= 3.5 + word

    def test_long_segments_are_cut_at_their_quietest_points(self) -> None:
        samples = make_bursts(26, [(0.5, 25.5)])
        dips = [7.2, 15.0]
        for dip in dips:
            samples[round((dip - 0.1) * RATE) : round((dip + 0.1) * RATE)] *= 0.05
        segments = find_segments(samples)
        assert len(segments) == 4
        for dip in dips:
            assert min(abs(start - dip) for start, _ in segments) < 0.15
        # Cuts for length lose no samples.
        assert all(stop == start for (_, stop), (start, _) in pairwise(segments))

    @pytest.mark.parametrize("level", [0.0, 1e-6])
    def test_silence_has_no_voice(self, level: float) -> None:
        for offset in (0.0, 0.2):
            with pytest.raises(AudioError, match="no voice found"):
                ENERGY.find_segments(noise(5, RATE, level=level) + np.float32(offset), RATE)

    def test_parameters_include_every_constant(self) -> None:
        levels = {"above_noise_db": 10.0, "below_voice_db": 40.0, "min_range_db": 3.0, "noise_share": 0.45}
        times = {"min_pause": 0.5, "min_voice": 0.2, "margin": 0.1, "max_piece": 10.0}
        assert ENERGY.parameters() == {"segment": "energy", **levels, **times}

    @pytest.mark.parametrize(
        "constants", [{"margin": 0.25}, {"margin": -0.1}, {"min_voice": 0.0}, {"max_piece": 0.01}, {"max_piece": 0.7}]
    )
    def test_constants_for_overlapping_or_endless_segments_are_refused(self, constants: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="margins must be shorter than a pause"):
            EnergySegmenter(**constants)

    @given(
        spans=st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.02, 14.0), st.floats(-30.0, 0.0)), max_size=5),
        tail=st.floats(0.0, 2.0),
        floor=st.sampled_from([0.0, 1e-5, 1e-3, 0.05]),
        offset=st.sampled_from([0.0, 0.2]),
    )
    @settings(max_examples=20)
    def test_segments_of_any_signal_are_valid(
        self, spans: list[tuple[float, float, float]], tail: float, floor: float, offset: float
    ) -> None:
        parts = [np.zeros(0, np.float32)]
        for pause, length, level in spans:
            parts += [noise(pause, RATE, level=0), noise(length, RATE, seed=len(parts), level=0.2 * 10 ** (level / 20))]
        samples = np.concatenate([*parts, noise(tail, RATE, level=0)])
        samples = samples + noise(len(samples) / RATE, RATE, seed="floor", level=floor)[: len(samples)]
        try:
            find_segments(samples + np.float32(offset))
        except AudioError as error:
            assert str(error) == "no voice found"  # noqa: PT017

    @given(
        spans=st.lists(st.tuples(st.floats(0.8, 3.0), st.floats(0.3, 9.0)), min_size=1, max_size=5),
        level=st.sampled_from([0.9, 0.1, 0.01]),
    )
    @settings(max_examples=10)
    def test_no_clear_utterance_is_lost(self, spans: list[Span], level: float) -> None:
        places, at = [], 0.0
        for pause, length in spans:
            places.append((at + pause, at + pause + length))
            at += pause + length
        segments = find_segments(make_bursts(at + 1, places, level=level, floor=level / 1000))
        for start, stop in places:
            assert any(first <= start for first, _ in segments)
            inside = sum(max(0.0, min(stop, last) - max(start, first)) for first, last in segments)
            assert inside >= stop - start - 2 * BLOCK


class TestIds:
    @given(st.text(max_size=20), st.integers(0, 99_999_000))
    def test_ids_contain_recording_and_start(self, recording: str, milliseconds: int) -> None:
        id = make_segment_id(recording, milliseconds / 1000)
        column = pa.chunked_array([[id]])
        assert id < make_segment_id(recording, milliseconds / 1000 + 0.5)  # in order of time
        assert get_recording_ids(column).to_pylist() == [recording]
        assert get_segment_starts(column).to_pylist() == [pytest.approx(milliseconds / 1000, abs=1e-9)]

    def test_an_unknown_rule_is_refused(self) -> None:
        assert find_segmenter("none") is None
        assert find_segmenter("energy") == ENERGY
        with pytest.raises(CorpusError) as caught:
            find_segmenter("loud")
        assert (caught.value.field, caught.value.value) == ("segment", "loud")
        assert caught.value.valid == ("none", "energy")


#: Recordings of calls -> spans of speech in s.
CALLS: dict[str, list[Span]] = {
    "a.wav": [(0.8, 2.0), (3.0, 4.0)],
    "b b@00001.000.wav": [(1.0, 2.0)],
    "c/d.wav": [(0.7, 1.5), (2.5, 3.0), (4.0, 4.7)],
    "e.wav": [(0.0, 3.0)],
    "f.wav": [(1.0, 2.5), (3.5, 4.5)],
}


def write_recording(path: Path, spans: Sequence[Span], seed: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav(make_bursts(5, spans, rate=16_000, seed=len(seed), floor=1e-3), 16_000))
    age([path], seconds=LONG_AGO + len(seed))


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    for name, spans in CALLS.items():
        write_recording(tmp_path / "calls" / name, spans)
    return tmp_path / "calls"


def prepare(calls: Path, cache: Path, rule: Segmenter | None = ENERGY, **options: Any) -> PrepareReport:
    return prepare_corpus(calls, cache, Recordings(calls, "calls"), segmenter=rule, **options)


def prepare_table(calls: Path, cache: Path, rule: Segmenter | None = ENERGY) -> PrepareReport:
    return prepare_corpus(calls, cache, Manifest(calls / "t.csv", "t"), segmenter=rule)


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `prep_with_interrupt`
    monkeypatch.setattr(layout, "CUT_RECORDINGS_PER_SHARD", 2)


@pytest.mark.usefixtures("_small_shards")
class TestStores:
    def test_the_index_has_id_start_and_duration_of_each_segment(self, calls: Path, tmp_path: Path) -> None:
        report = prepare(calls, tmp_path / "cache")
        assert (report.utterances, report.extracted, report.rejected) == (9, 9, 0)
        store = FeatureStore(report.store)
        assert store.verify() == []
        assert store.table.column_names == [*layout.INDEX_SCHEMA.names, "start"]
        assert store.table.schema.field("start").type == pa.float64()
        found: dict[str, list[Span]] = {}
        for row in sorted(store.table.to_pylist(), key=lambda row: str(row["id"])):
            assert row["id"] == f"{row['path']}@{row['start']:09.3f}"
            assert row["sample_rate"] == 16_000
            found.setdefault(row["path"], []).append((row["start"], row["start"] + row["duration"]))
        assert found.keys() == CALLS.keys()
        for path, spans in CALLS.items():
            for (start, stop), (first, last) in zip(spans, found[path], strict=True):
                assert start - 0.13 < first <= start
                assert stop - BLOCK <= last < stop + 0.13
        assert report.audio_seconds == pytest.approx(sum(store.column("duration")))

    def test_features_are_those_of_each_segment_alone(self, calls: Path, tmp_path: Path) -> None:
        store = FeatureStore(prepare(calls, tmp_path / "cache").store)
        features = MfccSet()
        for number, row in enumerate(store.table.to_pylist()):
            with (calls / row["path"]).open("rb") as stream:
                recording = decode(stream)
            samples = resample(recording.samples, recording.sample_rate, RATE)
            start = int(row["start"] * RATE + 1e-3)
            alone, peak = features.extract(samples[start : int((row["start"] + row["duration"]) * RATE + 1e-3)])
            np.testing.assert_array_equal(store[number], alone)
            assert row["peak_db"] == np.float32(peak)

    def test_segments_have_the_columns_of_their_recording(self, calls: Path, tmp_path: Path) -> None:
        rows = [f"{name},{'anger' if name < 'c' else ''},s{name[0]},{name[0]}!" for name in CALLS]
        (calls / "t.csv").write_text("path,emotion,speaker,room\n" + "\n".join(rows))
        store = FeatureStore(prepare_table(calls, tmp_path / "cache").store)
        assert store.table.column_names[-2:] == ["start", "room"]
        for row in store.table.to_pylist():
            initial = row["path"][0]
            assert (row["speaker"], row["room"]) == (f"s{initial}", f"{initial}!")
            labels = ("anger", 1, 0) if initial < "c" else (None, None, None)
            assert (row["emotion"], row["arousal"], row["valence"]) == labels

    def test_ids_of_a_table_identify_the_recordings(self, calls: Path, tmp_path: Path) -> None:
        (calls / "t.csv").write_text("path,id\na.wav,x@00007.000\ne.wav,x\nf.wav,@\n")
        store = FeatureStore(prepare_table(calls, tmp_path / "cache").store)
        ids = get_recording_ids(store.table["id"]).to_pylist()
        assert dict(zip(ids, store.column("path"), strict=True)) == {"x@00007.000": "a.wav", "x": "e.wav", "@": "f.wav"}
        assert prepare_table(calls, tmp_path / "cache").reused == 5

    def test_a_table_of_segments_is_refused(self, calls: Path, tmp_path: Path) -> None:
        """The start of the segments that the rule found silently replaced the column of the table."""
        (calls / "t.csv").write_text("path,start\na.wav,1.5\n")
        with pytest.raises(CorpusError) as caught:
            prepare_table(calls, tmp_path / "cache")
        assert (caught.value.field, caught.value.value) == ("segment", "energy")
        (calls / "t.csv").write_text("path,start,end\na.wav,,NaN\n")  # no segments
        assert prepare_table(calls, tmp_path / "cache").utterances > 1

    def test_a_recording_without_voice_is_rejected(self, calls: Path, tmp_path: Path) -> None:
        (calls / "silent.wav").write_bytes(wav(bytes(2 * 16_000)))
        (calls / "broken.wav").write_bytes(b"RIFF")
        report = prepare(calls, tmp_path / "cache")
        assert report.utterances == 9
        assert [path for path, _ in report.rejections] == ["broken.wav", "silent.wav"]
        assert report.rejections[1] == ("silent.wav", "no voice found")

    def test_an_unchanged_corpus_is_not_examined_again(self, calls: Path, tmp_path: Path) -> None:
        before = content(prepare(calls, tmp_path / "cache").store)
        callback = CallbackLog()
        report = prepare(calls, tmp_path / "cache", callback=callback)
        assert (report.reused, report.extracted, callback.planned_recordings) == (9, 0, 0)
        assert content(report.store) == before
        report = prepare(calls, tmp_path / "cache", rehash=True)
        assert (report.reused, report.extracted) == (9, 0)
        assert content(report.store) == before

    def test_stores_follow_changed_new_and_deleted_recordings(self, calls: Path, tmp_path: Path) -> None:
        prepare(calls, tmp_path / "cache")
        write_recording(calls / "c/d.wav", [(1.0, 2.0), (3.0, 4.0)], seed="new")
        report = prepare(calls, tmp_path / "cache")
        assert (report.utterances, report.extracted, report.reused) == (8, 2, 6)
        (calls / "a.wav").unlink()
        for number in range(4):
            write_recording(calls / f"new{number}.wav", [(1, 2), (3, 4)])
        report = prepare(calls, tmp_path / "cache")
        assert (report.utterances, report.extracted) == (14, 8)
        assert content(report.store) == content(prepare(calls, tmp_path / "fresh").store)
        assert "1 recording of the earlier store dropped (the first: a.wav)" in report.warnings

    def test_workers_and_archives_do_not_change_the_bytes(self, calls: Path, tmp_path: Path) -> None:
        one = content(prepare(calls, tmp_path / "cache", workers=1).store)
        shutil.make_archive(str(tmp_path / "packed"), "zip", calls)
        assert one == content(prepare(tmp_path / "packed.zip", tmp_path / "other", workers=3).store)

    def test_earlier_segmentations_do_not_change_the_bytes(self, calls: Path, tmp_path: Path) -> None:
        """Utterances of other segmentations are not reused."""
        configs: list[tuple[Segmenter | None, float]] = [
            *((ENERGY, 3600.0), (None, 3600.0), (ENERGY, 3600.0), (ENERGY, 4000.0)),
            (replace(ENERGY, max_piece=1.0), 3600.0),
        ]
        for number, (rule, seconds) in enumerate(configs):
            report = prepare(calls, tmp_path / "cache", rule, max_seconds=seconds)
            fresh = prepare(calls, tmp_path / f"fresh{number}", rule, max_seconds=seconds)
            assert content(report.store) == content(fresh.store)
            assert report.rejections == fresh.rejections
            expected = None if rule is None else {**rule.parameters(), "max_seconds": seconds}
            assert FeatureStore(report.store).snapshot.segmentation == expected
            assert FeatureStore(report.store).verify() == []

    @pytest.mark.slow
    def test_a_kill_does_not_change_the_bytes(self, calls: Path, tmp_path: Path) -> None:
        """A later preparation with another segmentation does not reuse the finished work."""
        command = [sys.executable, "-m", "tests.pipeline.prep_with_interrupt", "after:write_journal:2", "SIGKILL"]
        command += ["--folder", str(calls), "--cache", str(tmp_path / "cache"), "--segment", "energy", "--workers", "1"]
        folder = Path(str(tests.__file__)).parents[1]
        killed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        configs: list[tuple[Segmenter | None, float]] = [(ENERGY, 3600.0), (None, 3600.0), (ENERGY, 4000.0)]
        for number, (rule, seconds) in enumerate(configs):
            cache = shutil.copytree(tmp_path / "cache", tmp_path / f"cache{number}")
            report = prepare(calls, cache, rule, max_seconds=seconds)
            fresh = prepare(calls, tmp_path / f"fresh{number}", rule, max_seconds=seconds)
            assert content(report.store) == content(fresh.store)
            assert report.reused >= 2 if number == 0 else report.reused == 0
