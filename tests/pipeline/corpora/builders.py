"""One maker of a full-size corpus per registered corpus: the real names, the real numbers, next to no audio.

A new corpus adds its entry to `BUILDERS`, and the harness in `test_every_corpus` runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

#: A scan opens no audio, so that anything will do.
STUB = b"RIFF"


@dataclass(frozen=True)
class Published:
    """What is known of a corpus, from its publication and METHODS.md, section 1.2."""

    utterances: int
    women: int
    men: int
    language: str
    sample_rate: int
    emotions: Mapping[str, int]
    high: int
    """Utterances of high arousal; the others are low."""
    positive: int
    """Utterances of positive valence; the others are negative."""


@dataclass(frozen=True)
class Builder:
    """How to make one corpus, and what has to come out."""

    paths: Callable[[], Iterator[str]]
    """Relative paths of all its utterances."""
    published: Published
    example: str
    """One of the paths."""
    unknown: str
    """A path of the same grammar, with an emotion code that the corpus does not define."""
    layout: str
    """Words of the expected layout that an error message has to name."""

    def build(self, root: Path) -> Path:
        for path in self.paths():
            put(root / path)
        return root


def put(path: Path, content: bytes = STUB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


EMODB_COUNTS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}


def emodb_paths() -> Iterator[str]:
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    texts = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
    pairs = [speaker + text for speaker, text in product(speakers, texts)]
    for letter, count in EMODB_COUNTS.items():
        for number in range(count):
            # 37 is prime to 100: every speaker and text has its part of every emotion.
            yield f"wav/{pairs[37 * number % 100]}{letter}{'abc'[number // 100]}.wav"


def ravdess_paths() -> Iterator[str]:
    codes = product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    for actor, emotion, intensity, statement, repetition in codes:
        if (emotion, intensity) != (1, 2):  # neutral speech has no strong intensity
            name = f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
            yield f"Actor_{actor:02d}/{name}"


BUILDERS: Mapping[str, Builder] = {
    "emodb": Builder(
        emodb_paths,
        Published(
            utterances=535,
            women=5,
            men=5,
            language="de",
            sample_rate=16_000,
            emotions={
                "anger": 127,
                "boredom": 81,
                "disgust": 46,
                "fear": 69,
                "happiness": 71,
                "sadness": 62,
                "neutral": 79,
            },
            high=313,
            positive=150,
        ),
        example="wav/03a01Wa.wav",
        unknown="wav/03a01Xa.wav",
        layout="SSTTTEv.wav",
    ),
    "ravdess": Builder(
        ravdess_paths,
        Published(
            utterances=1440,
            women=12,
            men=12,
            language="en",
            sample_rate=48_000,
            emotions={
                "neutral": 96,
                "calm": 192,
                "happiness": 192,
                "sadness": 192,
                "anger": 192,
                "fear": 192,
                "disgust": 192,
                "surprise": 192,
            },
            high=960,
            positive=672,
        ),
        example="Actor_01/03-01-01-01-01-01-01.wav",
        unknown="Actor_01/03-01-09-01-01-01-01.wav",
        layout="Actor_NN/03-01-EE-II-SS-RR-AA.wav",
    ),
}
