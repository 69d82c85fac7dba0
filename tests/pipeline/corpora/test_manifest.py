"""Tests of a user's table of recordings: columns, paths, errors, stores."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.corpora.base import Scan, Utterance
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tables import MISSING_WORDS, ROWS_PER_BATCH
from tests.pipeline.making import noise, prepare_corpus, wav


def write_table(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def scan_table(manifest: Path, root: Path | None = None) -> Scan:
    return Manifest(manifest, "mine").scan(FolderTree(root or manifest.parent))


def read_utterances(manifest: Path, root: Path | None = None) -> list[Utterance]:
    return list(scan_table(manifest, root).utterances)


def get_error(manifest: Path, root: Path | None = None) -> str:
    """Scan a table, and return its error: one line that names it."""
    with pytest.raises(CorpusError) as caught:
        scan_table(manifest, root)
    text = str(caught.value)
    assert "\n" not in text
    assert str(manifest) in text
    return text


class TestReading:
    def test_a_path_column_is_enough(self, tmp_path: Path) -> None:
        assert read_utterances(write_table(tmp_path, "path\nb.wav\na/a.wav\n")) == [
            Utterance(id="a/a.wav", path="a/a.wav"),
            Utterance(id="b.wav", path="b.wav"),
        ]

    def test_all_known_columns_are_used(self, tmp_path: Path) -> None:
        text = "emotion,id,path,speaker,gender,language,text,intensity\nanger,u1,a.wav,s7,female,fr,t3,strong\n"
        expected = Utterance("u1", "a.wav", "s7", "f", "fr", "t3", "strong", emotion_code="anger", emotion="anger")
        assert read_utterances(write_table(tmp_path, text)) == [expected]

    def test_parquet_is_read_like_csv(self, tmp_path: Path) -> None:
        columns = {"path": ["a.wav", "b.wav"], "emotion": ["fear", None], "speaker": [1, 2], "room": ["x", "y"]}
        pq.write_table(pa.table(columns), tmp_path / "table.parquet")
        text = "path,emotion,speaker,room\na.wav,fear,1,x\nb.wav,,2,y\n"
        assert read_utterances(tmp_path / "table.parquet") == read_utterances(write_table(tmp_path, text))

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("path,emotion\na.wav,anger\n", "utf-8-sig"),  # as Excel writes it
            ("path,emotion\r\na.wav,anger\r\n", "utf-8"),
            ("path;emotion\na.wav;anger\n", "utf-8"),
            ("path\temotion\na.wav\tanger\n", "utf-8"),
            (",path,emotion\n0,a.wav,anger\n", "utf-8"),  # as pandas writes it, with its index
            ("path,emotion,,\na.wav,anger,,\n,,,\n", "utf-8"),  # empty columns and rows at the end
            ("path,emotion\na.wav,anger,,\n\n,\n,,,\n", "utf-8"),
            ("sep=;\r\npath;emotion\r\na.wav;anger\r\n", "utf-8-sig"),
            ('"sep=|"\npath|emotion\na.wav|anger\n', "utf-8"),
            ("path\temotion\r\na.wav\tanger\r\n", "utf-16"),  # Excel's Unicode text
            ("file,emotion\na.wav,anger\n", "utf-8"),  # as audformat calls it
        ],
    )
    def test_tables_of_other_programs_are_read(self, tmp_path: Path, text: str, encoding: str) -> None:
        (utterance,) = read_utterances(write_table(tmp_path, text, encoding=encoding))
        assert (utterance.path, utterance.emotion) == ("a.wav", "anger")

    def test_commas_quotes_and_newlines_can_be_quoted(self, tmp_path: Path) -> None:
        text = 'path,text\n"a,b.wav","she said ""no"""\n"two\nlines.wav",t\n'
        texts = {each.path: each.text for each in read_utterances(write_table(tmp_path, text))}
        assert texts == {"a,b.wav": 'she said "no"', "two\nlines.wav": "t"}

    def test_unknown_words_for_gender_are_counted(self, tmp_path: Path) -> None:
        words = {"f": "f", "Female": "f", "w": "f", "m": "m", "MALE": "m", "": None, "NaN": None, "other": None}
        rows = "".join(f"{number}.wav,{word}\n" for number, word in enumerate(words))
        scan = scan_table(write_table(tmp_path, f"path,gender\n{rows}"))
        assert [each.gender for each in scan.utterances] == list(words.values())
        (warning,) = scan.warnings
        assert "'other' (1)" in warning

    def test_emotion_takes_any_case_and_the_code_keeps_it(self, tmp_path: Path) -> None:
        (utterance,) = read_utterances(write_table(tmp_path, "path,emotion\na.wav, Happiness \n"))
        assert (utterance.emotion, utterance.emotion_code) == ("happiness", "Happiness")

    def test_unknown_emotions_are_skipped_and_counted_by_word_in_any_case(self, tmp_path: Path) -> None:
        text = "path,emotion\na.wav,anger\nb.wav,excited\nc.wav,Excited\nd.wav,other\ne.wav,\nf.wav,  \n"
        scan = scan_table(write_table(tmp_path, text))
        emotions = {each.path: each.emotion for each in scan.utterances}
        assert emotions == {"a.wav": "anger", "e.wav": None, "f.wav": None}
        ((reason, count),) = scan.skipped.items()
        assert count == 3
        assert reason.startswith(
            "unknown emotion 'excited' (2, the first: row 2), 'other' (1, the first: row 4); valid"
        )
        assert all(emotion in reason for emotion in EMOTIONS)
        assert scan.warnings == []

    def test_few_of_many_unknown_emotions_are_listed(self, tmp_path: Path) -> None:
        rows = "".join(f"{number}.wav,word {number}\n" for number in range(1000))
        scan = scan_table(write_table(tmp_path, f"path,emotion\na.wav,joy\n{rows}"))
        ((reason, count),) = scan.skipped.items()
        assert count == 1000
        assert reason.count("the first") < 30

    @pytest.mark.parametrize("text", ["path,label,begin\na.wav,anger,1\n", "path\na.wav\n", "path,emotion\na.wav,\n"])
    def test_own_columns_without_a_column_emotion_are_a_warning(self, tmp_path: Path, text: str) -> None:
        warnings = scan_table(write_table(tmp_path, text)).warnings
        assert len(warnings) == ("label" in text)
        assert all(line.startswith("no column emotion") and line.endswith("label, begin") for line in warnings)

    def test_missing_words_are_missing_in_every_column(self, tmp_path: Path) -> None:
        columns = ("id", "emotion", "speaker", "gender", "language", "text", "intensity", "start", "end")
        rows = [[f"{number}.wav", *[word] * len(columns)] for number, word in enumerate(MISSING_WORDS)]
        with (tmp_path / "table.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", *columns], *rows])
        expected = [Utterance(id=row[0], path=row[0]) for row in rows]
        assert sorted(read_utterances(tmp_path / "table.csv"), key=attrgetter("id")) == sorted(
            expected, key=attrgetter("id")
        )

    def test_numbers_beside_missing_cells_are_whole(self, tmp_path: Path) -> None:
        """pandas writes 1.0 for 1, and NaN for a missing cell."""
        numbers = pa.array([1.0, float("nan"), 2.5, None])
        pq.write_table(pa.table({"path": list("abcd"), "speaker": numbers, "text": numbers}), tmp_path / "t.parquet")
        rows = "a,1.0,1.0\nb,,\nc,2.5,2.5\nd,NaN,nan\n"
        for table in (tmp_path / "t.parquet", write_table(tmp_path, f"path,speaker,text\n{rows}")):
            found = read_utterances(table)
            assert [each.speaker for each in found] == [each.text for each in found] == ["1", None, "2.5", None]

    def test_people_may_be_called_nan(self, tmp_path: Path) -> None:
        found = read_utterances(write_table(tmp_path, "path,speaker\na.wav,Nan\nb.wav,none\n"))
        assert [each.speaker for each in found] == ["Nan", "none"]

    def test_rows_are_numbered_with_the_empty_ones(self, tmp_path: Path) -> None:
        text = "path,emotion,note\na.wav,anger,\n,,\n\n,,a note\n"
        assert "row 4: no path" in get_error(write_table(tmp_path, text))


