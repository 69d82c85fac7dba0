"""Small stores and short runs for the tests of model/."""

import csv
import io
import json
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import torch
from torch import Tensor

from emodna.model.data.batch import SOURCE, TARGET, Batch, LabelledBatch
from emodna.model.errors import RunError
from emodna.model.fit import fit
from emodna.model.methods import METHODS, get_method
from emodna.model.methods.base import DirectMethod, Method, Supervision
from emodna.model.request import FitRequest
from emodna.model.training.log import FitCallback
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.features import FeatureSet, make_feature_set
from emodna.pipeline.prepare import prepare
from emodna.pipeline.prepare.executors import make_thread_factory
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult
from emodna.pipeline.store import FeatureStore
from tests.synthesis import make_emodb, make_ravdess

#: Source and target.
Stores = tuple[FeatureStore, FeatureStore]
#: Settings for steps of milliseconds. Some utterances are longer than the window, some shorter.
SETTINGS: Mapping[str, str] = {"batch_size": "8", "frames": "32", "channels": "8", "log_every": "1"}


def get_supervision(name: str) -> Supervision:
    kind = get_method(name)
    return kind(max(6, kind.min_dim), replace(kind.defaults, channels=8), 0).supervision


#: Methods with training steps.
STEPPED: Mapping[str, type[Method]] = {k: v for k, v in METHODS.items() if not issubclass(v, DirectMethod)}


def _has_own_code(kind: type[Method]) -> bool:
    others = (other for other in STEPPED.values() if other is not kind)
    return not any(issubclass(kind, other) and type(kind.defaults) is type(other.defaults) for other in others)


#: Methods with code of their own, not only other defaults: expensive tests run for these.
WITH_CODE: Sequence[str] = [name for name, kind in STEPPED.items() if _has_own_code(kind)]

#: Methods of the quick suite: a plain one, one with pseudo-labels and prototypes, one with phases and turns.
REPRESENTATIVE: Final = ("source-only", "emo-dna", "saddi")


def quick_if_representative(names: Iterable[str]) -> list[Any]:
    """Return the parameters of a test: the representative methods, and the others marked slow."""
    return [pytest.param(name, marks=() if name in REPRESENTATIVE else pytest.mark.slow) for name in names]


class SilentCallback:
    """A callback of preparations and trainings that does nothing."""

    def on_wait(self, store: Path) -> None: ...

    def on_plan(self, recordings: int) -> None: ...

    def on_batch(self, results: Sequence[ExtractionResult]) -> None: ...

    def on_start(self, done: int) -> None: ...

    def on_log(self, step: int, values: Mapping[str, float]) -> None: ...


class Interruption(Exception):  # noqa: N818 - it simulates Ctrl-C, which is not an error
    """An interruption of a training."""


class InterruptAt(SilentCallback):
    """A callback that raises `Interruption` once a step is logged."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        if step >= self._step:
            raise Interruption


def make_corpora(root: Path) -> dict[str, Path]:
    """Write two small corpora and return their roots: RAVDESS and EMODB, 32 utterances of 1 s and 2 speakers each."""
    make_ravdess(root / "ravdess", actors=(1, 2), intensities=(1,), statements=(1,), syllables=2)
    make_emodb(root / "emodb", speakers=("03", "08"), texts=("a01", "a02", "b01"), syllables=3)
    return {name: root / name for name in ("ravdess", "emodb")}


def prepare_store(kind: Corpus | str, root: Path, cache: Path, features: FeatureSet | None = None) -> FeatureStore:
    corpus = load_corpus(kind) if isinstance(kind, str) else kind
    config = ExtractionConfig(features or make_feature_set("mfcc40"))
    return FeatureStore(prepare(corpus, root, cache, config, SilentCallback(), workers=make_thread_factory(1)).store)


def make_manifest_store(
    root: Path, emotions: Mapping[str, str], cache: Path, *, name: str = "own", **columns: Mapping[str, str]
) -> FeatureStore:
    """Prepare the recordings of a folder by a manifest, path -> emotion ("" for none), and open the store."""
    cache.mkdir(parents=True, exist_ok=True)
    table = cache / f"{name}.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "emotion", *columns])
        for path, emotion in emotions.items():
            writer.writerow([path, emotion, *(column[path] for column in columns.values())])
    return prepare_store(Manifest(table, name), root, cache)


def read_emotions(store: FeatureStore) -> dict[str, str]:
    """Return path -> emotion of a store, for `make_manifest_store`."""
    return dict(zip(store.column("path"), store.column("emotion"), strict=True))


def fit_small(
    source: FeatureStore | Sequence[FeatureStore],
    target: FeatureStore,
    out: Path | None,
    *,
    callback: FitCallback | None = None,
    settings: Mapping[str, str] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Train small networks for a few steps; return the content of result.json."""
    sources = [source] if isinstance(source, FeatureStore) else source
    frames = max(int(SETTINGS["frames"]), get_method(request.get("method", "emo-dna")).min_frames)
    all_settings = {**SETTINGS, "frames": str(frames), **(settings or {})}
    fit_request = FitRequest(sources, target, out=out, settings=all_settings, **{"steps": 4, **request})
    return fit(fit_request, callback or SilentCallback())


