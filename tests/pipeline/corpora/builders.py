"""Build every corpus in full size: real file names and numbers, stubs for audio.

A new corpus adds an entry to `BUILDERS`; the tests in `test_every_corpus` run over all entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path, PurePosixPath

#: Content of all files; a scan opens no audio.
STUB = b"RIFF"


@dataclass(frozen=True)
class Published:
    """Published numbers of a corpus, also in METHODS.md, section 1.2."""

    language: str
    sample_rate: int
    emotions: Mapping[str, int]
    """Category -> number of utterances."""
    women: int
    men: int
    high: int
    """Number of utterances of high arousal; the others are low."""
    positive: int
    """Number of utterances of positive valence; the others are negative."""

    @property
    def utterances(self) -> int:
        return sum(self.emotions.values())


def write_no_labels(root: Path, paths: Iterable[str]) -> None:
    """Write nothing: most corpora have all labels in their paths."""


@dataclass(frozen=True)
class Builder:
    """Paths and label files of one corpus, and the expected result of a scan."""

    paths: Callable[[], Iterator[str]]
    """Function that yields the relative paths of all utterances."""
    published: Published
    example: str
    """Path of one utterance."""
    unknown: str
    """Path in the corpus's grammar with an unknown emotion code."""
    layout: str
    """Part of the expected layout that error messages contain."""
    label: Callable[[Path, Iterable[str]], None] = write_no_labels
    """Function that writes the label files of some paths."""
    others: Callable[[], Iterator[str]] = lambda: iter(())
    """Function that yields the relative paths of skipped recordings."""
    skip_counts: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of skipped recordings."""

    def build(self, root: Path, content: bytes = STUB) -> Path:
        """Build the whole corpus, with the same content in all files."""
        stub = write_file(root / ".stub", content)
        paths = [*self.paths(), *self.others()]
        for folder in {(root / path).parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            os.link(stub, root / path)  # faster than writing each
        self.label(root, paths)
        stub.unlink()
        return root

    def add(self, root: Path, path: str, spell: Callable[[str], str] = str) -> Path:
        """Write one recording and its label; `spell` changes its file name."""
        self.label(root, [path])
        return write_file((root / path).with_name(spell(PurePosixPath(path).name)))


def write_file(path: Path, content: bytes = STUB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def list_casia_paths() -> Iterator[str]:
    speakers = ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")
    emotions = ("angry", "fear", "happy", "neutral", "sad", "surprise")
    for speaker, emotion, number in product(speakers, emotions, range(201, 251)):
        yield f"{speaker}/{emotion}/{number}.wav"


EMODB_COUNTS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}


def list_emodb_paths() -> Iterator[str]:
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    texts = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
    pairs = [speaker + text for speaker, text in product(speakers, texts)]
    for letter, count in EMODB_COUNTS.items():
        for number in range(count):
            # 37 and 100 have no common factor, so each speaker and text has a similar share of each emotion.
            yield f"wav/{pairs[37 * number % 100]}{letter}{'abc'[number // 100]}.wav"


def list_emovo_paths() -> Iterator[str]:
    speakers = ("f1", "f2", "f3", "m1", "m2", "m3")
    sentences = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
    for speaker, emotion, sentence in product(speakers, ("dis", "gio", "neu", "pau", "rab", "sor", "tri"), sentences):
        yield f"{speaker}/{emotion}-{speaker}-{sentence}.wav"


IEMOCAP_SELECTED = {"ang": 1103, "hap": 595, "exc": 1041, "neu": 1708, "sad": 1084}
IEMOCAP_OTHERS = {"fru": 1849, "fea": 40, "sur": 107, "dis": 2, "oth": 3, "xxx": 2507}
IEMOCAP_COUNTS = IEMOCAP_SELECTED | IEMOCAP_OTHERS
IEMOCAP_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def assign_iemocap_codes() -> dict[str, str]:
    """Return the code of each turn by path. Both speakers of a session speak in each of its dialogs."""
    scripts = ("01_1", "01_2", "01_3", "02_1", "02_2", "03_1", "03_2")
    names = [f"impro{number:02d}" for number in range(1, 8)] + [f"script{script}" for script in scripts]
    dialogs = [
        (f"Session{session}", f"Ses{session:02d}{captured}_{name}")
        for session, captured, name in product(range(1, 6), "FM", names)
    ]
    dialogs += [("Session5", "Ses05F_script01_1b"), ("Session5", "Ses05M_script01_1b")]
    codes = [code for code, count in IEMOCAP_COUNTS.items() for _ in range(count)]
    turns = {}
    for number in range(len(codes)):
        session, dialog = dialogs[number % len(dialogs)]
        both, speaker = divmod(number // len(dialogs), 2)
        path = f"{session}/sentences/wav/{dialog}/{dialog}_{'FM'[speaker]}{both:03d}.wav"
        turns[path] = codes[37 * number % len(codes)]  # spreads all codes over all dialogs
    return turns


IEMOCAP_CODES = assign_iemocap_codes()


def write_iemocap_labels(root: Path, paths: Iterable[str]) -> None:
    """Append turns to the label files of their dialogs and to the files of one rater."""
    for folder, group in groupby(sorted(paths), key=lambda path: PurePosixPath(path).parent):
        evaluation = root / folder.parts[0] / "dialog" / "EmoEvaluation"
        (evaluation / "Categorical").mkdir(parents=True, exist_ok=True)
        file = evaluation / f"{folder.name}.txt"
        text, votes = "" if file.exists() else IEMOCAP_HEADER, ""
        for path in group:
            turn = PurePosixPath(path).stem
            number = int(turn[-3:])
            valence, arousal, dominance = (1 + 0.5 * ((len(turn) + number) % step) for step in (9, 8, 7))
            text += (
                f"[{4.25 * number:.4f} - {4.25 * number + 3.125:.4f}]\t{turn}\t{IEMOCAP_CODES.get(path, 'joy')}\t"
                f"[{valence:.4f}, {arousal:.4f}, {dominance:.4f}]\n"
                "C-E2:\tNeutral;\t()\nC-E4:\tAnger; Frustration;\t()\nC-F1:\tOther;\t(annoyed)\n"
                "A-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 2; act 3; dom  3;\t()\n\n"
            )
            votes += f"{turn} :Neutral state; ()\n"
        for each, content in {file: text, evaluation / "Categorical" / f"{folder.name}_e2_cat.txt": votes}.items():
            with each.open("a", newline="") as stream:
                stream.write(content)


def list_iemocap_paths(selected: bool) -> Iterator[str]:
    return (path for path, code in IEMOCAP_CODES.items() if (code in IEMOCAP_SELECTED) == selected)


def list_ravdess_paths() -> Iterator[str]:
    codes = product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    for actor, emotion, intensity, statement, repetition in codes:
        if (emotion, intensity) != (1, 2):  # neutral speech has no strong intensity
            name = f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
            yield f"Actor_{actor:02d}/{name}"


def list_savee_paths() -> Iterator[str]:
    for speaker, code in product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su")):
        for number in range(1, 31 if code == "n" else 16):
            yield f"AudioData/{speaker}/{code}{number:02d}.wav"


SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
SIX = ("anger", "fear", "happiness", "neutral", "sadness", "surprise")
EMODB_EMOTIONS = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79}
IEMOCAP_EMOTIONS = {"anger": 1103, "happiness": 1636, "neutral": 1708, "sadness": 1084}
RAVDESS_EMOTIONS = dict.fromkeys((*SEVEN, "calm"), 192) | {"neutral": 96}

BUILDERS: Mapping[str, Builder] = {
    "casia": Builder(
        list_casia_paths,
        Published("zh", 16_000, dict.fromkeys(SIX, 200), women=2, men=2, high=800, positive=600),
        example="liuchanhg/angry/201.wav",
        unknown="liuchanhg/bored/201.wav",
        layout="<speaker>/<angry|fear|happy|neutral|sad|surprise>/201.wav",
    ),
    "emodb": Builder(
        list_emodb_paths,
        Published("de", 16_000, EMODB_EMOTIONS, women=5, men=5, high=313, positive=150),
        example="wav/03a01Wa.wav",
        unknown="wav/03a01Xa.wav",
        layout="SSTTTEv.wav",
    ),
    "emovo": Builder(
        list_emovo_paths,
        Published("it", 48_000, dict.fromkeys(SEVEN, 84), women=3, men=3, high=420, positive=252),
        example="f1/rab-f1-b1.wav",
        unknown="f1/noi-f1-b1.wav",
        layout="f1/rab-f1-b1.wav",
    ),
    "iemocap": Builder(
        lambda: list_iemocap_paths(selected=True),
        Published("en", 16_000, IEMOCAP_EMOTIONS, women=5, men=5, high=2739, positive=3344),
        example="Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
        unknown="Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F999.wav",
        layout="Session1/dialog/EmoEvaluation/<dialog>.txt",
        label=write_iemocap_labels,
        others=lambda: list_iemocap_paths(selected=False),
        skip_counts={f"emotion code {code}, not selected": count for code, count in IEMOCAP_OTHERS.items()},
    ),
    "ravdess": Builder(
        list_ravdess_paths,
        Published("en", 48_000, RAVDESS_EMOTIONS, women=12, men=12, high=960, positive=672),
        example="Actor_01/03-01-01-01-01-01-01.wav",
        unknown="Actor_01/03-01-09-01-01-01-01.wav",
        layout="Actor_NN/03-01-EE-II-SS-RR-AA.wav",
    ),
    "savee": Builder(
        list_savee_paths,
        Published("en", 44_100, dict.fromkeys(SEVEN, 60) | {"neutral": 120}, women=0, men=4, high=300, positive=240),
        example="AudioData/DC/a01.wav",
        unknown="AudioData/DC/b01.wav",
        layout="AudioData/DC/a01.wav or ALL/DC_a01.wav",
    ),
}
