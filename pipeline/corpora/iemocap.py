"""IEMOCAP, the Interactive Emotional Dyadic Motion Capture database."""

import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import ClassVar, Final

from emodna.pipeline.archives import Tree
from emodna.pipeline.corpora.base import SECOND_COPY, Corpus, CorpusInfo, Scan, Skip, Utterance
from emodna.pipeline.errors import AudioError

# [start - end] TAB turn TAB code TAB [valence, arousal, dominance]
_LABEL = re.compile(
    r"\[[0-9]+\.[0-9]+ - [0-9]+\.[0-9]+\]\t(?P<turn>\w+)\t(?P<code>\w+)\t"
    r"\[(?P<valence>[0-9]+\.[0-9]+), (?P<arousal>[0-9]+\.[0-9]+), (?P<dominance>[0-9]+\.[0-9]+)\]",
    re.ASCII,
)
# The letter after the session is the speaker with motion capture; the last letter is the speaker of the turn.
_TURN = re.compile(
    r"(?P<dialog>(?P<session>Ses0[1-5])[FM]_(?:impro|script)\w+)_(?P<speaker>[FM])[0-9A-Z]+", re.IGNORECASE | re.ASCII
)
_DIALOG = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+", re.IGNORECASE | re.ASCII)
_LABEL_FOLDER: Final = ("dialog", "emoevaluation")
#: Maximum size of a label file in bytes; real ones have about 100 kB.
_MAX_LABEL_BYTES: Final = 4_000_000

_FOUR: Final = {"ang": "anger", "exc": "happiness", "hap": "happiness", "neu": "neutral", "sad": "sadness"}
_SEVEN: Final = {**_FOUR, "dis": "disgust", "fea": "fear", "sur": "surprise"}
#: Number of turns per code with a category, and per code without one: frustration, other, no majority.
_LABELLED_TURNS = {"ang": 1103, "exc": 1041, "hap": 595, "neu": 1708, "sad": 1084, "dis": 2, "fea": 40, "sur": 107}
_UNLABELLED_TURNS = {"fru": 1849, "oth": 3, "xxx": 2507}
_TURNS: Final = {**_LABELLED_TURNS, **_UNLABELLED_TURNS}
#: Subset -> code -> category; None keeps a turn unlabelled. Turns of other codes are skipped.
_SELECTIONS: Final[Mapping[str | None, Mapping[str, str | None]]] = {
    None: _FOUR,
    "happiness-only": {code: emotion for code, emotion in _FOUR.items() if code != "exc"},
    "seven-class": _SEVEN,
    "all": {**dict.fromkeys(_TURNS), **_SEVEN},
}


def _add_counts(info: CorpusInfo, selection: Mapping[str, str | None]) -> CorpusInfo:
    emotions = {code: emotion for code, emotion in selection.items() if emotion is not None}
    counts = dict.fromkeys(emotions.values(), 0)
    for code, emotion in emotions.items():
        counts[emotion] += _TURNS[code]
    return replace(info, utterances=sum(map(_TURNS.__getitem__, selection)), emotions=emotions, counts=counts)


