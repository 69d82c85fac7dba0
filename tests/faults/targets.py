"""Fuzz targets: each takes a random generator and tries one bad input.

A target returns its outcome in a word. An error that is not an EmodnaError, a wrong value, or a crash is a finding.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import soundfile
import torch
from numpy.random import Generator

from emodna.model.checkpoint import load_tensors, save_tensors
from emodna.model.config import as_settings
from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer
from emodna.model.errors import RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import METHODS
from emodna.pipeline import corpora
from emodna.pipeline.archives import FolderTree, open_tree
from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.corpora.base import Corpus, PathCorpus, Skip
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import AudioError, CorpusError, StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.prepare.history import History
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.shards import compute_feature_crc
from emodna.pipeline.store.snapshot import compute_checksum, encode_document, hash_file
from emodna.pipeline.tasks import AROUSAL
from tests.faults.mutations import mutate
from tests.faults.tiny import Truth, make_tiny_store
from tests.pipeline.archives.packing import PACKERS
from tests.pipeline.making import noise, wav

Target = Callable[[Generator], str]

#: Formats of libsndfile with their encodings.
_SOUNDS: Mapping[str, str] = {
    "WAV": "PCM_16 PCM_U8 PCM_24 FLOAT DOUBLE ULAW ALAW MS_ADPCM IMA_ADPCM GSM610 G721_32 NMS_ADPCM_24",
    **dict.fromkeys(("WAVEX", "RF64", "W64", "SVX", "VOC", "NIST", "IRCAM", "PAF", "SDS", "AVR"), "PCM_16"),
    **dict.fromkeys(("PVF", "HTK", "MPC2K"), "PCM_16"),
    "FLAC": "PCM_16 PCM_24",
    "OGG": "VORBIS OPUS",
    "MP3": "MPEG_LAYER_III",
    "AIFF": "PCM_16 IMA_ADPCM",
    "AU": "PCM_16 G723_24",
    "CAF": "PCM_16 ALAC_16",
    "MAT4": "FLOAT",
    "MAT5": "FLOAT",
    "XI": "DPCM_16",
}

TARGETS: dict[str, Target] = {}


def register_target(*errors: type[Exception]) -> Callable[[Target], Target]:
    """Register a target; these errors, each of one line, give the outcome "refused"."""

    def decorate(function: Target) -> Target:
        @functools.wraps(function)
        def run_target(generator: Generator) -> str:
            try:
                return function(generator)
            except errors as error:
                _check_one_line(error)
                return "refused"

        TARGETS[function.__name__] = run_target
        return run_target

    return decorate


def _pick(items: Sequence[Any], generator: Generator) -> Any:
    return items[int(generator.integers(len(items)))]


@cache
def _make_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


@cache
def _make_recordings() -> list[bytes]:
    """Make one short recording in each format that this libsndfile writes."""
    recordings = [wav(noise(0.2))]
    for format, subtype in ((name, each) for name, encodings in _SOUNDS.items() for each in encodings.split()):
        for channels in (1, 2):
            file = io.BytesIO()
            samples = noise(0.2, 8000).reshape(-1, channels)
            try:
                soundfile.write(file, samples, 8000, format=format, subtype=subtype)
            except (soundfile.LibsndfileError, ValueError):  # a format that another libsndfile lacks
                continue
            recordings.append(file.getvalue())
    return recordings


@register_target(AudioError)
def audio(generator: Generator) -> str:
    """A damaged recording is refused, or gives finite features."""
    recordings = _make_recordings()
    content = mutate(_pick(recordings, generator), recordings, generator)
    recording = decode(io.BytesIO(content), channel=int(generator.integers(2)), max_seconds=30.0)
    _require(bool(np.isfinite(recording.samples).all()), "samples that are not finite")
    _require(0 < recording.sample_rate < 2**31 and recording.duration <= 30.0, "an impossible rate or duration")
    features, peak_db = MfccSet().extract(resample(recording.samples, recording.sample_rate, 22_050))
    _require(bool(np.isfinite(features).all()) and bool(np.isfinite(peak_db)), "features that are not finite")
    return "read"


@cache
def _make_archives() -> dict[str, bytes]:
    members = {f"wav/{name}.wav": noise(0.01, seed=name).tobytes() for name in "abc"} | {"note.txt": b"text" * 99}
    return {kind: packer(members) for kind, packer in PACKERS.items()}


@register_target(CorpusError)
def archives(generator: Generator) -> str:
    """A damaged archive is refused, or its members are read or rejected one by one."""
    contents = _make_archives()
    kind = _pick(sorted(contents), generator)
    path = _make_folder() / f"x{kind}"
    path.write_bytes(mutate(contents[kind], list(contents.values()), generator))
    is_refused = False
    tree = open_tree(path, (".wav",))
    for name in tree.list_files((".wav",)):
        _require(tree.make_relative(name) == name and not name.startswith("/"), f"a member named {name!r}")
        try:
            tree.open(name).close()
        except AudioError as error:
            _check_one_line(error)
            is_refused = True
    return "partly read" if is_refused else "read"


@cache
def _make_store() -> Truth:
    return make_tiny_store(_make_folder() / "tiny")


def _copy_store() -> Path:
    shutil.rmtree(_make_folder() / "copy", ignore_errors=True)
    return Path(shutil.copytree(_make_store().path, _make_folder() / "copy"))


def _read_store(store: Path) -> str:
    """Open, read and verify a store: it gives correct data or a StoreError."""
    truth = _make_store()
    is_damaged = False
    try:
        opened = FeatureStore(store)
        for row, id in enumerate(opened.ids):
            try:
                features = opened[row]
            except StoreError as error:
                _check_one_line(error)
                is_damaged = True
                continue
            expected = truth.features[id]
            _require(features.shape == expected.shape and bool((features == expected).all()), f"wrong features: {id}")
            _require(opened.labels("arousal")[row] == truth.arousal[id], f"a wrong label: {id}")
        opened.read_rejected()
        _require(bool(opened.verify()) or not is_damaged, "damage that verify does not find")
    except StoreError as error:
        _check_one_line(error)
        return "refused"
    return "partly read" if is_damaged else "read"


@register_target()
def store_bytes(generator: Generator) -> str:
    """Damage in any file of a store is found, and reading gives correct data."""
    store = _copy_store()
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.stat().st_size]
    path = _pick(files, generator)
    before = path.read_bytes()
    path.write_bytes(mutate(before, [each.read_bytes() for each in files], generator))
    result = _read_store(store)
    if path.read_bytes() != before and result != "refused":
        problems = list(map(str, FeatureStore(store).verify()))
        _require(any(path.name in each for each in problems), f"{path.name}: not named by verify: {problems}")
    return result


@register_target()
def store_shards(generator: Generator) -> str:
    """A damaged shard with a valid hash gives correct data or a StoreError, and HDF5 does not crash."""
    store = _copy_store()
    shard = sorted(store.glob("*.h5"))[0]
    shard.write_bytes(mutate(shard.read_bytes(), [shard.read_bytes()], generator))
    return _read_store(_rename_by_content(store))


_STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**31, 2**63, 2**200, float("nan"), float("inf"), "", "x", [], {}, [[]], {"": None}),
    *("../store.json", "/etc/passwd", "index-..", "\ud800", "\0", "[red]\x1b[31m\n"),
)


def _make_strange(document: Any, generator: Generator) -> None:
    """Change, delete or duplicate a random item of a document."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = _pick(keys, generator)
        inner = document[key]
        if isinstance(inner, dict | list) and inner and generator.random() < 0.8:
            document = inner
            continue
        match int(generator.integers(5)):
            case 0:
                del document[key]
            case 1 if isinstance(document, list):
                document.append(inner)
            case 1:
                document[f"{key}2"] = inner
            case _:
                document[key] = _pick(_STRANGE, generator)
        return


