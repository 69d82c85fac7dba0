"""Peak, level, clipping and bandwidth of audio, in stores of every age, and the warnings about levels."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr

from emodna.pipeline.audio.decode import decode
from emodna.pipeline.audio.quality import AudioQuality, describe_levels, measure_quality
from emodna.pipeline.audio.segment import find_segmenter
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.inspect.report import compute_statistics
from emodna.pipeline.store import FeatureStore, index, layout
from emodna.pipeline.store.snapshot import compute_checksum, encode_document, hash_file
from tests.pipeline.making import (
    CallbackLog,
    Float32,
    content,
    make_emodb_names,
    noise,
    prepare_corpus,
    prepare_without_commit,
    write_tiny_emodb,
)

NAMES = make_emodb_names(6)


def limit(samples: Float32, rate: int, hertz: int) -> Float32:
    """Remove the frequencies above a limit."""
    limited: Float32 = soxr.resample(soxr.resample(samples, rate, 2 * hertz), 2 * hertz, rate).astype(np.float32)
    return limited


def sine(amplitude: float, rate: int = 16_000, hertz: float = 441.0) -> Float32:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(rate) / rate + 0.1)).astype(np.float32)


class TestMeasures:
    @pytest.mark.parametrize(
        ("samples", "peak", "clipped"),
        [
            (sine(0.5), 0.5, 0.0),
            (-sine(0.5) - 0.2, 0.7, 0.0),
            (sine(30_000), 30_000, 0.0),
            (np.clip(sine(1.0), -0.5, 0.5), 0.5, 2 / 3),
            (np.clip(sine(1.0), -2, 0.5), 1.0, 1 / 3),
            (np.clip(sine(0.1), -0.05, 0.05), 0.05, 0.0),  # too quiet to tell
            (np.full(9, 0.5), 0.5, 1.0),
            (np.full(9, 1e-9), 0.0, 0.0),
            (np.zeros(9), 0.0, 0.0),
            (np.ones(1), 1.0, 0.0),
            (np.zeros(0), 0.0, 0.0),
        ],
    )
    def test_peak_level_and_clipping(self, samples: Float32, peak: float, clipped: float) -> None:
        measured = measure_quality(samples.astype(np.float32), 16_000)
        assert measured.peak == pytest.approx(peak, rel=1e-3, abs=1e-6)
        power = np.square(samples, dtype=np.float64).sum() / max(len(samples), 1)
        assert measured.level_db == pytest.approx(10 * np.log10(max(power, 1e-12)), abs=0.001)
        assert measured.clipped == pytest.approx(clipped, abs=0.01)

    def test_blocks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        samples = np.clip(sine(1.0), -0.7, 0.7)
        whole = measure_quality(samples, 16_000)
        monkeypatch.setattr("emodna.pipeline.audio.quality._BLOCK", 7)
        parts = measure_quality(samples, 16_000)
        assert (parts.peak, parts.clipped, parts.bandwidth) == (whole.peak, whole.clipped, whole.bandwidth)
        assert parts.level_db == pytest.approx(whole.level_db)

    @pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
    @pytest.mark.parametrize("hertz", [3000, 4000, 5500, 8000, 11_025])
    def test_the_bandwidth_is_the_limit_of_the_spectrum(self, rate: int, hertz: int) -> None:
        samples = noise(1.0, rate)
        if 2 * hertz < rate:
            samples = limit(samples, rate, hertz)
        expected = min(hertz, rate / 2)
        assert 0.93 * expected < measure_quality(samples, rate).bandwidth < expected + 150

    def test_hum_dither_and_level_do_not_matter(self) -> None:
        narrow, random = limit(noise(1.0, 48_000), 48_000, 4000), np.random.default_rng(0)
        dither = (random.random(48_000) - random.random(48_000)).astype(np.float32) / 32_768
        for samples in (
            narrow + sine(0.5, 48_000, 50.0),
            narrow + dither,
            narrow / 100 + dither,
            narrow * 32_768,
            np.round(narrow * 32_768) / 32_768,
            np.concatenate([np.zeros(200_000, np.float32), narrow]),
        ):
            assert 3700 < measure_quality(samples.astype(np.float32), 48_000).bandwidth < 4200

    @pytest.mark.parametrize(("length", "rate"), [(1, 16_000), (20, 48_000), (9, 7), (1000, 100), (0, 8000)])
    def test_short_and_slow_audio_has_a_bandwidth(self, length: int, rate: int) -> None:
        assert 0 <= measure_quality(noise(1.0)[:length], rate).bandwidth <= rate / 2


#: Format, subtype, factor of the samples, and a word of the warning; None if there is none.
LEVELS = [
    ("WAV", "FLOAT", 1.0, None),
    ("WAV", "FLOAT", 1.5, None),  # as mixing software leaves it
    ("WAV", "FLOAT", 3.0, "peak 3 "),
    ("WAV", "FLOAT", 2.0**15, "16-bit"),
    ("WAV", "FLOAT", 2.0**12, "16-bit"),
    ("WAV", "FLOAT", 1.2 * 2.0**15, "16-bit"),
    ("WAV", "FLOAT", 2.0**23, "24-bit"),
    ("WAV", "DOUBLE", 2.0**31, "32-bit"),
    ("AIFF", "FLOAT", 2.0**15, "16-bit"),
    ("CAF", "FLOAT", 2.0**23, "24-bit"),
    ("W64", "DOUBLE", 2.0**15, "16-bit"),
    ("AU", "FLOAT", 2.0**31, "32-bit"),
    ("RF64", "FLOAT", 2.0**15, "16-bit"),
    ("WAV", "PCM_16", 5.0, None),  # the writer clips
    ("WAV", "PCM_24", 5.0, None),
    ("WAV", "PCM_U8", 5.0, None),
    ("WAV", "ULAW", 5.0, None),
    ("AU", "ALAW", 5.0, None),
    ("FLAC", "PCM_16", 5.0, None),
    ("MP3", "MPEG_LAYER_III", 1.3, None),
    ("OGG", "VORBIS", 1.3, None),
    ("WAV", "FLOAT", 2.0**-13, "-8"),
    ("WAV", "PCM_32", 2.0**-16, "-10"),  # 16-bit values in 32 bits
    ("WAV", "PCM_16", 0.01, None),
]


class TestWarnings:
    @pytest.mark.parametrize(("form", "subtype", "factor", "word"), LEVELS)
    def test_levels_of_files(self, form: str, subtype: str, factor: float, word: str | None) -> None:
        stream, speech = BytesIO(), np.clip(noise(0.3, level=0.3), -1, 1)
        soundfile.write(stream, speech / np.abs(speech).max() * factor, 16_000, format=form, subtype=subtype)
        stream.seek(0)
        quality = measure_quality(decode(stream).samples, 16_000)
        lines = list(describe_levels(["a"], np.array([quality.peak]), np.array([quality.level_db])))
        assert len(lines) == (word is not None)
        assert word is None or word in lines[0]

    def test_one_line_counts_the_files_and_names_the_first(self) -> None:
        (line,) = describe_levels(["a", "b", "c", "d"], np.array([0.5, 9000, np.nan, 20_000]), np.full(4, np.nan))
        assert line.startswith("2 recordings ")
        assert "b, peak 9000 " in line

    def test_a_few_quiet_recordings_are_normal(self) -> None:
        assert not list(describe_levels(["a", "b", "c"], np.ones(3), np.array([-20, -30, -75.0])))
        assert list(describe_levels(["a", "b", "c"], np.ones(3), np.array([-80, -120, -75.0])))

    def test_every_preparation_and_the_statistics_name_the_file(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", sine(20_000), 16_000, subtype="FLOAT")
        soundfile.write(tmp_path / "b.wav", np.clip(sine(2.0), -1, 1), 16_000)
        soundfile.write(tmp_path / "c.wav", sine(1e-4), 16_000, subtype="FLOAT")
        for extracted in (3, 0):
            report = prepare_corpus(tmp_path, tmp_path / "cache", Recordings(tmp_path, "own"))
            assert report.extracted == extracted
            (line,) = (line for line in report.warnings if "a.wav" in line)
            assert "peak 20000" in line
        document = compute_statistics(FeatureStore(report.store), window=4.4)
        assert document["overloaded"] == [{"id": "a.wav", "peak": pytest.approx(20_000, rel=1e-4)}]
        assert [each["id"] for each in document["quiet"]] == ["c.wav"]
        assert [each["id"] for each in document["clipped"]] == ["b.wav"]


class TestColumns:
    def test_the_columns_hold_the_measures_of_each_segment(self, tmp_path: Path) -> None:
        pause = np.zeros(16_000, np.float32)
        narrow = limit(noise(1.0, level=0.05), 16_000, 4000)
        soundfile.write(tmp_path / "a.wav", np.concatenate([pause, noise(1.0), pause, narrow, pause]), 16_000)
        corpus = Recordings(tmp_path, "own")
        report = prepare_corpus(tmp_path, tmp_path / "cache", corpus, segmenter=find_segmenter("energy"))
        first, second = FeatureStore(report.store).columns(layout.QUALITY_COLUMNS).sort_by("level_db").to_pylist()[::-1]
        assert first["level_db"] == pytest.approx(second["level_db"] + 9, abs=2)
        assert (first["bandwidth"], second["bandwidth"]) == (pytest.approx(8000, abs=99), pytest.approx(4000, abs=150))

    def test_a_limited_store_holds_at_most_its_limit(self, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path / "root", NAMES)
        store = FeatureStore(prepare_corpus(tmp_path / "root", tmp_path / "cache", bandwidth=4000.0).store)
        assert max(store.column("bandwidth")) <= 4000


def remove_columns(store: Path) -> None:
    """Give a store the index of an earlier version."""
    document = json.loads((store / "store.json").read_bytes())
    (entry,) = (each for each in document["files"] if each["name"].startswith("index"))
    table = pq.read_table(store / entry["name"]).drop_columns(list(layout.QUALITY_COLUMNS))
    pq.write_table(table, store / "new.parquet")
    sha256 = hash_file(store / "new.parquet")
    name = layout.make_content_name("index", sha256, ".parquet")
    (store / "new.parquet").rename(store / name)
    (store / entry["name"]).unlink()
    entry.update(name=name, size=(store / name).stat().st_size, sha256=sha256)
    del document["checksum"]
    (store / "store.json").write_bytes(encode_document(document | {"checksum": compute_checksum(document)}))


class TestEarlierStores:
    def test_an_earlier_store_is_read_reused_and_extended(self, tmp_path: Path) -> None:
        root, cache = tmp_path / "root", tmp_path / "cache"
        write_tiny_emodb(root, NAMES[:4])
        path = prepare_corpus(root, cache).store
        fingerprint = FeatureStore(path).fingerprint
        remove_columns(path)
        for _ in range(2):
            store = FeatureStore(path)
            assert store.columns(["id", "peak"])["peak"].null_count == len(store) == 4
            assert store.table["bandwidth"].null_count == 4
            assert set(store.table.column_names) == set(layout.INDEX_SCHEMA.names)
            callback = CallbackLog()
            report = prepare_corpus(root, cache, callback=callback)
            assert (report.reused, callback.planned_recordings) == (4, 0)
            assert FeatureStore(path).fingerprint == fingerprint
        assert compute_statistics(store, window=4.4)["quality"]["level_db"] is None
        write_tiny_emodb(root, NAMES)
        assert (prepare_corpus(root, cache).extracted, FeatureStore(path).table["peak"].null_count) == (2, 4)
        assert prepare_corpus(root, cache, rehash=True).extracted == 4
        assert FeatureStore(path).table["peak"].null_count == 0

    def test_an_earlier_journal_is_reused(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        write_tiny_emodb(root, NAMES)
        store = prepare_without_commit(root, tmp_path / "cache")
        for path in (store / "journal").iterdir():
            table = index.read_checksummed(path)
            assert table is not None
            index.write_checksummed(path, table.drop_columns(list(layout.QUALITY_COLUMNS)))
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.extracted, report.reused) == (0, 6)
        assert FeatureStore(report.store).table["level_db"].null_count == 6

    def test_a_users_own_column_of_a_new_name_is_no_measure(self, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path / "root", NAMES)
        path = prepare_corpus(tmp_path / "root", tmp_path / "cache").store
        store = Path(shutil.copytree(path, tmp_path / "store"))
        assert content(store) == content(path)
        remove_columns(store)
        file = next(store.glob("index-*"))
        table = pq.read_table(file)
        pq.write_table(table.append_column("peak", [["loud"] * len(table)]), file)
        read = index._read_columns(file, ["peak"])["peak"]
        assert read.null_count == len(table)


def test_the_columns_are_the_fields_of_the_measures() -> None:
    assert tuple(AudioQuality.__slots__) == layout.QUALITY_COLUMNS