class TestPaths:
    def test_absolute_paths_below_the_root_are_made_relative_even_through_links(self, tmp_path: Path) -> None:
        """/tmp is a link on macOS, and many data folders are links."""
        (tmp_path / "disk").mkdir()
        (tmp_path / "data").symlink_to(tmp_path / "disk")
        for root in ("disk", "data"):
            table = write_table(tmp_path, f"path\n{tmp_path}/{root}/x/../a.wav\n")
            (utterance,) = read_utterances(table, tmp_path / root)
            assert (utterance.id, utterance.path) == ("a.wav", "a.wav")

    def test_any_path_below_the_root_is_read(self, tmp_path: Path) -> None:
        paths = ["a\tb.wav", "-rf", "a//b.wav", "%00", "~a.wav", "x" * 5000]
        pq.write_table(pa.table({"path": paths}), tmp_path / "t.parquet")
        assert len(read_utterances(tmp_path / "t.parquet")) == len(paths)

    @pytest.mark.parametrize("path", ["..", "../root2/a.wav", "a/../../b", r"..\a.wav"])
    def test_a_path_outside_the_root_is_an_error_with_its_row(self, path: str, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        text = get_error(write_table(tmp_path, f"path\na.wav\n{path}\n"), tmp_path / "root")
        assert f"row 2: {path} is outside the root" in text

    def test_absolute_paths_outside_the_root_are_taken_as_they_are(self, tmp_path: Path) -> None:
        for folder in ("root", "elsewhere"):
            (tmp_path / folder).mkdir()
        (tmp_path / "elsewhere/a.wav").write_bytes(wav(noise()))
        table = write_table(tmp_path / "root", f"path,speaker\n{tmp_path}/x/../elsewhere/a.wav,s1\n/dev/zero,s1\n")
        for reused in (0, 1):
            report = prepare_corpus(tmp_path / "root", tmp_path / "cache", Manifest(table, "mine"))
            assert report.rejections == [("/dev/zero", "not a regular file")]
            assert (report.reused, report.extracted) == (reused, 1 - reused)
        assert FeatureStore(report.store).ids == [f"{tmp_path}/elsewhere/a.wav"]

    def test_separators_of_windows_lead_into_folders(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        for name in ("sub/a.wav", r"sub\b.wav", "sub/b.wav"):
            (tmp_path / name).touch()
        paths = [each.path for each in read_utterances(write_table(tmp_path, "path\nsub\\a.wav\nsub\\b.wav\n"))]
        assert paths == ["sub/a.wav", r"sub\b.wav"]  # a file of exactly this name comes first

    @pytest.mark.parametrize("path", [r"C:\data\a.wav", "d:/a.wav", r"\\server\share\a.wav"])
    def test_drives_of_windows_are_refused(self, path: str, tmp_path: Path) -> None:
        assert f"row 1: {path} is a path of Windows" in get_error(write_table(tmp_path, f"path\n{path}\n"))

    def test_the_home_folder_is_understood(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "root/~").mkdir(parents=True)
        (tmp_path / "root/~/b.wav").touch()
        table = write_table(tmp_path / "root", "path\n~/a.wav\n~/b.wav\n")
        assert [each.path for each in read_utterances(table)] == [f"{tmp_path}/home/a.wav", "~/b.wav"]

    def test_folders_and_impossible_paths_are_rejected_and_the_rest_is_prepared(self, tmp_path: Path) -> None:
        (tmp_path / "folder.wav").mkdir()
        (tmp_path / "good.wav").write_bytes(wav(noise(0.2)))
        names = ["good.wav", "folder.wav", ".", "nul\0.wav", "x" * 300 + ".wav"]
        pq.write_table(pa.table({"path": names}), tmp_path / "t.parquet")
        report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "mine"))
        assert FeatureStore(report.store).ids == ["good.wav"]
        assert sorted(path for path, _ in report.rejections) == sorted(names[1:])


