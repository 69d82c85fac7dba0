"""What a corpus is: facts about it, and a reader that tells what each of its files holds.

A corpus names its utterances from their paths (and label files) alone; no audio is opened here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from emodna.pipeline.errors import CorpusError

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


class FolderTree:
    """The files below a folder.

    Raises
    ------
    CorpusError
        No such folder, or it cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise CorpusError(f"root {root}: {'not a folder' if root.exists() else 'no such folder'}")
        self.root = root.resolve()

    def files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Relative POSIX paths of the files with one of these lower-case suffixes, in sorted order.

        macOS's `._*` side files and hidden folders are left out.
        """

        def refuse(error: OSError) -> None:
            raise CorpusError(f"root {self.root}: cannot list {error.filename}: {error.strerror}") from error

        seen: set[str] = set()
        for folder, subfolders, names in os.walk(self.root, onerror=refuse, followlinks=True):
            if (real := os.path.realpath(folder)) in seen:  # links that lead in a circle
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name != "__MACOSX")
            below = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            for name in sorted(names):
                if not name.startswith(".") and name.lower().endswith(tuple(suffixes)):
                    yield str(below / name)

    def open(self, path: str) -> BinaryIO:
        """Open a file by its relative path."""
        return (self.root / path).open("rb")


class Corpus(ABC):
    """A corpus whose file names (and folders) tell everything; one with label files overrides `scan`.

    A subclass declares its `facts` and says in `describe` what one path means.
    """

    name: str
    facts: CorpusFacts
    suffixes: Sequence[str] = (".wav",)

    @abstractmethod
    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Tell what the file at a relative path is; None for a file outside the corpus's grammar."""

    def scan(self, tree: FolderTree) -> Scan:
        """Describe every file of a tree; a second copy of an utterance (a nested unpacking) is counted, not used.

        Raises
        ------
        CorpusError
            Nothing in the tree belongs to this corpus; names the layout expected and what was found instead.
        """
        found: dict[str, Utterance] = {}
        skipped: Counter[str] = Counter()
        strangers: list[str] = []
        # The copy nearest to the root is the one that counts.
        for path in sorted(tree.files(self.suffixes), key=lambda path: (path.count("/"), path)):
            if not _is_utf8(path):
                skipped["file name that is not valid UTF-8"] += 1
                continue
            match self.describe(PurePosixPath(path)):
                case None:
                    strangers.append(path)
                case Skip(reason):
                    skipped[reason] += 1
                case Utterance() as utterance if utterance.id in found:
                    skipped["second copy of an utterance"] += 1
                case Utterance() as utterance:
                    found[utterance.id] = utterance
        if not found:
            raise CorpusError(
                f"root {tree.root}: {self._nothing_found(strangers, skipped)}; expected {self.facts.layout}"
            )
        if strangers:
            skipped["file name outside the corpus's grammar"] = len(strangers)
        return Scan([found[id] for id in sorted(found)], dict(skipped))

    def _nothing_found(self, strangers: Sequence[str], skipped: Mapping[str, int]) -> str:
        if skipped:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
            return f"no usable {self.name} file ({reasons})"
        if strangers:
            return f"none of the {len(strangers)} audio files is {self.name}'s (the first: {strangers[0]})"
        return f"no {' or '.join(self.suffixes)} file"

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


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