def _rename_by_content(store: Path) -> Path:
    """Rename every file of a store by its content, so that all hashes are valid."""
    content = json.loads((store / layout.STORE_JSON).read_bytes())
    for file in content["files"]:
        path = store / file["name"]
        file["sha256"], file["size"] = hash_file(path), path.stat().st_size
        file["name"] = layout.make_content_name(path.name.split("-")[0], file["sha256"], path.suffix)
        path.rename(store / file["name"])
    content.pop("checksum")
    (store / layout.STORE_JSON).write_bytes(encode_document(content | {"checksum": compute_checksum(content)}))
    return store


@register_target()
def side_files(generator: Generator) -> str:
    """A damaged side file is ignored: the history of a store is correct or empty."""
    store = _copy_store()
    paths = sorted(store.rglob(f"*{layout.CHECKSUMMED_SUFFIX}"))
    path = _pick(paths, generator)
    path.write_bytes(mutate(path.read_bytes(), [each.read_bytes() for each in paths], generator))
    history = History(store, "emodb", ExtractionConfig(MfccSet()), _make_store().root, rehash=False)
    for info in history.utterances.to_pylist():
        expected = compute_feature_crc(_make_store().features[info["id"]])
        _require(info["feature_crc"] == expected, f"wrong checksum: {info['id']}")
    return "known" if len(history.utterances) else "unknown"


@cache
def _make_tables() -> dict[str, bytes]:
    columns = {"path": ["a.wav", "b/ü.wav", "c"], "id": ["1", "2", "3"], "emotion": ["anger", "", "x"]}
    table = pa.table(columns | {"age": [1, 2, 3]})
    contents = {}
    for number, options in enumerate(({}, {"compression": "zstd"}, {"use_dictionary": False, "version": "1.0"})):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        contents[f"{number}.parquet"] = sink.getvalue().to_pybytes()
    contents["a.csv"] = b'path,id,emotion\na.wav,1,anger\n"b ""x"".wav",2,\n"c\nd.wav",3,fear\n'
    contents["b.csv"] = "\ufeffpath;id\r\na.wav;1\r\nü.wav;2\r\n".encode()
    return contents