class TestErrors:
    def test_a_missing_table_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "folder.parquet").mkdir()
        os.mkfifo(tmp_path / "pipe.csv")
        for name in ("absent.csv", "pipe.csv"):
            assert get_error(tmp_path / name).endswith("not found")
        for name in ("", "folder.parquet"):
            assert get_error(tmp_path / name).endswith("is a folder, not a table")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "empty"),
            ("name,emotion\na.wav,anger\n", "its columns: name, emotion"),
            ("path\n", "no rows"),
            ("path,emotion\na.wav,euphoria\n", "1 x unknown emotion 'euphoria'"),
            ("path,start\na.wav,9:30\nb.wav,x\n", "2 x start is not a number of seconds (the first: row 1, '9:30')"),
            ("path,start,end\na.wav,1,2\na.wav,1.0,2\n", "'a.wav@00001.000-00002.000' occurs twice"),
            ("path, Start\na.wav,1\n", "unknown column ' Start'; write 'start' or rename it"),
            ("Path,Start\na.wav,1\n", "unknown columns 'Path', 'Start'; write 'path', 'start' or rename them"),
            (" FILE\na.wav\n", "unknown column ' FILE'; write 'file' or rename it"),
            ("path,emotion\na.wav,fear\na.wav,calm\n", "add columns start and end"),
            ("PK\3\4", "a spreadsheet; save it as CSV"),
            ("path,emotion\na.wav,anger\n,anger\n", "row 2: no path"),
            ("path,emotion\nb.wav,fear\na.wav\n", "row 2 has 1 cell,"),
            ("path,emotion\nb.wav,fear\na.wav,anger,more\n", "row 2 has 3 cells"),
            ("path,id\na.wav,one\nb.wav,two\nc.wav,one\n", "rows 1 and 3: id 'one' occurs twice"),
            ("path\na.wav\n./a.wav\n", "'a.wav' occurs twice"),
            ("path,emotion,emotion\na.wav,anger,fear\n", "'emotion' occurs twice"),
            ("path,arousal\na.wav,1\n", "arousal"),
            ("path,feature_crc\na.wav,1\n", "feature_crc"),
            ('path\n"a.wav\n', "not a CSV table"),
            ('path\n"a"b.wav\n', "not a CSV table"),
            ('path,"id\na,b\n', "not a CSV table"),
            (f"path\n{'x' * 200_000}\n", "field larger than field limit"),
        ],
    )
    def test_a_bad_table_is_an_error_with_the_row_column_or_value(self, tmp_path: Path, text: str, reason: str) -> None:
        assert reason in get_error(write_table(tmp_path, text))

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "latin-1"])
    def test_another_encoding_than_utf_8_is_an_error(self, tmp_path: Path, encoding: str) -> None:
        get_error(write_table(tmp_path, "path\nä.wav\n", encoding=encoding))

    @pytest.mark.parametrize(
        "content", [b"path\na.wav\n", b"PAR1" + bytes(50) + b"PAR1", b"a\n\0\xff"], ids=["text", "zeros", "short"]
    )
    def test_a_damaged_parquet_file_is_an_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "table.parquet").write_bytes(content)
        assert "not a Parquet table" in get_error(tmp_path / "table.parquet")

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"RIFF\xff\0", "not a CSV table"), (b"p\xe4th", "byte 1 is 0xe4")]
    )
    def test_a_file_that_is_not_utf_8_is_an_error_with_advice_for_text(
        self, tmp_path: Path, content: bytes, reason: str
    ) -> None:
        (tmp_path / "table.csv").write_bytes(content)
        assert reason in get_error(tmp_path / "table.csv")


