"""Tests of IEMOCAP: turns, label files, subsets."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.archives import FolderTree, Stamp, Tree
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Scan, Utterance
from emodna.pipeline.corpora.iemocap import Iemocap
from emodna.pipeline.errors import AudioError, CorpusError
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.builders import BUILDERS, IEMOCAP_COUNTS, IEMOCAP_HEADER, write_file
from tests.pipeline.making import noise, prepare_corpus, wav

TURN = "Ses01F_impro01_F000"


class MemoryTree(Tree):
    def __init__(self, files: Mapping[str, bytes | Exception]) -> None:
        self.root = Path("/memory")
        self._files = files

    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        return iter(sorted(path for path in self._files if path.lower().endswith(tuple(suffixes))))

    def open(self, path: str) -> BinaryIO:
        content = self._files[path]
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    def read_stamp(self, path: str) -> Stamp | None:
        return Stamp(1, 0) if path in self._files else None

    def make_relative(self, path: str) -> str | None:
        return path


def make_line(turn: str = TURN, code: str = "ang", ratings: str = "[2.5000, 3.0000, 3.5000]", end: str = "\n") -> str:
    return f"[6.2901 - 8.2357]\t{turn}\t{code}\t{ratings}{end}"


def make_labels(*lines: str) -> bytes:
    return (IEMOCAP_HEADER + "".join(lines)).encode("latin-1")


def make_wav_path(turn: str) -> str:
    return f"Session{turn[4]}/sentences/wav/{turn.rsplit('_', 1)[0]}/{turn}.wav"


def make_label_path(turn: str) -> str:
    return f"Session{turn[4]}/dialog/EmoEvaluation/{turn.rsplit('_', 1)[0]}.txt"


def scan_files(files: Mapping[str, bytes | Exception], subset: str | None = None) -> Scan:
    return load_corpus("iemocap", subset).scan(MemoryTree(files))


def read_one(turn: str = TURN, content: bytes | None = None) -> Utterance:
    files = {make_wav_path(turn): b"", make_label_path(turn): content or make_labels(make_line(turn))}
    (utterance,) = scan_files(files).utterances
    return utterance


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BUILDERS["iemocap"].build(tmp_path_factory.mktemp("iemocap"))


class TestLines:
    def test_a_line_has_emotion_and_ratings(self) -> None:
        assert read_one() == Utterance(
            id=TURN,
            path=f"Session1/sentences/wav/Ses01F_impro01/{TURN}.wav",
            speaker="Ses01F",
            gender="f",
            language="en",
            emotion_code="ang",
            emotion="anger",
            extra={"dialog": "Ses01F_impro01", "valence_rating": 2.5, "arousal_rating": 3.0, "dominance_rating": 3.5},
        )

    @pytest.mark.parametrize("end", ["\r\n", "\r", "  \n", ""])
    def test_line_ends_of_any_system_are_read(self, end: str) -> None:
        assert read_one(content=make_labels(make_line(end=end))).emotion == "anger"

    def test_lines_outside_the_grammar_are_counted_and_single_raters_are_ignored(self) -> None:
        broken = [
            "[6.2901 - 8.2357]\n",
            make_line(ratings="[2.5000, nan, 3.5000]"),
            make_line(turn="Ses06F_impro01_F001"),
            make_line(turn="Ses01F_impro01"),
            make_line(end=" more\n"),
            "[\n",
        ]
        raters = "C-E2:\tNeutral;\t(blas\xe9, \x85 \x92)\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
        scan = scan_files({make_wav_path(TURN): b"", make_label_path(TURN): make_labels(*broken, raters, make_line())})
        assert [utterance.id for utterance in scan.utterances] == [TURN]
        assert scan.skipped == {"label line outside the grammar": len(broken)}

    @given(st.binary())
    def test_any_content_of_a_label_file_is_handled(self, content: bytes) -> None:
        files = {make_wav_path(TURN): b"", make_label_path(TURN): make_labels(make_line())}
        files["Session1/dialog/EmoEvaluation/more.txt"] = content
        assert [utterance.id for utterance in scan_files(files).utterances] == [TURN]

    @given(
        st.integers(1, 5),
        st.sampled_from("FM"),
        st.sampled_from(["impro01", "impro09a", "script01_1", "script03_2b"]),
        st.sampled_from("FM"),
        st.integers(0, 999),
        st.tuples(*[st.integers(2, 10).map(lambda half: half / 2)] * 3),
    )
    def test_any_turn_of_the_grammar_is_parsed(
        self, session: int, captured: str, dialog: str, speaker: str, number: int, ratings: tuple[float, float, float]
    ) -> None:
        turn = f"Ses0{session}{captured}_{dialog}_{speaker}{number:03d}"
        utterance = read_one(turn, make_labels(make_line(turn, "neu", "[{:.4f}, {:.4f}, {:.4f}]".format(*ratings))))
        assert (utterance.id, utterance.speaker, utterance.emotion) == (turn, f"Ses0{session}{speaker}", "neutral")
        assert utterance.gender == speaker.lower()  # the last letter, not the prefix
        assert tuple(utterance.extra.values()) == (f"Ses0{session}{captured}_{dialog}", *ratings)


class TestFiles:
    def test_the_folders_of_single_raters_are_not_read(self) -> None:
        files = self.make_files(TURN, code="sad")
        for folder in ("Attribute", "Categorical", "Self-evaluation"):
            files[f"Session1/dialog/EmoEvaluation/{folder}/a.txt"] = make_labels(make_line(code="hap"), "[broken\n")
        files["Session1/dialog/transcriptions/Ses01F_impro01.txt"] = make_labels("[broken\n")
        scan = scan_files(files)
        assert [utterance.emotion for utterance in scan.utterances] == ["sadness"]
        assert scan.skipped == {}

    def test_the_release_has_an_extra_folder(self) -> None:
        files = {f"IEMOCAP_full_release/{path}": content for path, content in self.make_files(TURN).items()}
        files["IEMOCAP_full_release/Documentation/readme.txt"] = b"[not a label\n"
        scan = scan_files(files)
        assert [utterance.path for utterance in scan.utterances] == [f"IEMOCAP_full_release/{make_wav_path(TURN)}"]
        assert scan.skipped == {}

    def test_the_label_file_nearest_the_root_is_used_and_second_copies_are_counted(self) -> None:
        """Second copies of turns without a selected emotion are also counted."""
        other = "Ses02F_impro01_M000"
        files = self.make_files(TURN, code="neu") | self.make_files(other, code="fru")
        files |= {f"a/{path}": file for path, file in self.make_files(TURN, code="sad").items()}
        files[f"b/{make_wav_path(other)}"] = b""
        scan = scan_files(files)
        assert {each.path: each.emotion for each in scan.utterances} == {make_wav_path(TURN): "neutral"}
        assert scan.skipped == {"emotion code fru, not selected": 1, "second copy of an utterance": 2}

    def test_wavs_without_labels_labels_without_wavs_and_whole_dialogs_are_counted(self) -> None:
        lines = [make_line(), make_line("Ses01F_impro01_F002"), make_line("Ses01F_impro01_F003", "xxx")]
        files = {make_wav_path(turn): b"" for turn in (TURN, "Ses01F_impro01_F001")}
        files[make_label_path(TURN)] = make_labels(*lines)
        for dialog in ("Ses01F_impro01", "Ses05M_script01_1b"):
            files[f"Session1/dialog/wav/{dialog}.wav"] = b""
        assert scan_files(files).skipped == {
            "WAV without a label line": 1,
            "label line without a WAV": 2,
            "recording of a whole dialog": 2,
        }

    def test_only_labels_or_only_wavs_are_an_error(self) -> None:
        for path, content in self.make_files(TURN).items():
            with pytest.raises(CorpusError):
                scan_files({path: content})

    @pytest.mark.parametrize("error", [AudioError("encrypted"), PermissionError()])
    def test_an_unreadable_label_file_is_counted(self, error: Exception) -> None:
        lost = "Ses02F_impro01_F000"
        scan = scan_files({**self.make_files(TURN), make_wav_path(lost): b"", make_label_path(lost): error})
        assert [utterance.id for utterance in scan.utterances] == [TURN]
        assert scan.skipped == {"label file that cannot be read": 1, "WAV without a label line": 1}

    def test_ids_are_the_names_in_the_label_file(self) -> None:
        """Some file systems and archivers change the case of file names."""
        scan = scan_files({make_wav_path(TURN).upper(): b"", make_label_path(TURN).upper(): make_labels(make_line())})
        assert [utterance.id for utterance in scan.utterances] == [TURN]

    def make_files(self, turn: str, code: str = "ang") -> dict[str, bytes | Exception]:
        return {make_wav_path(turn): b"", make_label_path(turn): make_labels(make_line(turn, code))}


class TestSubsets:
    @pytest.mark.parametrize(
        ("subset", "size", "codes"),
        [(None, 5531, "ang hap exc neu sad"), ("all", 10039, "ang hap exc neu sad fea sur dis fru oth xxx")],
    )
    def test_a_subset_has_its_codes_and_counts_the_others(
        self, subset: str | None, size: int, codes: str, full: Path
    ) -> None:
        corpus = load_corpus("iemocap", subset)
        scan = corpus.scan(FolderTree(full))
        assert len(scan) == size == corpus.info.utterances
        selected = {code: IEMOCAP_COUNTS[code] for code in codes.split()}
        assert Counter(scan.table["emotion_code"].to_pylist()) == selected
        others = {code: count for code, count in IEMOCAP_COUNTS.items() if code not in selected}
        assert scan.skipped == {f"emotion code {code}, not selected": count for code, count in others.items()}
        assert Counter(scan.table["emotion"].drop_null().to_pylist()) == corpus.info.counts
        assert corpus.find_differences(scan, {16_000: size}) == []

    def test_a_subset_has_its_own_name_and_leaves_the_class_unchanged(self) -> None:
        with pytest.raises(CorpusError) as caught:
            load_corpus("iemocap", "six-class")
        assert (caught.value.field, caught.value.valid) == ("subset", tuple(Iemocap.subsets))
        for subset, description in Iemocap.subsets.items():
            corpus = load_corpus("iemocap", subset)
            assert corpus.name == f"iemocap-{subset}"
            assert str(corpus.info.utterances) in description
            assert (Iemocap.name, Iemocap.info.utterances, load_corpus("iemocap").name) == ("iemocap", 5531, "iemocap")

    @pytest.mark.parametrize("subset", [None, "all"])
    def test_unknown_codes_are_skipped_in_all_subsets(self, subset: str | None) -> None:
        unknown = "Ses01F_impro01_F001"
        labels = make_labels(make_line(), make_line(unknown, "joy"))
        files = {make_wav_path(TURN): b"", make_wav_path(unknown): b"", make_label_path(TURN): labels}
        assert scan_files(files, subset).skipped == {"unknown emotion code joy": 1}

    def test_subsets_have_their_own_stores_with_numeric_ratings(self, tmp_path: Path) -> None:
        other = "Ses01F_impro01_M000"
        write_file(tmp_path / make_wav_path(TURN), wav(noise()))
        write_file(tmp_path / make_wav_path(other), wav(noise(seed=1)))
        labels = make_labels(make_line(), make_line(other, "fru", "[2.0000, 4.5000, 5.0000]"))
        write_file(tmp_path / make_label_path(TURN), labels)
        usual, everything = (
            FeatureStore(prepare_corpus(tmp_path, tmp_path / "cache", load_corpus("iemocap", subset)).store)
            for subset in (None, "all")
        )
        assert usual.column("id") == [TURN]
        rows = {row["id"]: row for row in everything.table.to_pylist()}
        assert set(rows) == {TURN, other}
        assert rows[other]["corpus"] == "iemocap-all"
        assert [rows[other][column] for column in ("emotion_code", "emotion", "arousal")] == ["fru", None, None]
        ratings = ["dialog", "valence_rating", "arousal_rating", "dominance_rating"]
        assert [rows[other][column] for column in ratings] == ["Ses01F_impro01", 2.0, 4.5, 5.0]
        assert everything.verify() == []