def read_log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@contextmanager
def expect_run_error(path: Path) -> Iterator[None]:
    """Expect a RunError of one line about a file."""
    with pytest.raises(RunError) as raised:
        yield
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def make_damaged_copies(content: bytes, copies: int, *, seed: int = 0) -> Iterator[bytes]:
    """Yield copies with random damage: bits and bytes changed, parts cut, doubled, zeroed or replaced by noise."""
    rng = random.Random(seed)
    # Half of the damage is in the header.
    header = min(len(content), 8 + int.from_bytes(content[:8], "little") if len(content) > 8 else len(content))
    for number in range(copies):
        damaged = content
        while damaged == content:
            end = header if number % 2 else len(content)
            start = rng.randrange(end)
            stop = min(end, start + rng.choice((1, 1, 1, 2, 8, 64)))
            length = stop - start
            replacement = rng.choice(
                (
                    rng.randbytes(length),
                    bytes(length),
                    b"",
                    content[start:stop] * 2,
                    bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 : stop],
                    "".join(rng.choice('09-,:"{}[]aZ_') for _ in range(length)).encode(),
                )
            )
            damaged = content[:start] + replacement + content[stop:]
        yield damaged


@contextmanager
def assert_no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    try:
        yield
    finally:
        assert set(threading.enumerate()) <= before


def assert_same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    differing = [name for name in a if not torch.equal(a[name], b[name])]
    assert not differing


def make_noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_batches(
    n: int = 8, m: int = 8, *, dim: int = 6, frames: int = 32, seed: int = 0, labels: Iterable[int] | None = None
) -> tuple[LabelledBatch, Batch]:
    """Return a random source batch of n utterances and a target batch of m from a shifted distribution."""
    generator = torch.Generator().manual_seed(seed)

    def inputs(rows: int, corpus: int, shift: float) -> dict[str, Tensor]:
        return {
            "features": torch.randn(rows, dim, frames, generator=generator) + shift,
            "lengths": torch.full((rows,), frames),
            "corpus": torch.full((rows,), corpus),
            "gender": torch.randint(-1, 2, (rows,), generator=generator),
            "language": torch.full((rows,), corpus),
        }

    own = torch.arange(n) % 2 if labels is None else torch.tensor(list(labels))
    source = LabelledBatch(**inputs(n, SOURCE, 0.0), labels=own)
    return source, Batch(**inputs(m, TARGET, 0.5))


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int | str | None
    out: str
    err: str


def run_command(main: Callable[[], None], *arguments: object) -> CommandResult:
    out, err = io.StringIO(), io.StringIO()
    argv = ["emodna", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            return CommandResult(stop.code, out.getvalue(), err.getvalue())
    raise AssertionError("a command ends by exiting")


def assert_one_line_error(answer: CommandResult, *says: str) -> None:
    """Assert exit code 1, one line on stderr that contains these texts, and nothing on stdout."""
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    for each in says:
        assert each in answer.err
