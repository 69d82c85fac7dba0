"""Read store.json and check the listed files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emodna.pipeline.audio.provenance import AudioProvenance, remove_provenance
from emodna.pipeline.errors import (
    ForeignStoreError,
    PrepareCorpus,
    Remedy,
    StoreError,
    UnreadableStoreError,
    explain_os_error,
    is_system_error,
)
from emodna.pipeline.files import name_in_errors
from emodna.pipeline.store import layout
from emodna.pipeline.store.layout import StoredFile


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Content of one store.json."""

    corpus: str
    feature_set: str
    parameters: Mapping[str, Any]
    """Parameters of the features, and the provenance of the audio."""
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
    """Parameters of the rule that cut recordings into utterances; None if each recording is one utterance."""
    location: str | None = None
    """Place of the weights at the last extraction; None if the features need none."""

    @property
    def feature_parameters(self) -> dict[str, Any]:
        """Parameters of the features, as of `FeatureSet.parameters`: stores and models with equal ones fit together."""
        return remove_provenance(self.parameters)

    @property
    def provenance(self) -> AudioProvenance:
        """The part of the audio that the features come from."""
        return AudioProvenance.read(self.parameters)

    @property
    def shards(self) -> dict[int, StoredFile]:
        """Files of the shards by their number."""
        return {file.shard: file for file in self.files if file.shard is not None}

    def list_tables(self, kind: str) -> list[StoredFile]:
        """List the `index` or the `rejected` files, in order."""
        return [file for file in self.files if file.shard is None and file.name.startswith(f"{kind}-")]


def read_snapshot(store: Path) -> Snapshot:
    """Read and check the store.json of a store.

    Raises `StoreError`: missing, damaged or of another format. `UnreadableStoreError`: unreadable at the moment.
    """
    file = store / layout.STORE_JSON
    try:
        content = json.loads(file.read_bytes())
        if content["format"] != layout.FORMAT:
            raise StoreError("not the store.json of a feature store", where=file)
        if content["version"] != layout.FORMAT_VERSION:
            problem = f"format version {content['version']!r}; this emodna reads version {layout.FORMAT_VERSION}"
            remedy = Remedy("prepare the corpus again into another {cache}")
            raise ForeignStoreError(problem, where=file, remedy=remedy)
        if content.pop("checksum") != compute_checksum(content):
            raise make_damage_error(file, "its checksum does not match")
        files = [StoredFile(**entry) for entry in content.pop("files")]
        if foreign := [each.name for each in files if not layout.is_content_name(each.name)]:
            raise make_damage_error(file, f"it lists {foreign[0]!r}, which is not a store file")
        del content["format"], content["version"]
        return Snapshot(**content, files=files)
    except FileNotFoundError:
        raise StoreError(f"not a feature store: no {layout.STORE_JSON}", where=store) from None
    except OSError as error:
        raise make_read_error(file, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise make_damage_error(file, _explain_bad_content(error)) from error


def _explain_bad_content(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON (line {error.lineno})" if error.doc.strip() else "empty"
    return f"no entry {error}" if isinstance(error, KeyError) else "unknown or invalid content"


def encode_document(content: Mapping[str, Any]) -> bytes:
    """Encode the document of a store.json as bytes."""
    return json.dumps(content, indent=1).encode() + b"\n"


def compute_checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON document in canonical form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with name_in_errors(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_content(path: Path, size: int, sha256: str | None) -> bool:
    """Return True if a file exists with this size and hash; False if it is unreadable.

    A `sha256` of None trusts the size. Raises `OSError`: the system cannot read at the moment.
    """
    try:
        return path.stat().st_size == size and (sha256 is None or hash_file(path) == sha256)
    except OSError as error:
        if is_system_error(error):
            raise
        return False


def make_read_error(path: Path, error: OSError) -> StoreError:
    """Return the error for a store file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return StoreError("missing", where=path, remedy=advise_preparation(path))
    kind = UnreadableStoreError if is_system_error(error) else StoreError
    return kind(f"cannot be read: {explain_os_error(error)}", where=path)


def make_damage_error(path: Path, reason: str, *, reread: bool = False) -> StoreError:
    """Return the error for a damaged store file; `reread` if a preparation without it would keep the damage."""
    return StoreError(f"damaged: {reason}", where=path, remedy=advise_preparation(path, reread=reread))


def advise_preparation(file: Path, *, reread: bool = False) -> Remedy:
    """Return the advice to rebuild the store of a file."""
    text = "prepare the corpus again" + ", reading all recordings again" * reread
    return Remedy(text, PrepareCorpus.of_store(file.parent, reread=reread))


def verify_file(store: Path, file: StoredFile) -> Path:
    """Return the path of a file after comparing its bytes with store.json; raise a `StoreError` if they differ."""
    path = store / file.name
    try:
        is_intact = path.stat().st_size == file.size and hash_file(path) == file.sha256
    except OSError as error:
        raise make_read_error(path, error) from error
    if not is_intact:
        raise make_damage_error(path, "its checksum does not match", reread=True)
    return path
