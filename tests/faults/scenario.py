"""A corpus that changed since its store was made: what the next run finds unchanged, changed, new, gone and corrupt."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py

from emodna.cli.prep import main
from emodna.pipeline.store import FeatureStore, layout
from tests.faults import forking
from tests.faults.layer import Call, Watcher, install
from tests.pipeline.making import LONG_AGO, age, content, make_emodb_names, write_tiny_emodb


@dataclass(frozen=True)
class State:
    """What a store holds, read by opening it whole."""

    files: dict[str, str]
    """Shards and tables that store.json names, with the hash of their bytes."""
    audio: dict[str, str]
    """Utterance -> hash of its audio."""
    fingerprint: str


@dataclass(frozen=True)
class Scenario:
    """A root, the store of what was there before, and the store that an undisturbed run makes of it."""

    corpus: str
    root: Path
    older: Path
    """Cache with the older store."""
    before: State
    expected: State

    @property
    def unchanged(self) -> set[str]:
        """Utterances that every run finds in the older store as they are."""
        return {id for id, sha256 in self.before.audio.items() if self.expected.audio.get(id) == sha256}

    def prep(self, cache: Path, *options: object) -> Callable[[], object]:
        """Return emodna-prep on this root, to be run in a child."""
        return forking.command(
            main, "--corpus", self.corpus, "--root", self.root, "--cache", cache, "--workers", 2, *options
        )

    def store(self, cache: Path) -> Path:
        """Return the store in a cache."""
        (store,) = (cache / self.corpus).iterdir()
        return store


def make(folder: Path, *, corpus: str = "emodb", source: Path | None = None) -> Scenario:
    """Make a scenario from the audio files of a root, or from 16 synthesised ones, and preload what its runs need."""
    if source is None:
        source = folder / "source"
        write_tiny_emodb(source, make_emodb_names(16))
    files = sorted(source.rglob("*.wav"))
    # Few recordings, several shards, some of which nothing touches.
    layout.UTTERANCES_PER_SHARD = max(2, len(files) // 8)  # type: ignore[misc]
    root, older = folder / "root", folder / "older"
    scenario = Scenario(corpus, root, older, State({}, {}, ""), State({}, {}, ""))

    _lay_out(root, source, [*files[: len(files) // 2], files[-1]])
    for path, other in pairwise(files[: len(files) // 2 : 3]):  # other audio under the same name
        _put(root / path.relative_to(source), other.read_bytes(), LONG_AGO + 3600)
    forking.preload(scenario.prep(folder / "warm-up"))
    assert forking.run(scenario.prep(older)).code == 0
    before = opened(scenario.store(older))

    _lay_out(root, source, files[:-1])
    corrupt = files[1]
    _put(root / corrupt.relative_to(source), corrupt.read_bytes()[:-100], LONG_AGO + 7200)
    fresh = folder / "fresh"
    assert forking.run(scenario.prep(fresh)).code == 0
    expected = opened(scenario.store(fresh))
    return Scenario(corpus, root, older, before, expected)


def state(store: Path) -> dict[str, object]:
    """Open a store whole, or fail; what it holds, as the fields of a State."""
    whole = FeatureStore(store)
    problems = whole.verify()
    assert problems == [], problems
    whole.read_rejected()
    on_disk = content(store)
    return {
        "files": {file.name: on_disk[file.name] for file in whole.snapshot.files},
        "audio": dict(zip(whole.ids, whole.column("audio_sha256"), strict=True)),
        "fingerprint": whole.fingerprint,
    }


def opened(store: Path) -> State:
    """Open a store whole in a child; return its content."""
    return State(**forking.answer(lambda: state(store)))


def check_finished(scenario: Scenario, cache: Path) -> None:
    """Compare a store with that of an undisturbed run, and remove it."""
    store = scenario.store(cache)
    after, rest = forking.answer(lambda: (state(store), left_over(store)))
    assert State(**after) == scenario.expected
    assert rest == []
    shutil.rmtree(cache)


def error_line(ended: forking.Ended) -> str:
    """Return the one line with which a command must tell an error."""
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.code == 1, ended
    assert len(lines) == 1, ended
    return lines[0]


class Listing(Watcher):
    """Notes all calls: the operation, and the phase of the run."""

    def __init__(self, of: Scenario) -> None:
        self._of = of
        self.calls: list[tuple[str, str]] = []

    def before(self, call: Call) -> int | None:
        self.calls.append((call.operation, phase_of(*call, self._of)))
        return None


def calls_of(scenario: Scenario, cache: Path) -> list[tuple[str, str]]:
    """Return the calls on files of an undisturbed run."""
    store = copy_older(scenario, cache)

    def traced() -> object:
        watcher = Listing(scenario)
        install([scenario.root, store], watcher)
        forking.succeed(scenario.prep(cache))
        return watcher.calls

    return list(map(tuple, forking.answer(traced)))


def finished(store: Path) -> set[str]:
    """Utterances of the shards that are noted in the journal."""
    ids: set[str] = set()
    for note in (store / layout.JOURNAL).glob(f"*{layout.CHECKSUMMED_SUFFIX}"):
        with h5py.File(store / note.stem) as shard:
            ids |= {id.decode() for id in shard["ids"][:]}
    return ids


def left_over(store: Path) -> list[str]:
    """Files that no finished run leaves: unfinished ones, a journal, shards and tables that nothing names."""
    temporary = {path for path in store.rglob("*") if ".tmp" in path.name or path.parent.name == layout.JOURNAL}
    named = {file.name for file in FeatureStore(store).snapshot.files}
    return sorted({path.name for path in temporary} | (content(store).keys() - named))


def _lay_out(root: Path, source: Path, files: Sequence[Path]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for path in files:
        link = root / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def _put(path: Path, audio: bytes, seconds: int) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(audio)
    age([path], seconds=seconds)


def copy_older(scenario: Scenario, cache: Path) -> Path:
    """Copy the older store into a new cache, times and all; return the copy."""
    shutil.copytree(scenario.older, cache, copy_function=shutil.copy2)
    return scenario.store(cache)


def phase_of(operation: str, path: str, scenario: Scenario) -> str:
    """Name the part of a run that a call belongs to."""
    name, folder = Path(path).name, Path(path).parent.name
    if Path(path).is_relative_to(scenario.root):
        return "decode" if operation in ("open", "read") else "scan"
    if operation == "unlink":
        return "sweep"
    if name in (layout.WRITER_LOCK, layout.READER_LOCK) or operation == "mkdir":
        return "lock"
    if operation not in ("create", "write", "fsync", "rename"):
        return "history"
    if not Path(path).suffix:
        return f"folder: {operation}"
    kind = "journal" if folder == layout.JOURNAL else name.partition("-")[0]
    kind = {"index": "table", "rejected": "table", "audio": "side file"}.get(kind, kind)
    kind = layout.STORE_JSON if name.startswith(layout.STORE_JSON) else kind
    return "commit" if (kind, operation) == (layout.STORE_JSON, "rename") else f"{kind}: {operation}"
