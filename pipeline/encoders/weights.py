"""Find the weights of an encoder: on the Hugging Face hub, in files of this machine, or again by their SHA-256."""

import hashlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from emodna.pipeline.encoders.anatomy import Anatomy, Conventions, Encoder, require_packages
from emodna.pipeline.encoders.batches import BatchedEncoder
from emodna.pipeline.encoders.known import KNOWN_ENCODERS, KnownEncoder, find_known_encoder
from emodna.pipeline.encoders.onnx_graph import OnnxEncoder, examine_onnx
from emodna.pipeline.encoders.transformers_model import CONFIG_FILES, TransformersEncoder, examine_transformers, has_gpu
from emodna.pipeline.errors import EncoderError, explain_os_error

#: Environment variable with folders of encoders, separated like those of PATH.
ENCODERS_VARIABLE: Final = "EMODNA_ENCODERS"
#: Repository and commit on the Hugging Face hub.
_HUB: Final = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
#: Windows in a batch on a GPU.
_BATCH: Final = 8
#: Folders that are searched below those of the variable.
_DEPTH: Final = ("*", "*/*", "*/*/*")


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of an encoder on this machine."""

    name: str
    path: Path
    """An ONNX file, or a folder of the transformers library."""
    sha256: str
    """Hash of the file of weights; of several files, that of their names and hashes."""
    config_sha256: str
    """The same of the files that describe model and input; empty for an ONNX file."""
    location: str
    """Absolute path, or repository and commit on the hub."""


def locate(encoder: str) -> Weights:
    """Return the weights of a known encoder, a file, a folder, or a repository and commit on the hub.

    The hub is asked only for what its local cache does not have, and not at all if HF_HUB_OFFLINE is set. Raises
    `EncoderError`: not found, not usable, or no safetensors.
    """
    path = Path(encoder).expanduser()
    if path.exists():
        return _read_weights(path, str(path.resolve()))
    if encoder in KNOWN_ENCODERS:
        return _locate_known(KNOWN_ENCODERS[encoder])
    match = _HUB.fullmatch(encoder)
    if match is None or encoder.count("/") != 1 or encoder.endswith(".onnx"):
        remedy = "or give a file, a folder, or REPOSITORY@COMMIT on the Hugging Face hub"
        raise EncoderError("not found", field="encoder", value=encoder, valid=KNOWN_ENCODERS, remedy=remedy)
    repository, revision = match["repository"], match["revision"]
    if revision is None or not _COMMIT.fullmatch(revision):
        remedy = f"give the 40 digits of its commit: {repository}@COMMIT"
        raise EncoderError("names no commit, so its weights may change", field="encoder", value=encoder, remedy=remedy)
    return _read_weights(_download(repository, revision), encoder, name=repository.split("/")[1])


def find_weights(name: str, sha256: str, config_sha256: str, location: str | None) -> Path:
    """Return the file or folder with these weights: at the location, in $EMODNA_ENCODERS, or on the hub.

    Raises `EncoderError`, which says which file is wanted.
    """
    wanted, problems = (sha256, config_sha256), []
    if location is not None and Path(location).exists():
        if _try_to_hash(Path(location)) == wanted:
            return Path(location)
        problems.append(f"{location} has other weights, or cannot be read")
    for path in _list_candidates(name):
        if _try_to_hash(path) == wanted:
            return path
    known = find_known_encoder(sha256, location)
    source = known.source if known is not None else location
    match = _HUB.fullmatch(source or "")
    if match is not None and _COMMIT.fullmatch(match["revision"] or "") and (known is None or _is_folder(known)):
        try:
            cached = _find_cached(match["repository"], match["revision"])
            if cached is not None and _try_to_hash(cached) == wanted:  # without the network, asking takes half a minute
                return cached
            path = _download(match["repository"], match["revision"])
            if hash_weights(path) == wanted:
                return path
            problems.append(f"{source} has other weights")
        except EncoderError as error:
            problems.append(str(error))
    places = [*([location] if location is not None else []), f"${ENCODERS_VARIABLE} ({_describe_folders()})"]
    problem = f"the encoder {name} is missing: no weights with the SHA-256 {sha256} at {' or in '.join(places)}"
    advice = f"put them into a folder that ${ENCODERS_VARIABLE} names"
    if known is not None and known.revision is not None and not _is_folder(known):
        advice = _describe_download(known)
    remedy = "; ".join([*problems, advice])
    raise EncoderError(problem, remedy=remedy)


def examine(weights: Weights, layers: str | None) -> Anatomy:
    """Return the anatomy of an encoder with these hidden states, such as "4,6"; by default those of its table row."""
    known = find_known_encoder(weights.sha256, weights.location)
    default = known.layers if known is not None else None
    if weights.path.is_dir():
        return examine_transformers(weights.path, layers, default)
    conventions = None if known is None else Conventions(known.padding, known.scaling)
    return examine_onnx(weights.path, layers, default, conventions)


def open_encoder(path: Path, anatomy: Anatomy) -> Encoder:
    """Load an encoder from a file or folder."""
    if not path.is_dir():
        return OnnxEncoder(path, anatomy.layers)
    encoder = TransformersEncoder(path, anatomy.layers)
    # Inputs of any length have no padding, so that few have the same shape.
    return BatchedEncoder(encoder, _BATCH) if has_gpu() and anatomy.padding != "none" else encoder


def hash_weights(path: Path) -> tuple[str, str]:
    """Return the SHA-256 of the weights in a file or folder, and that of the files that describe them.

    Files are hashed again only if their size or modification time has changed.
    """
    if path.is_dir():
        weights = sorted(path.glob("*.safetensors"))
        single = hash_file(weights[0]) if len(weights) == 1 else _hash_all(weights)
        return single, _hash_all([path / name for name in CONFIG_FILES if (path / name).is_file()])
    return hash_file(path), ""


def _try_to_hash(path: Path) -> tuple[str, str] | None:
    """Return the hashes of the weights in a file or folder; None if they cannot be read."""
    try:
        return hash_weights(path)
    except EncoderError:
        return None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file; raises an `EncoderError` if it cannot be read."""
    try:
        status = path.stat()
        return _hash_file(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise EncoderError(explain_os_error(error), where=path) from error


@lru_cache(maxsize=256)
def _hash_file(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash_all(paths: list[Path]) -> str:
    return hashlib.sha256("".join(f"{path.name} {hash_file(path)}\n" for path in paths).encode()).hexdigest()


def find_local_copy(known: KnownEncoder) -> Path | None:
    """Return the file or folder of a known encoder on this machine, without asking the hub; None if there is none."""
    if (path := _find_in_folders(known)) is not None:
        return path
    if known.revision is None or not _is_folder(known) or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(known.hub, known.file, revision=known.revision)
    return Path(found).parent if isinstance(found, str) else None


def _locate_known(known: KnownEncoder) -> Weights:
    """Return the weights of a known encoder in $EMODNA_ENCODERS, or from the hub."""
    if (path := _find_in_folders(known)) is not None:
        return _read_weights(path, str(path.resolve()), name=known.name)
    if known.revision is None or not _is_folder(known):
        remedy = f"{_describe_download(known)}, or give its path"
        if known.revision is None:
            source = f"https://huggingface.co/{known.hub}"
            place = "" if known.safetensors_ref is None else f", such as that of {known.safetensors_ref}"
            remedy = f"give {known.hub}@COMMIT, with a commit of {source} that has {known.file}{place}"
        problem = f"not found on this machine, also not in ${ENCODERS_VARIABLE} ({_describe_folders()})"
        raise EncoderError(problem, field="encoder", value=known.name, remedy=remedy)
    return _read_weights(_download(known.hub, known.revision), known.source, name=known.name)


def _find_in_folders(known: KnownEncoder) -> Path | None:
    """Return the file or folder of a known encoder in $EMODNA_ENCODERS; None if there is none."""
    if known.sha256 is None:
        return None
    candidates = _list_candidates(known.name, known.file)
    return next((path for path in candidates if (found := _try_to_hash(path)) and found[0] == known.sha256), None)


def _describe_download(known: KnownEncoder) -> str:
    """Return a clause that says where the file of a known encoder comes from."""
    address = f"https://huggingface.co/{known.hub}/resolve/{known.revision}/{known.file}"
    return f"download {address} into a folder that ${ENCODERS_VARIABLE} names"


def _list_roots() -> list[Path]:
    """Return the folders of $EMODNA_ENCODERS."""
    names = os.environ.get(ENCODERS_VARIABLE, "").split(os.pathsep)
    return [Path(name).expanduser() for name in names if name]


def list_missing_folders() -> list[Path]:
    """Return the folders of $EMODNA_ENCODERS that do not exist."""
    return [root for root in _list_roots() if not root.is_dir()]


def _describe_folders() -> str:
    """Return the folders of $EMODNA_ENCODERS as text, which says which of them do not exist."""
    missing = list_missing_folders()
    texts = [f"{root}, which is not a folder" if root in missing else str(root) for root in _list_roots()]
    return "; ".join(texts) or "not set"


def _is_folder(known: KnownEncoder) -> bool:
    """Return True if an encoder is a folder of the transformers library."""
    return known.file.endswith(".safetensors")


def _list_candidates(*names: str) -> Iterator[Path]:
    """Yield the encoders below the folders of $EMODNA_ENCODERS; those whose path contains one of the names first."""
    found: list[Path] = []
    for root in _list_roots():
        files = [path for pattern in _DEPTH for path in sorted(root.glob(pattern)) if path.is_file()]
        found += [path for path in files if path.suffix == ".onnx"]
        found += dict.fromkeys(path.parent for path in files if path.suffix == ".safetensors")
    yield from sorted(found, key=lambda path: not any(name in str(path) for name in names))


def _read_weights(path: Path, location: str, name: str | None = None) -> Weights:
    """Return the weights in a file or folder; `name` is that of an encoder that the table does not have."""
    if path.is_dir() and not any(path.glob("*.safetensors")):
        has_pickles = any(path.glob("*.bin")) or any(path.glob("*.pt"))
        problem = "has its weights in pickle files, which may run any code" if has_pickles else "has no *.safetensors"
        remedy = "give a folder or a commit with safetensors"
        if files := sorted(path.glob("*.onnx")):
            remedy = f"give the file itself: {' or '.join(map(str, files))}"
        raise EncoderError(problem, where=location, remedy=remedy)
    if path.is_file() and path.suffix != ".onnx":
        raise EncoderError("not an encoder", where=location, remedy="give an .onnx file or a folder")
    sha256, config_sha256 = hash_weights(path)
    known = find_known_encoder(sha256, location)
    name = known.name if known is not None else name or path.resolve().stem if path.is_file() else path.resolve().name
    return Weights(name, path, sha256, config_sha256, location)


def _find_cached(repository: str, revision: str) -> Path | None:
    """Return the folder with a commit of a repository in the local cache, which may lack files; None if there is none.

    Does not ask the hub.
    """
    require_packages("transformers")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _download(repository: str, revision: str) -> Path:
    """Return the folder with a commit of a repository in the local cache, after fetching what is missing."""
    require_packages("transformers")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    verbosity = get_verbosity()
    set_verbosity(logging.ERROR)  # each attempt without a network would be a line
    try:
        wanted = ["*.safetensors", "*.safetensors.index.json", *CONFIG_FILES]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        where = f"{repository}@{revision}"
        raise EncoderError("not in the local cache, and the hub cannot be reached", where=where) from error
    except Exception as error:  # also one of the HTTP client, which depends on the version of the library
        raise EncoderError(f"cannot be fetched: {error}".splitlines()[0], where=f"{repository}@{revision}") from error
    finally:
        set_verbosity(verbosity)
