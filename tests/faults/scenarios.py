"""A corpus that changed since its preparation: files are unchanged, changed, new, deleted or corrupt."""

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
from tests.faults.layer import FileCall, FileObserver, install_observer
from tests.pipeline.making import LONG_AGO, age, content, make_emodb_names, write_tiny_emodb


@dataclass(frozen=True)
class State:
    """Content of a store that was read completely."""

    files: dict[str, str]
    """Hashes of the shards and tables in store.json."""
    audio: dict[str, str]
    """Hash of the audio of each utterance."""
    fingerprint: str


@dataclass(frozen=True)
class Scenario:
    """A root, its earlier store, and the store after an undisturbed preparation."""

    corpus: str
    root: Path
    older: Path
    """Cache with the earlier store."""
    before: State
    expected: State

    @property
    def unchanged_utterances(self) -> set[str]:
        return {id for id, sha256 in self.before.audio.items() if self.expected.audio.get(id) == sha256}

    def make_prep(self, cache: Path, *options: object) -> Callable[[], object]:
        """Return a function for a child that runs emodna-prep on this root."""
        arguments = ("--corpus", self.corpus, "--root", self.root, "--cache", cache, "--workers", 2)
        return forking.make_command(main, *arguments, *options)

    def find_store(self, cache: Path) -> Path:
        (store,) = (cache / self.corpus).iterdir()
        return store


def make_scenario(folder: Path, *, corpus: str = "emodb", source: Path | None = None) -> Scenario:
    """Make a scenario from the audio files of a root, or from 16 synthesised ones, and preload the modules."""
    if source is None:
        source = folder / "source"
        write_tiny_emodb(source, make_emodb_names(16))
    files = sorted(source.rglob("*.wav"))
    # Few recordings in several shards; some shards stay unchanged.
    layout.UTTERANCES_PER_SHARD = max(2, len(files) // 8)  # type: ignore[misc]
    root, older = folder / "root", folder / "older"
    scenario = Scenario(corpus, root, older, State({}, {}, ""), State({}, {}, ""))

    _link_files(root, source, [*files[: len(files) // 2], files[-1]])
    for path, other in pairwise(files[: len(files) // 2 : 3]):  # other audio under the same name
        _write_audio(root / path.relative_to(source), other.read_bytes(), LONG_AGO + 3600)
    forking.preload(scenario.make_prep(folder / "warm-up"))
    assert forking.run_child(scenario.make_prep(older)).code == 0
    before = open_in_child(scenario.find_store(older))

    _link_files(root, source, files[:-1])
    corrupt = files[1]
    _write_audio(root / corrupt.relative_to(source), corrupt.read_bytes()[:-100], LONG_AGO + 7200)
    fresh = folder / "fresh"
    assert forking.run_child(scenario.make_prep(fresh)).code == 0
    expected = open_in_child(scenario.find_store(fresh))
    return Scenario(corpus, root, older, before, expected)


def read_state(store: Path) -> dict[str, object]:
    """Read a store completely; return the fields of a State."""
    opened = FeatureStore(store)
    problems = opened.verify()
    assert problems == [], problems
    opened.read_rejected()
    hashes = content(store)
    return {
        "files": {file.name: hashes[file.name] for file in opened.snapshot.files},
        "audio": dict(zip(opened.ids, opened.column("audio_sha256"), strict=True)),
        "fingerprint": opened.fingerprint,
    }


def open_in_child(store: Path) -> State:
    """Read a store completely in a child; return its content."""
    return State(**forking.evaluate(lambda: read_state(store)))


def check_finished(scenario: Scenario, cache: Path) -> None:
    """Compare a store with the expected one, and delete it."""
    store = scenario.find_store(cache)
    after, leftovers = forking.evaluate(lambda: (read_state(store), list_leftovers(store)))
    assert State(**after) == scenario.expected
    assert leftovers == []
    shutil.rmtree(cache)


def find_error_line(result: forking.ChildResult) -> str:
    """Return the one error line of a failed command."""
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert (result.code, len(lines)) == (1, 1), result
    return lines[0]


class CallRecorder(FileObserver):
    """An observer that records the operation of each call and the phase of the preparation."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.calls: list[tuple[str, str]] = []

    def before(self, call: FileCall) -> int | None:
        self.calls.append((call.operation, name_phase(*call, self._scenario)))
        return None


def list_calls(scenario: Scenario, cache: Path) -> list[tuple[str, str]]:
    """Return the file calls of an undisturbed preparation."""
    store = copy_older_store(scenario, cache)

    def record_calls() -> object:
        observer = CallRecorder(scenario)
        install_observer([scenario.root, store], observer)
        forking.run_here(scenario.make_prep(cache))
        return observer.calls

    return list(map(tuple, forking.evaluate(record_calls)))


def list_finished(store: Path) -> set[str]:
    """Return the utterances of the shards in the journal."""
    ids: set[str] = set()
    for entry in (store / layout.JOURNAL).glob(f"*{layout.CHECKSUMMED_SUFFIX}"):
        with h5py.File(store / entry.stem) as shard:
            ids |= {id.decode() for id in shard["ids"][:]}
    return ids


def list_leftovers(store: Path) -> list[str]:
    """Return the leftovers: temporary files, a journal, and shards and tables that store.json does not list."""
    temporary = {path for path in store.rglob("*") if ".tmp" in path.name or path.parent.name == layout.JOURNAL}
    listed = {file.name for file in FeatureStore(store).snapshot.files}
    return sorted({path.name for path in temporary} | (content(store).keys() - listed))


def _link_files(root: Path, source: Path, files: Sequence[Path]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for path in files:
        link = root / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def _write_audio(path: Path, audio: bytes, seconds: int) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(audio)
    age([path], seconds=seconds)


def copy_older_store(scenario: Scenario, cache: Path) -> Path:
    """Copy the earlier store into a new cache, with its times; return the copy."""
    shutil.copytree(scenario.older, cache, copy_function=shutil.copy2)
    return scenario.find_store(cache)


def name_phase(operation: str, path: str, scenario: Scenario) -> str:
    """Return the phase of the preparation that a call belongs to."""
    name, folder = Path(path).name, Path(path).parent.name
    if Path(path).is_relative_to(scenario.root):
        return "decode" if operation in ("open", "read") else "scan"
    if operation == "unlink":
        return "delete leftovers"
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
