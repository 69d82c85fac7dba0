"""Make small audio files, corpora and stores for the tests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import Segmenter
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features import FEATURE_SETS, FeatureSet, MfccSet
from emodna.pipeline.prepare import PrepareReport, preparation, prepare
from emodna.pipeline.prepare.executors import ExecutorFactory, make_thread_factory
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult
from emodna.pipeline.store.snapshot import hash_file

Float32 = NDArray[np.float32]

#: Modification time (2020-09-13) old enough for a file's size and time to identify its content.
LONG_AGO = 1_600_000_000


def can_extract(features: FeatureSet) -> bool:
    """Return True if the packages and files of a feature set are here."""
    try:
        features.check_requirements()
    except EmodnaError:
        return False
    return True


#: Feature sets that can be extracted here: some need an optional package.
EXTRACTABLE = {name: features for name, features in FEATURE_SETS.items() if can_extract(features)}


def noise(seconds: float = 0.15, rate: int = 16_000, seed: int | str = 0, level: float = 0.1) -> Float32:
    """Return white noise that depends only on the arguments, on every machine."""
    number = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big")
    samples = np.random.default_rng(number).standard_normal(round(seconds * rate))
    return np.clip(level * samples, -1, 1).astype(np.float32)


def chunk(name: bytes, content: bytes, *, declared: int | None = None) -> bytes:
    """Return a RIFF chunk, padded to an even length."""
    length = len(content) if declared is None else declared
    return struct.pack("<4sI", name, length) + content + b"\0" * (len(content) % 2)


def pcm16(samples: Float32) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def wav(
    samples: Float32 | bytes,
    rate: int = 16_000,
    *,
    channels: int = 1,
    before_data: bytes = b"",
    after_data: bytes = b"",
    declared: int | None = None,
    riff_size: int | None = None,
) -> bytes:
    """Return a 16-bit WAV file with the given chunks and lengths."""
    data = samples if isinstance(samples, bytes) else pcm16(samples)
    fmt = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    body = chunk(b"fmt ", fmt) + before_data + chunk(b"data", data, declared=declared) + after_data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body) if riff_size is None else riff_size, b"WAVE") + body


def age(paths: Iterable[Path], *, seconds: int = LONG_AGO) -> None:
    """Set the modification times of files, because recently changed files are always hashed again."""
    for path in paths:
        os.utime(path, (seconds, seconds))


def make_emodb_names(count: int) -> list[str]:
    """Return valid EMODB file names of different speakers, texts and emotions."""
    names = (f"{s}{t}{e}a.wav" for t, e, s in product(("a01", "b02", "b10"), "WLEAFTN", ("03", "08", "13")))
    return [name for name, _ in zip(names, range(count), strict=False)]


def write_tiny_emodb(root: Path, names: Sequence[str], *, variant: str = "") -> list[Path]:
    """Write EMODB-named files of 0.15 s of noise, all different; another variant has other audio."""
    (root / "wav").mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names:
        path = root / "wav" / name
        path.write_bytes(wav(noise(seed=name + variant)))
        paths.append(path)
    age(paths, seconds=LONG_AGO + 3600 * bool(variant))
    return paths


@dataclass
class CallbackLog:
    """A callback that records its calls."""

    waits: list[Path] = field(default_factory=list)
    planned_recordings: int = 0
    results: list[ExtractionResult] = field(default_factory=list)

    def on_wait(self, store: Path) -> None:
        self.waits.append(store)

    def on_plan(self, recordings: int) -> None:
        self.planned_recordings += recordings

    def on_batch(self, results: Sequence[ExtractionResult]) -> None:
        self.results.extend(results)


def prepare_corpus(
    root: Path,
    cache: Path,
    corpus: Corpus | None = None,
    *,
    features: FeatureSet | None = None,
    callback: CallbackLog | None = None,
    workers: int | ExecutorFactory = 2,
    max_seconds: float = 3600.0,
    segmenter: Segmenter | None = None,
    channel: int = 0,
    bandwidth: float | None = None,
    ffmpeg: bool = False,
    **options: Any,
) -> PrepareReport:
    """Prepare a corpus, by default EMODB."""
    extraction = ExtractionConfig(features or MfccSet(), max_seconds, segmenter, channel, bandwidth, ffmpeg)
    start = make_thread_factory(workers) if isinstance(workers, int) else workers
    corpus = corpus or load_corpus("emodb")
    return prepare(corpus, root, cache, extraction, callback or CallbackLog(), workers=start, **options)


def prepare_without_commit(root: Path, cache: Path) -> Path:
    """Prepare EMODB, but stop before the commit; return the folder of the store."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(preparation, "commit", stop)
        prepare_corpus(root, cache)
    return cache / "emodb" / MfccSet().name


def content(store: Path) -> dict[str, str]:
    """Return the hashes of shards, index and rejected files by name. They must not depend on workers or history."""
    return {path.name: hash_file(path) for path in sorted(store.iterdir()) if path.suffix in (".h5", ".parquet")}


def find_features_offset(shard: Path) -> int:
    """Return the offset of the features in a shard file."""
    with h5py.File(shard, "r") as file:
        return int(file["features"].id.get_offset())


def flip(path: Path, position: int, mask: int = 0xFF) -> None:
    """Flip the bits of `mask` in one byte of a file, in place."""
    with path.open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ mask]))