class Iemocap(Corpus):
    """IEMOCAP: turns of dialogs, with labels in separate files; four emotions unless a subset is chosen."""

    name = "iemocap"
    info = _add_counts(
        CorpusInfo(
            title="Interactive Emotional Dyadic Motion Capture database",
            language="en",
            speakers=10,
            sample_rate=16000,
            licence="internal research after a signed form, no redistribution",
            citation="Busso et al. 2008, Language Resources and Evaluation 42(4):335-359, "
            "doi:10.1007/s10579-008-9076-6",
            layout="Session1/sentences/wav/<dialog>/<turn>.wav (such as Ses01F_impro01_M013.wav) "
            "and Session1/dialog/EmoEvaluation/<dialog>.txt",
            emotions={},
            homepage="https://sail.usc.edu/iemocap/",
            obtain="Sign the form https://sail.usc.edu/iemocap/Data_Release_Form_IEMOCAP.pdf, as described at "
            "https://sail.usc.edu/iemocap/iemocap_release.htm; a link arrives by mail within days. "
            "The archive of 17.7 GB unpacks to IEMOCAP_full_release/ with Session1 to Session5.",
        ),
        _FOUR,
    )
    label_suffixes = (".txt",)
    subsets: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "happiness-only": "anger, happiness without excitement, neutral, sadness: 4490 utterances",
            "seven-class": "the usual 5531 utterances and fear, surprise, disgust: 5680 utterances",
            "all": "all 10039 utterances; frustration, other and no majority are unlabelled",
        }
    )

    def __init__(self, subset: str | None = None) -> None:
        self._selection = _SELECTIONS[subset]
        if subset is not None:  # another name makes another store
            self.name = f"{self.name}-{subset}"
            self.info = _add_counts(self.info, self._selection)

    def scan(self, tree: Tree) -> Scan:
        """Describe every WAV by the label line of its turn. Count WAVs without a line and lines without a WAV."""
        skipped: Counter[str] = Counter()
        labels = _read_labels(tree, skipped)
        seen_turns: set[str] = set()

        def describe(path: PurePosixPath) -> Utterance | Skip | None:
            if not _TURN.fullmatch(path.stem):
                return Skip("recording of a whole dialog") if _DIALOG.fullmatch(path.stem) else None
            turn = path.stem.lower()
            is_copy = turn in seen_turns
            seen_turns.add(turn)
            found = self._utterance(path, labels[turn]) if turn in labels else Skip("WAV without a label line")
            # A skipped utterance counts once for its own reason.
            return Skip(SECOND_COPY) if is_copy and isinstance(found, Skip) else found

        scan = self.scan_files(tree, describe, skipped)
        unseen_turns = len(labels.keys() - seen_turns)
        return (
            replace(scan, skipped={**scan.skipped, "label line without a WAV": unseen_turns}) if unseen_turns else scan
        )

    def _utterance(self, path: PurePosixPath, label: Utterance) -> Utterance | Skip:
        code = label.emotion_code or ""
        if code not in self._selection:
            return Skip(f"emotion code {code}, not selected" if code in _TURNS else f"unknown emotion code {code}")
        return replace(label, path=str(path), emotion=self._selection[code])


def _read_labels(tree: Tree, skipped: Counter[str]) -> Mapping[str, Utterance]:
    """Return the label of each turn, by lower-case name; from the file nearest the root, if there are copies."""
    labels: dict[str, Utterance] = {}
    # Only direct children: the subfolders hold the votes of single raters.
    files = [p for p in tree.list_files((".txt",)) if PurePosixPath(p.lower()).parent.parts[-2:] == _LABEL_FOLDER]
    for path in sorted(files, key=lambda path: (path.count("/"), path)):
        stamp = tree.read_stamp(path)
        if stamp is None or stamp.size > _MAX_LABEL_BYTES:
            skipped["label file larger than 4 MB"] += 1
            continue
        try:
            # Latin-1 decodes any byte: raters' comments in other encodings must not make a file unreadable.
            with io.TextIOWrapper(tree.open(path), "latin-1") as file:
                lines = [line.rstrip() for line in file if line.startswith("[")]  # skips the header and single raters
        except (AudioError, OSError):
            skipped["label file that cannot be read"] += 1
            continue
        for line in lines:
            if label := _parse_label(line):
                labels.setdefault(label.id.lower(), label)
            else:
                skipped["label line outside the grammar"] += 1
    return labels


def _parse_label(line: str) -> Utterance | None:
    """Return the utterance of a label line, without path and emotion; None if the line is not in the grammar."""
    if not (match := _LABEL.fullmatch(line)) or not (turn := _TURN.fullmatch(match["turn"])):
        return None
    ratings = {f"{name}_rating": float(match[name]) for name in ("valence", "arousal", "dominance")}
    return Utterance(
        id=match["turn"],
        path="",
        speaker=turn["session"].capitalize() + turn["speaker"].upper(),
        gender="f" if turn["speaker"].upper() == "F" else "m",
        language=Iemocap.info.language,
        emotion_code=match["code"].lower(),
        extra={"dialog": turn["dialog"], **ratings},
    )
