"""What a corpus is: facts about it, and a reader that tells what each of its files holds.

A corpus names its utterances from their paths (and label files) alone; no audio is opened here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import pyarrow as pa

from emodna.pipeline.download import Download
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.trees import Tree, open_tree

Gender = Literal["f", "m"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording, as its corpus describes it."""

    id: str
    """Unique in the corpus, from its file grammar: never from the content, never dependent on where the corpus lies."""
    path: str
    """Relative to the root, POSIX."""
    speaker: str | None = None
    gender: Gender | None = None
    language: str | None = None
    """ISO 639-1."""
    text: str | None = None
    """Sentence id."""
    intensity: str | None = None
    emotion_code: str | None = None
    """As in the corpus."""
    emotion: str | None = None
    """One of `emotions.EMOTIONS`; None if unlabelled."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further columns of the corpus's own, the same for all its utterances."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is left out, and why. Reasons are counted, so they name no file."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a corpus found under a root."""

    utterances: Sequence[Utterance]
    """In order of id."""
    skipped: Mapping[str, int]
    """Files left out, counted by reason."""
    columns: pa.Table | None = None
    """Further columns of the corpus's own, a row per utterance in their order; None: in each utterance's `extra`."""

    def own_columns(self) -> pa.Table:
        """The corpus's own columns, of whatever type, a row per utterance in their order.

        Raises
        ------
        CorpusError
            Utterances with different columns, or values of different types in one.
        """
        if self.columns is not None:
            return self.columns
        first = self.utterances[0]
        if odd := next((each for each in self.utterances if each.extra.keys() != first.extra.keys()), None):
            raise CorpusError(f"{odd.id!r} has columns {list(odd.extra)}, but {first.id!r} has {list(first.extra)}")
        arrays = {}
        for name in first.extra:
            try:
                arrays[name] = pa.array([each.extra[name] for each in self.utterances])
            except (pa.ArrowException, OverflowError) as error:
                raise CorpusError(f"column {name}: values of no common type ({error})") from error
        return pa.table(arrays)


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What is published about a corpus."""

    title: str
    language: str | None
    utterances: int | None
    speakers: int | None
    sample_rate: int | None
    """Native, in Hz."""
    licence: str
    citation: str
    layout: str
    """The file grammar, as a user sees it."""
    emotions: Mapping[str, str]
    """Code in the corpus -> category."""
    counts: Mapping[str, int]
    """Category -> published number of utterances."""
    homepage: str = ""
    obtain: str = ""
    """How a user gets it, in a few sentences."""
    download: Download | None = None
    """Where `emodna-prep --download` gets it; None for a corpus behind a form or a counter."""


class Corpus(ABC):
    """A corpus: its `facts`, and `scan`, which says what each of its files holds.

    Most corpora tell everything in their file names, and are a `PathCorpus`; one with label files reads those first,
    and then has its files `described`.
    """

    name: str
    facts: CorpusFacts
    suffixes: Sequence[str] = (".wav",)
    """Of its audio files, lower case."""
    label_suffixes: Sequence[str] = ()
    """Of its label files, lower case, if it has any."""
    subsets: ClassVar[Mapping[str, str]] = {}
    """Other selections of the corpus than the usual one: name -> what it holds. Its constructor takes the name."""

    @abstractmethod
    def scan(self, tree: Tree) -> Scan:
        """Describe every file of a tree; a second copy of an utterance (a nested unpacking) is counted, not used.

        Raises
        ------
        CorpusError
            Nothing in the tree belongs to this corpus; names the layout expected and what was found instead.
        """

    def open(self, root: Path) -> Tree:
        """Open a root with all files that a scan needs.

        Raises
        ------
        CorpusError
            As `open_tree`.
        """
        return open_tree(root, self.suffixes, self.label_suffixes)

    def described(
        self,
        tree: Tree,
        describe: Callable[[PurePosixPath], Utterance | Skip | None],
        skipped: Mapping[str, int] | None = None,
    ) -> Scan:
        """Describe every audio file of a tree by a function.

        Parameters
        ----------
        describe
            Tells what the file at a relative path is; None for a file outside the corpus's grammar.
        skipped
            What was left out before, counted by reason.

        Raises
        ------
        CorpusError
            As `scan`.
        """
        found: dict[str, Utterance] = {}
        left_out = Counter(skipped or {})
        strangers: list[str] = []
        # The copy nearest to the root is the one that counts.
        for path in sorted(tree.files(self.suffixes), key=lambda path: (path.count("/"), path)):
            if not _is_utf8(path):
                left_out["file name that is not valid UTF-8"] += 1
                continue
            match describe(PurePosixPath(path)):
                case None:
                    strangers.append(path)
                case Skip(reason):
                    left_out[reason] += 1
                case Utterance() as utterance if utterance.id in found:
                    left_out["second copy of an utterance"] += 1
                case Utterance() as utterance:
                    found[utterance.id] = utterance
        if not found:
            what = self._nothing_found(strangers, {**left_out, **tree.left_out})
            raise CorpusError(f"root {tree.root}: {what}; expected {self.facts.layout}")
        if strangers:
            left_out["file name outside the corpus's grammar"] = len(strangers)
        return Scan([found[id] for id in sorted(found)], dict(left_out))

    def _nothing_found(self, strangers: Sequence[str], skipped: Mapping[str, int]) -> str:
        if skipped:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
            return f"no usable {self.name} file ({reasons})"
        if strangers:
            return f"none of the {len(strangers)} audio files is {self.name}'s (the first: {strangers[0]})"
        return f"no {self.suffixes[0]} file" if len(self.suffixes) == 1 else "no audio file"

    def emotion_of(self, code: str) -> str | None:
        """Category of one of the corpus's emotion codes; None if unknown: never guessed."""
        return self.facts.emotions.get(code)

    def differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """What differs from the published corpus, a line each: altered and partial copies circulate.

        Parameters
        ----------
        scan
            What was found.
        sample_rates
            Native sample rate in Hz -> number of files that have it.
        """
        facts = self.facts
        lines = []
        if facts.utterances is not None and len(scan.utterances) != facts.utterances:
            lines.append(f"{len(scan.utterances)} utterances, {facts.utterances} published")
        counts = Counter(utterance.emotion for utterance in scan.utterances)
        differing = [
            f"{emotion} {counts[emotion]} (published {published})"
            for emotion, published in facts.counts.items()
            if counts[emotion] != published
        ]
        if differing:
            lines.append("emotion counts differ: " + ", ".join(differing))
        speakers = len({utterance.speaker for utterance in scan.utterances})
        if facts.speakers is not None and speakers != facts.speakers:
            lines.append(f"{speakers} speakers, {facts.speakers} published")
        for rate, files in sorted(sample_rates.items()):
            if facts.sample_rate is not None and rate != facts.sample_rate:
                lines.append(f"{files} files at {rate} Hz, published at {facts.sample_rate} Hz: an altered copy?")
        return lines


class PathCorpus(Corpus):
    """A corpus whose file names (and folders) tell everything."""

    @abstractmethod
    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Tell what the file at a relative path is; None for a file outside the corpus's grammar."""

    def scan(self, tree: Tree) -> Scan:
        """Describe every file."""
        return self.described(tree, self.describe)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