class TestStores:
    def write(self, folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
        for row in rows:
            (folder / row["path"]).write_bytes(wav(noise(seed=row["path"])))
        with (folder / "mine.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return folder / "mine.csv"

    def test_own_columns_follow_the_standard_ones_with_their_types(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(wav(noise()))
        (tmp_path / "b.wav").write_bytes(wav(noise(seed=1)))
        columns = {
            "path": ["a.wav", "b.wav"],
            "age": pa.array([31, None], pa.int64()),
            "valence_rating": [0.5, 2.5],
            "Wer?": ['ä "quoted", text', None],
            "room": pa.array(["x", "y"]).dictionary_encode(),
        }
        pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
        manifest = Manifest(tmp_path / "mine.parquet", "mine")
        own = FeatureStore(prepare_corpus(tmp_path, tmp_path / "cache", manifest).store).table
        assert own.column_names[-5:] == ["feature_crc", "age", "valence_rating", "Wer?", "room"]
        rows = sorted(own.select(list(columns)).to_pylist(), key=lambda row: str(row["path"]))
        assert [tuple(row.values()) for row in rows] == [
            ("a.wav", 31, 0.5, 'ä "quoted", text', "x"),
            ("b.wav", None, 2.5, None, "y"),
        ]

    def test_a_corrected_label_is_stored_without_extracting_again(self, tmp_path: Path) -> None:
        rows = [{"path": "a.wav", "emotion": "fear"}, {"path": "b.wav", "emotion": "calm"}]
        for emotion in ("fear", "anger"):
            rows[0]["emotion"] = emotion
            report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(self.write(tmp_path, rows), "mine"))
        assert (report.reused, report.extracted) == (2, 0)
        assert sorted(FeatureStore(report.store).column("emotion")) == ["anger", "calm"]

    def test_missing_files_are_rejected_and_unlisted_files_ignored(self, tmp_path: Path) -> None:
        emotions = {"a.wav": "", "b.wav": "calm", "c.wav": ""}
        manifest = self.write(tmp_path, [{"path": path, "emotion": emotion} for path, emotion in emotions.items()])
        (tmp_path / "a.wav").rename(tmp_path / "other.wav")
        report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(manifest, "mine"))
        assert report.rejections == [("a.wav", "cannot be read: No such file or directory")]
        store = FeatureStore(report.store)
        labels = {row["path"]: (row["emotion"], row["arousal"], row["valence"]) for row in store.table.to_pylist()}
        assert labels == {"b.wav": ("calm", 0, 1), "c.wav": (None, None, None)}
        assert sorted(store.labels("arousal").tolist()) == [-1, 0]

    def test_ids_of_any_text_are_kept(self, tmp_path: Path) -> None:
        ids = ["日本語", "a\nb", "[bold]", "x" * 300, "\u0301", "'\"\\", "spaces  inside"]
        rows = [{"path": f"{number}.wav", "id": id} for number, id in enumerate(ids)]
        report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(self.write(tmp_path, rows), "mine"))
        store = FeatureStore(report.store)
        assert sorted(store.ids) == sorted(ids)
        assert store.verify() == []