@register_target(CorpusError)
def tables(generator: Generator) -> str:
    """A damaged table of a user is refused, or gives utterances."""
    contents = _make_tables()
    name = _pick(sorted(contents), generator)
    path = _make_folder() / f"table{name}"
    path.write_bytes(mutate(contents[name], list(contents.values()), generator))
    scan = Manifest(path, "mine").scan(FolderTree(_make_folder()))
    _require(len(scan.select_own_columns()) in (0, len(scan.utterances)), "columns of another length")
    _require(all(utterance.path and utterance.id for utterance in scan.utterances), "an utterance without path")
    return "read"


_LABELS = (
    b"% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    b"[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n"
    b"A-E3:\tval 3; act 2; dom  2;\t()\n\n[10.0100 - 11.3925]\tSes01F_impro01_F001\tang\t[2.5000, 3.5000, 2.5000]\n"
)


@register_target(CorpusError)
def iemocap_labels(generator: Generator) -> str:
    """A damaged label file loses labels, but the scan succeeds."""
    root = _make_folder() / "iemocap"
    labels = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    if not labels.exists():
        labels.parent.mkdir(parents=True)
        for turn in ("F000", "F001"):
            audio = root / f"Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_{turn}.wav"
            audio.parent.mkdir(parents=True, exist_ok=True)
            audio.touch()
    labels.write_bytes(mutate(_LABELS, [_LABELS, bytes(range(256))], generator))
    corpus = corpora.load_corpus("iemocap", "all")
    scan = corpus.scan(corpus.open(root))
    scan.select_own_columns()
    return f"{len(scan.utterances)} labels"


_NAMES: Mapping[str, str] = {
    "casia": "liuchanhg/angry/201.wav",
    "emodb": "wav/03a01Fa.wav",
    "emovo": "f1/rab-f1-b1.wav",
    "iemocap": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M013.wav",
    "ravdess": "Actor_01/03-01-01-01-01-01-01.wav",
    "savee": "AudioData/DC/a01.wav",
}


@register_target()
def names(generator: Generator) -> str:
    """Any file name is scanned or skipped."""
    name = _pick(sorted(_NAMES), generator)
    content = mutate(_NAMES[name].encode(), [each.encode() for each in _NAMES.values()], generator)
    path = PurePosixPath(content.decode("utf-8", "replace").lstrip("/") or "x")
    corpus: Corpus = corpora.load_corpus(name)
    if not isinstance(corpus, PathCorpus):
        return "no path corpus"
    utterance = corpus.describe(path)
    if utterance is None or isinstance(utterance, Skip):
        return "skipped"
    _require(bool(utterance.id), "an utterance without an id")
    return "read"


@cache
def _make_model() -> bytes:
    torch.set_num_threads(1)
    kind = METHODS["emo-dna"]
    settings = {**as_settings(kind.defaults), "channels": 2, "tcn_blocks": 1, "projection_dim": 2}
    framer = Framer(24, "silence", Statistics.identity(40), MfccSet().silence)
    path = _make_folder() / "whole.safetensors"
    method = kind(40, type(kind.defaults)(**settings), 0)
    TrainedModel(method, settings, AROUSAL, 40, framer, MfccSet()).save(path)
    return path.read_bytes()


@register_target(RunError)
def model_bytes(generator: Generator) -> str:
    """A damaged model is refused, or equals the written one."""
    path = _make_folder() / "damaged.safetensors"
    path.write_bytes(mutate(_make_model(), [_make_model()], generator))
    tensors, metadata = load_tensors(path)
    expected, expected_metadata = load_tensors(_make_folder() / "whole.safetensors")
    is_equal = metadata == expected_metadata and tensors.keys() == expected.keys()
    _require(is_equal and all(torch.equal(tensors[name], expected[name]) for name in expected), "another model")
    return "read"


@register_target(RunError, AudioError)
def model_facts(generator: Generator) -> str:
    """A model with strange metadata and a valid checksum is refused, or gives a probability."""
    _make_model()
    tensors, metadata = load_tensors(_make_folder() / "whole.safetensors")
    metadata = json.loads(json.dumps(metadata))
    path = _make_folder() / "strange.safetensors"
    for _ in range(int(generator.integers(1, 4))):
        _make_strange(metadata, generator)
    save_tensors(path, tensors, metadata)
    model = TrainedModel.load(path, torch.device("cpu"))
    features = np.asarray(generator.standard_normal((31, 40)), np.float32)
    probability = model.probabilities([(features, -20.0)]) if model.framer.frames < 10_000 else np.zeros((1, 2))
    _require(probability.shape == (1, 2), "no probability")
    return "read"


_faulty_trials = itertools.count()


def faulty(_generator: Generator) -> str:
    """Fail on purpose for the tests of the fuzzer: in a finalizer, by an error, or by a crash."""
    match next(_faulty_trials):
        case 1:
            weakref.finalize(io.BytesIO(), int, "unseen")
        case 2:
            raise ValueError("on purpose")
        case 3:
            os.abort()
    return "read"


def find_target(name: str) -> Target:
    return faulty if name == "faulty" else TARGETS[name]


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)


def _check_one_line(error: Exception) -> None:
    _require("\n" not in str(error) and bool(str(error)), f"not one line: {error}")
