"""Read store.json, and check that the files it names are there and whole."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emodna.pipeline.errors import (
    ForeignStoreError,
    StoreError,
    UnreadableStoreError,
    explain_os_error,
    is_system_error,
)
from emodna.pipeline.files import naming
from emodna.pipeline.store import layout
from emodna.pipeline.store.layout import StoredFile


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Content of one store.json."""

    corpus: str
    feature_set: str
    parameters: Mapping[str, Any]
    libraries: Mapping[str, str]
    root: str
    licence: str
    citation: str
    counts: Mapping[str, float]
    fingerprint: str
    """SHA-256 of the content: configuration, ids, labels, audio hashes and feature checksums."""
    files: Sequence[StoredFile]
    created: str
    segmentation: Mapping[str, Any] | None = None
    """Rule by which recordings were cut into utterances; None if each is one."""

    @property
    def shards(self) -> dict[int, StoredFile]:
        """Shard number -> file."""
        return {file.shard: file for file in self.files if file.shard is not None}

    def tables(self, kind: str) -> list[StoredFile]:
        """Return the `index` or `rejected` files, in order."""
        return [file for file in self.files if file.shard is None and file.name.startswith(f"{kind}-")]


def read_snapshot(store: Path) -> Snapshot:
    """Read and check a store's store.json.

    Raises `StoreError`: damaged, or of another format. Raises `UnreadableStoreError`: unreadable at the moment.
    """
    file = store / layout.STORE_JSON
    try:
        content = json.loads(file.read_bytes())
        if content["format"] != layout.FORMAT:
            raise StoreError(f"{file}: not the description of a feature store")
        if content["version"] != layout.FORMAT_VERSION:
            raise ForeignStoreError(
                f"{file}: format version {content['version']!r}, this emodna reads version {layout.FORMAT_VERSION}: "
                "prepare the corpus again into another --cache"
            )
        if content.pop("checksum") != compute_checksum(content):
            raise StoreError(
                f"{file}: damaged (its checksum does not match); run emodna-prep again to rebuild the store"
            )
        files = [StoredFile(**entry) for entry in content.pop("files")]
        if elsewhere := [each.name for each in files if not layout.is_content_name(each.name)]:
            raise StoreError(f"{file}: names {elsewhere[0]!r}, which is no file of a store; run emodna-prep again")
        del content["format"], content["version"]
        return Snapshot(**content, files=files)
    except FileNotFoundError:
        raise StoreError(f"{store}: no feature store (it has no {layout.STORE_JSON})") from None
    except OSError as error:
        raise make_read_error(file, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged ({error}); run emodna-prep again to rebuild the store") from error


def encode_document(content: Mapping[str, Any]) -> bytes:
    """Encode a store.json's document as it is written."""
    return json.dumps(content, indent=1).encode() + b"\n"


def compute_checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON document in canonical form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with naming(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_content(path: Path, size: int, sha256: str | None) -> bool:
    """Return True if a file is there, of this size and these bytes; one that its disk cannot read is not.

    A `sha256` of None trusts the size. Raises `OSError`: the machine fails to read it at the moment.
    """
    try:
        return path.stat().st_size == size and (sha256 is None or hash_file(path) == sha256)
    except OSError as error:
        if is_system_error(error):
            raise
        return False


def make_read_error(path: Path, error: OSError) -> StoreError:
    """Make the error of a file of a store that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path}: missing; run emodna-prep again")
    kind = UnreadableStoreError if is_system_error(error) else StoreError
    return kind(f"{path}: cannot be read: {explain_os_error(error)}")


def verify_file(store: Path, file: StoredFile) -> Path:
    """Return the path of a file whose bytes are those that store.json names, or raise a `StoreError`."""
    path = store / file.name
    try:
        intact = path.stat().st_size == file.size and hash_file(path) == file.sha256
    except OSError as error:
        raise make_read_error(path, error) from error
    if not intact:
        raise StoreError(f"{path}: damaged (not the bytes that were written); run emodna-prep --rehash")
    return path
