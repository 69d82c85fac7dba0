"""Measure recall, false positives and cost of the search for altered copies in `emodna-cache stats`.

python -m tests.benchmarks.near_duplicates --root data/ravdess --root data/emodb
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.features import MfccSet, make_feature_set
from emodna.pipeline.inspect.anomalies import find_band_limits
from emodna.pipeline.inspect.duplicates import find_altered_copies, find_equal_audio
from emodna.pipeline.inspect.survey import survey_store
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.shards import compute_feature_crc, write_shard, write_table
from emodna.pipeline.store.snapshot import Snapshot, compute_checksum
from tests.benchmarks.inputs import read_recording
from tests.pipeline.making import prepare_corpus

Samples = NDArray[np.float32]
Alteration = Callable[[Samples, int, np.random.Generator], tuple[Samples, int]]


def _encode(samples: Samples, rate: int, **how: object) -> tuple[Samples, int]:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **how)
    recording = decode(stream)
    return recording.samples, recording.sample_rate


def _add_noise(samples: Samples, snr: float, random: np.random.Generator) -> Samples:
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-snr / 20)
    return (samples + level * random.standard_normal(len(samples))).astype(np.float32)


def _resample_to(rate: int) -> Alteration:
    return lambda x, s, _: (resample(x, s, rate), rate)


ALTERATIONS: dict[str, Alteration] = {
    "20 dB quieter, 16 bits": lambda x, s, _: ((np.round(0.1 * x * 32767) / 32767).astype(np.float32), s),
    "to full scale": lambda x, s, _: (x * (0.99 / np.abs(x).max()), s),
    "6 dB louder, clipped": lambda x, s, _: (np.clip(2 * x, -1, 1), s),
    "FLAC, half as loud": lambda x, s, _: _encode(0.5 * x, s, format="FLAC", subtype="PCM_16"),
    "MP3, default": lambda x, s, _: _encode(x, s, format="MP3", subtype="MPEG_LAYER_III"),
    "MP3, smallest": lambda x, s, _: _encode(
        x, s, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.95, bitrate_mode="CONSTANT"
    ),
    "OGG Vorbis, default": lambda x, s, _: _encode(x, s, format="OGG", subtype="VORBIS"),
    "OGG Vorbis, smallest": lambda x, s, _: _encode(x, s, format="OGG", subtype="VORBIS", compression_level=1.0),
    "to 44.1 kHz": _resample_to(44_100),
    "to 16 kHz": _resample_to(16_000),
    "to 8 kHz": _resample_to(8_000),
    "to 8 kHz and back to 48": lambda x, s, _: (resample(resample(x, s, 8_000), 8_000, 48_000), 48_000),
    "first 6 ms cut": lambda x, s, _: (x[round(0.0058 * s) :], s),
    "first 12 ms cut (half a hop)": lambda x, s, _: (x[round(0.0116 * s) :], s),
    "50 and 30 ms cut": lambda x, s, _: (x[round(0.05 * s) : -round(0.03 * s)], s),
    "200 and 100 ms cut": lambda x, s, _: (x[round(0.2 * s) : -round(0.1 * s)], s),
    "300 and 200 ms of zeros": lambda x, s, _: (np.pad(x, (round(0.3 * s), round(0.2 * s))), s),
    "noise, 40 dB below": lambda x, s, r: (_add_noise(x, 40, r), s),
    "noise, 30 dB below": lambda x, s, r: (_add_noise(x, 30, r), s),
    "noise, 20 dB below": lambda x, s, r: (_add_noise(x, 20, r), s),
    "52 ms cut, 10 dB quieter, 16 kHz, OGG": lambda x, s, _: _encode(
        resample(0.3 * x[round(0.0516 * s) :], s, 16_000), 16_000, format="OGG", subtype="VORBIS"
    ),
}


@click.command()
@click.option(
    "--root", "roots", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, multiple=True,
    help="Folder of WAVs; repeatable.",
)  # fmt: skip
@click.option("--feature-set", "name", default="mfcc40", show_default=True)
@click.option(
    "--scale", default="1440,5760,23040", show_default=True, help="Sizes of synthetic stores; empty for none."
)
def main(roots: tuple[Path, ...], name: str, scale: str) -> None:
    """Print the recall of each alteration, the false positives, and time and memory by size of the store."""
    files = [path for root in roots for path in sorted(root.rglob("*.wav"))]
    with tempfile.TemporaryDirectory() as folder:
        plain = _make_store(Path(folder) / "plain", name, ((path.name, *read_recording(path)) for path in files))
        originals, equal = survey_store(plain)[1], find_equal_audio(plain)
        found = find_altered_copies(plain, originals, equal)
        click.echo(f"{len(plain)} recordings as they are, {name}: {len(equal)} groups of equal files, "
                   f"{len(found)} groups of altered copies")  # fmt: skip
        for group in found:
            click.echo(f"  {group.similarity:.3f} {' '.join(plain.ids[row] for row in group.rows)}")
        repeated = {plain.ids[row] for group in equal for row in group.rows[1:]}
        _measure_recall(Path(folder) / "copies", name, [path for path in files if path.name not in repeated])
        if scale:
            click.echo(
                "utterances | survey, CPU s | altered copies, CPU s | planted of 100 found | largest resident MB"
            )
        for size in map(int, filter(None, scale.split(","))):
            store = _make_synthetic_store(Path(folder) / str(size), plain, size)
            command = [sys.executable, "-m", "tests.benchmarks.near_duplicates", "--cost", str(store)]
            click.echo(
                f"{size:10} | {subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout}", nl=False
            )


def _make_store(folder: Path, name: str, recordings: Iterator[tuple[str, Samples, int]]) -> FeatureStore:
    folder.mkdir()
    ids = []
    for id, samples, rate in recordings:
        # 24 bits keep small alterations.
        soundfile.write(folder / f"{len(ids)}.wav", np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_24")
        ids.append(id)
    table = folder / "table.csv"
    table.write_text("path,id\n" + "".join(f'{number}.wav,"{id}"\n' for number, id in enumerate(ids)))
    report = prepare_corpus(folder, folder / "cache", Manifest(table, "copies"), features=make_feature_set(name))
    return FeatureStore(report.store)


def _measure_recall(folder: Path, name: str, files: list[Path]) -> None:
    """Print the recall for a store of every recording and one altered copy of each."""
    random = np.random.default_rng(0)
    order = random.permutation(len(files))
    kinds = list(ALTERATIONS)
    kind_of = {files[number].name: kinds[turn % len(kinds)] for turn, number in enumerate(order.tolist())}

    def recordings() -> Iterator[tuple[str, Samples, int]]:
        for path in files:
            samples, rate = read_recording(path)
            yield path.name, samples, rate
            yield f"copy {path.name}", *ALTERATIONS[kind_of[path.name]](samples, rate, random)

    store = _make_store(folder, name, recordings())
    statistics, equal = survey_store(store)[1], find_equal_audio(store)
    found, false_groups = set(), []
    for group in [*equal, *find_altered_copies(store, statistics, equal)]:  # some alterations change nothing
        originals = {store.ids[row].removeprefix("copy ") for row in group.rows}
        if len(originals) == 1:
            found |= originals
        else:
            false_groups.append(sorted(originals))
    limits = find_band_limits(store, statistics, make_feature_set(name))
    limited = {id for id, limit in zip(store.ids, limits, strict=True) if np.isfinite(limit)}
    click.echo("alteration | copies | found % | band-limited")
    for kind in kinds:
        originals = {original for original, each in kind_of.items() if each == kind}
        band_limited = sum(f"copy {original}" in limited for original in originals)
        click.echo(f"{kind} | {len(originals)} | {100 * len(originals & found) / len(originals):.1f} | {band_limited}")
    click.echo(f"band-limited originals: {len(limited & kind_of.keys())} of {len(files)}")
    click.echo(f"groups of different recordings: {len(false_groups)}")
    for ids in false_groups:
        click.echo(f"  {' '.join(ids)}")


def _make_synthetic_store(folder: Path, source: FeatureStore, size: int, planted: int = 100) -> Path:
    """Write a store of utterances joined from two recordings, stretched and tilted, with `planted` altered copies."""
    random = np.random.default_rng(size)
    parameters, features = MfccSet().parameters(), []
    for _ in range(size - planted):
        one, other = (source[int(row)] for row in random.integers(len(source), size=2))
        joined = np.concatenate([one[: len(one) // 2], other[len(other) // 2 :]])
        frames = np.arange(0, len(joined), random.uniform(0.8, 1.25)).astype(int)
        features.append(joined[frames] * random.uniform(0.8, 1.2, joined.shape[1]).astype(np.float32))
    for row in random.choice(size - planted, planted, replace=False):
        copy = features[row][2:].copy()
        features.append(copy + random.normal(0, 0.5, copy.shape).astype(np.float32))
    folder.mkdir()
    count, files, rows = layout.count_shards(size), [], []
    ids = sorted((layout.assign_shard(str(number), count), str(number), number) for number in range(size))
    for shard in range(count):
        rows_of_shard = [each for each in ids if each[0] == shard]
        arrays = [features[number] for _, _, number in rows_of_shard]
        files.append(write_shard(folder, shard, parameters, [id for _, id, _ in rows_of_shard], arrays))
        offset = 0
        for (_, id, number), array in zip(rows_of_shard, arrays, strict=True):
            rows.append(
                dict.fromkeys(layout.INDEX_SCHEMA.names)
                | {"id": id, "path": id, "corpus": "synthetic", "sample_rate": 48_000, "channels": 1}
                | {"duration": len(array) * 512 / 22_050, "frames": len(array), "peak_db": 20.0, "shard": shard}
                | {"offset": offset, "feature_crc": compute_feature_crc(array)}
                | {"audio_sha256": hashlib.sha256(str(number).encode()).hexdigest()}
            )
            offset += len(array)
    files.append(write_table(folder, "index", pa.Table.from_pylist(rows, layout.INDEX_SCHEMA)))
    snapshot = Snapshot(
        corpus="synthetic", feature_set=MfccSet().name, parameters=parameters, libraries={}, root="", licence="",
        citation="", counts={"utterances": size, "rejected": 0}, fingerprint="", files=files, created="",
    )  # fmt: skip
    document = asdict(snapshot) | {"format": layout.FORMAT, "version": layout.FORMAT_VERSION}
    (folder / layout.STORE_JSON).write_text(json.dumps(document | {"checksum": compute_checksum(document)}))
    return folder


def measure_cost(store: FeatureStore) -> None:
    """Print the CPU times of survey and search, the number of planted copies found, and the peak memory."""
    began = time.process_time()
    statistics = survey_store(store)[1]
    surveyed = time.process_time()
    groups = find_altered_copies(store, statistics, [])
    done = time.process_time()
    found = sum(int(store.ids[row]) >= len(store) - 100 for group in groups for row in group.rows)
    click.echo(f"{surveyed - began:13.1f} | {done - surveyed:21.1f} | {found:20} | {_read_peak_mb():.0f}")


def _read_peak_mb() -> float:
    """Return the largest resident memory of this process (Linux); getrusage includes that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cost"]:
        measure_cost(FeatureStore(sys.argv[2]))
    else:
        main()
