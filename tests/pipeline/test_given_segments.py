"""Tests of segments that a table gives: times, ids, stores."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.audio.decode import decode
from emodna.pipeline.audio.segment import get_recording_ids, make_span_id
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.inspect.duplicates import find_altered_copies, find_equal_audio
from emodna.pipeline.inspect.survey import survey_store
from emodna.pipeline.prepare import PrepareReport, extract
from emodna.pipeline.spans import WHOLE, Span, SpanError, read_spans
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import CallbackLog, age, content, noise, prepare_corpus, wav

#: Sample rate of the feature set; no resampling, so that segments are cut at exact samples.
RATE = MfccSet().sample_rate


def read_one_span(start: object, end: object = None) -> Span | SpanError:
    (span,) = read_spans(pa.table({"start": pa.array([start]), "end": pa.array([end])}))
    return span


class TestTimes:
    @pytest.mark.parametrize(
        ("cell", "seconds"),
        [
            *(("0.5", 0.5), (" 1 ", 1.0), (".5", 0.5), ("1e1", 10.0), ("0,5", 0.5), ("12,25", 12.25)),
            *(("00:01:02.5", 62.5), ("1:00:00", 3600.0), ("0 days 00:00:01.500000", 1.5), ("1 day, 0:00:01", 86401.0)),
            *(
                (1, 1.0),
                (0.25, 0.25),
                (timedelta(milliseconds=1500), 1.5),
                ("NaT", 0.0),
                (float("nan"), 0.0),
                (None, 0.0),
            ),
        ],
    )
    def test_times_of_other_programs_are_read(self, cell: object, seconds: float) -> None:
        assert read_one_span(cell) == Span(seconds, None)

    @pytest.mark.parametrize(
        ("start", "end", "kind"),
        [
            *((cell, None, "start is not a number") for cell in ("abc", "9:30", "5 s", "inf", "1_0", True, 1e999)),
            *((cell, None, "start is negative") for cell in ("-0.5", -1, "-0:00:01", "-1 days +23:59:59")),
            *((2.0, end, "end is not after start") for end in (2.0, 1, "0.5")),
            ("1,234", None, "comma"),  # 1.234 s or 1234 s
        ],
    )
    def test_unusable_times_are_named(self, start: object, end: Any, kind: str) -> None:
        end = str(end) if isinstance(start, str) and end is not None else end
        error = read_one_span(start, end)
        assert isinstance(error, SpanError)
        assert kind in error.kind

    def test_a_table_with_a_decimal_comma_has_one_everywhere(self) -> None:
        table = pa.table({"start": ["1,234", "0"], "end": ["12,345", "0,5"]})
        assert list(read_spans(table)) == [Span(1.234, 12.345), Span(0.0, 0.5)]

    def test_durations_of_arrow_are_seconds(self) -> None:
        for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
            table = pa.table({"end": pa.array([2 * factor, None], pa.duration(unit))})
            assert list(read_spans(table)) == [Span(0.0, 2.0), WHOLE]


@given(
    spans=st.lists(
        st.tuples(st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e6))).map(lambda pair: Span(*pair)),
        unique=True,
        max_size=20,
    )
)
@settings(max_examples=25, deadline=None)
def test_ids_of_different_spans_differ(spans: list[Span]) -> None:
    ids = [make_span_id("a@b.wav", span) for span in spans]
    assert len(set(ids)) == len(spans)
    segments = [id for id, span in zip(ids, spans, strict=True) if span != WHOLE]
    assert set(get_recording_ids(pa.chunked_array([segments], pa.string())).to_pylist()) <= {"a@b.wav"}


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.wav").write_bytes(wav(noise(4.0, seed=name, rate=RATE), rate=RATE))
    age(folder.iterdir())
    return folder


def prepare(
    calls: Path, rows: str, *, header: str = "path,start,end", cache: str = "cache", **options: Any
) -> PrepareReport:
    (calls / "t.csv").write_text(f"{header}\n{rows}")
    return prepare_corpus(calls, calls.parent / cache, Manifest(calls / "t.csv", "t"), **options)


ROWS = "a.wav,0.5,2\na.wav,1,3.5\na.wav,1,\nb.wav,,1\nb.wav,,\n"
IDS = [
    "a.wav@00000.500-00002.000",
    "a.wav@00001.000-",
    "a.wav@00001.000-00003.500",
    "b.wav",
    "b.wav@00000.000-00001.000",
]


class TestStores:
    def test_each_row_is_an_utterance_of_its_own(self, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded = []
        monkeypatch.setattr(extract, "decode", lambda *args, **rest: decoded.append(1) or decode(*args, **rest))
        report = prepare(calls, ROWS)
        assert (report.utterances, report.extracted, report.rejected, len(decoded)) == (5, 5, 0, 2)
        store = FeatureStore(report.store)
        assert store.verify() == []
        assert store.snapshot.segmentation == {"segment": "table", "max_seconds": 3600.0}
        assert store.table.column_names == [*layout.INDEX_SCHEMA.names, "start", "end"]
        rows = sorted(store.table.to_pylist(), key=lambda row: str(row["id"]))
        assert [row["id"] for row in rows] == IDS
        assert [row["start"] for row in rows] == [0.5, 1.0, 1.0, 0.0, 0.0]
        assert [row["end"] for row in rows] == [2.0, None, 3.5, None, 1.0]
        assert [row["duration"] for row in rows] == [1.5, 3.0, 2.5, 4.0, 1.0]
        assert len(pa.compute.unique(store.table["audio_sha256"])) == 2
        assert report.audio_seconds == 12.0

    def test_features_are_those_of_each_segment_alone(self, calls: Path) -> None:
        store = FeatureStore(prepare(calls, ROWS).store)
        for number, row in enumerate(store.table.to_pylist()):
            with (calls / row["path"]).open("rb") as stream:
                samples = decode(stream).samples
            first = round(row["start"] * RATE)
            alone, _ = MfccSet().extract(samples[first : first + round(row["duration"] * RATE)])
            np.testing.assert_array_equal(store[number], alone)

    def test_labels_and_own_columns_belong_to_the_row(self, calls: Path) -> None:
        rows = "a.wav,0.5,2,angry,s1,x\na.wav,1,3.5,sad,s2,y\n"
        table = FeatureStore(prepare(calls, rows, header="path,start,end,emotion,speaker,note").store).table
        columns = ["start", "emotion", "speaker", "note"]
        found = sorted(tuple(row.values()) for row in table.select(columns).to_pylist())
        assert found == [(0.5, "anger", "s1", "x"), (1.0, "sadness", "s2", "y")]

    def test_segments_of_a_recording_are_no_duplicates(self, calls: Path) -> None:
        rows = "a.wav,0,3,u\na.wav,0.1,3,v\nb.wav,0,2,w\n"
        store = FeatureStore(prepare(calls, rows, header="path,start,end,id").store)
        assert find_equal_audio(store) == []
        assert find_altered_copies(store, survey_store(store)[1], []) == []

    def test_unchanged_segments_are_not_examined_again(self, calls: Path) -> None:
        before = content(prepare(calls, ROWS).store)
        callback = CallbackLog()
        report = prepare(calls, ROWS, callback=callback)
        assert (report.reused, report.extracted, callback.planned_recordings) == (5, 0, 0)
        assert content(report.store) == before
        assert content(prepare(calls, ROWS, rehash=True).store) == before

    def test_only_changed_rows_are_extracted(self, calls: Path) -> None:
        prepare(calls, ROWS)
        moved = ROWS.replace("0.5,2", "0.5,2.5")
        for rows, extracted, reused in (
            (moved, 1, 4),
            (moved.replace("b.wav,,1", "b.wav,,1.25") + "b.wav,3,4\n", 2, 4),
            (moved.replace("a.wav,1,\n", ""), 1, 3),
            ("a.wav,1,3.5\n", 0, 1),
            ("a.wav,,\nb.wav,,\n", 2, 0),  # whole recordings: another segmentation
            (ROWS, 5, 0),
        ):
            report = prepare(calls, rows)
            assert (report.extracted, report.reused) == (extracted, reused)
        assert content(report.store) == content(prepare(calls, ROWS, cache="fresh").store)

    def test_a_new_span_of_the_same_id_is_extracted(self, calls: Path) -> None:
        for rows, extracted in (("a.wav,0,1,u\nb.wav,0,1,v\n", 2), ("a.wav,0,2,u\nb.wav,0,1,v\n", 1)):
            report = prepare(calls, rows, header="path,start,end,id")
            assert report.extracted == extracted
        store = FeatureStore(report.store)
        assert dict(zip(store.ids, store.column("duration"), strict=True)) == {"u": 2.0, "v": 1.0}

    def test_a_segment_that_moves_to_another_recording_is_extracted(self, calls: Path) -> None:
        for path, extracted in (("a.wav", 2), ("b.wav", 2)):
            report = prepare(calls, f"b.wav,0,1,u\n{path},1,2,v\n", header="path,start,end,id")
            assert report.extracted == extracted
        store = FeatureStore(report.store)
        assert len(set(store.column("audio_sha256"))) == 1

    def test_a_changed_recording_is_extracted_again(self, calls: Path) -> None:
        prepare(calls, ROWS)
        (calls / "b.wav").write_bytes(wav(noise(5.0, seed="new", rate=RATE), rate=RATE))
        assert prepare(calls, ROWS).extracted == 2
        (calls / "b.wav").unlink()
        report = prepare(calls, ROWS)
        assert (report.utterances, report.rejected) == (3, 1)

    def test_spans_end_at_the_recording_or_shortly_behind_it(self, calls: Path) -> None:
        report = prepare(calls, "a.wav,1,4.04\na.wav,2,4.1\na.wav,4,\na.wav,3.999,4\nb.wav,5,6\n")
        assert FeatureStore(report.store).column("duration") == [3.0]
        assert [path for path, _ in report.rejections] == ["a.wav", "a.wav", "a.wav", "b.wav"]
        for span in ("2 s to 4.1 s", "4 s to the end", "3.999 s to 4 s", "5 s to 6 s"):
            assert sum(reason.startswith(span) for _, reason in report.rejections) == 1
        with pytest.raises(CorpusError, match=r"beyond the end .*rename the columns start and end"):
            prepare(calls, "a.wav,5,6\n", cache="other")  # such as times in a longer recording

    def test_unusable_rows_are_counted_and_the_others_prepared(self, calls: Path) -> None:
        report = prepare(calls, "a.wav,x,\na.wav,0,1\na.wav,1,1\nb.wav,2,1\n")
        assert report.utterances == 1
        assert report.skipped == {
            "start is not a number of seconds (the first: row 1, 'x')": 1,
            "end is not after start (the first: row 3, 1 s to 1 s)": 2,
        }

    def test_workers_do_not_change_the_bytes(self, calls: Path) -> None:
        assert content(prepare(calls, ROWS, workers=1).store) == content(
            prepare(calls, ROWS, cache="b", workers=3).store
        )

    def test_audformat_is_read(self, calls: Path) -> None:
        nanoseconds = {
            name: pa.array(values, pa.duration("ns"))
            for name, values in {"start": [0, 10**9], "end": [500 * 10**6, None]}.items()
        }
        pq.write_table(pa.table({"file": [str(calls / "a.wav")] * 2, **nanoseconds}), calls / "t.parquet")
        report = prepare_corpus(calls, calls.parent / "cache", Manifest(calls / "t.parquet", "t"))
        assert sorted(FeatureStore(report.store).column("duration")) == [0.5, 3.0]


_times = st.one_of(st.just(""), st.floats(-1, 5).map(lambda time: f"{time:.2f}"), st.sampled_from(["x", "NaN", "0,5"]))


@settings(max_examples=10, deadline=None)
@given(times=st.lists(st.tuples(st.sampled_from(["a.wav", "b.wav"]), _times, _times), min_size=1, max_size=8))
def test_every_row_gives_at_most_one_utterance(
    times: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    rows = "".join(f'{path},"{start}","{end}"\n' for path, start, end in times)
    (folder / "t.csv").write_text(f"path,start,end\n{rows}")
    try:
        scan = Manifest(folder / "t.csv", "t").scan(FolderTree(folder))
    except CorpusError as error:
        assert "twice" in str(error) or "no usable row" in str(error)  # noqa: PT017
        return
    assert len(scan) + sum(scan.skipped.values()) == len(times)
    assert len(set(scan.table["id"].to_pylist())) == len(scan)
    for each in scan.utterances:
        assert each.start >= 0
        assert each.end is None or each.end > each.start