def test_rows_are_read_in_batches_and_numbered_across_them(tmp_path: Path) -> None:
    count = ROWS_PER_BATCH + 10
    rows = "".join(f"{number}.wav,{number % 7}\n" for number in range(count))
    scan = scan_table(write_table(tmp_path, f"path,room\n{rows}"))
    assert len(scan) == len(scan.select_own_columns()) == count
    table = write_table(tmp_path, f"path,room\n{rows},\n../out.wav,1\n")
    assert f"row {count + 2}: ../out.wav is outside" in get_error(table)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, float("inf")]),
        pa.array([1, 2], pa.timestamp("ns")),
        pa.array([["a"], ["b"]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"a.wav", b"\xff"]),
        pa.array(["a.wav", "b.wav"]).dictionary_encode(),
        pa.array([Decimal("1.5"), Decimal("2.5")]),
        pa.array(["a", "b"], pa.large_string()),
    ],
    ids=str,
)
def test_columns_of_any_type_are_read_or_a_one_line_error(values: pa.Array, tmp_path: Path) -> None:
    for column in ("path", "id", "emotion", "start", "room"):
        columns: dict[str, Any] = {"path": ["p.wav", "q.wav"]} | {column: values}
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        try:
            scan = scan_table(tmp_path / "t.parquet")
        except CorpusError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert column in ("path", "emotion", "start")  # the others take any type
        else:
            assert len({utterance.id for utterance in scan.utterances}) == 2 - sum(scan.skipped.values())


def test_string_and_binary_views_are_read(tmp_path: Path) -> None:
    """Arrow cannot take rows of these types."""
    views = {"path": pa.array(["b.wav", "a.wav"], pa.string_view()), "own": pa.array([b"b", None], pa.binary_view())}
    pq.write_table(pa.table(views), tmp_path / "t.parquet")
    scan = scan_table(tmp_path / "t.parquet")
    assert [each.path for each in scan.utterances] == ["a.wav", "b.wav"]
    assert scan.select_own_columns()["own"].to_pylist() == [None, b"b"]
