"""Measure how often audio is named as outside the training audio: that of other speakers, and degraded copies.

The training audio is that of half the speakers of each corpus. Needs the corpora and their stores, but no model.

python -m tests.benchmarks.domain --data data --cache cache
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import click
import numpy as np
import soundfile
from numpy.typing import NDArray

from emodna.model.data.domain import MEASURES, Deviation, TrainingDomain
from emodna.pipeline.audio.decode import resample
from emodna.pipeline.audio.quality import measure_quality
from emodna.pipeline.catalogue import find_store
from emodna.pipeline.features import FeatureSet, rebuild_feature_set
from emodna.pipeline.store import FeatureStore
from tests.benchmarks.inputs import read_recording

Samples = NDArray[np.float32]
Recording = tuple[Samples, int]
"""Samples and their rate in Hz."""


def encode_and_decode(samples: Samples, rate: int, **options: object) -> Recording:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **options)
    buffer.seek(0)
    decoded, rate = soundfile.read(buffer, dtype="float32")
    return decoded, rate


def encode_g711(samples: Samples, rate: int) -> Recording:
    return encode_and_decode(np.clip(resample(samples, rate, 8000), -1, 1), 8000, format="WAV", subtype="ULAW")


def encode_mp3(samples: Samples, rate: int) -> Recording:
    # libsndfile maps 0 to 1 onto 320 to 32 kbit/s, and onto 160 to 8 kbit/s at low sample rates.
    level = 0.99 if rate >= 32000 else (160 - 32) / (160 - 8)
    options = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": level}
    return encode_and_decode(samples, rate, **options)


def add_noise(samples: Samples, rate: int) -> Recording:
    noise = np.random.default_rng(0).standard_normal(len(samples)) * samples.std()
    return (samples + noise).astype(np.float32), rate


def take_middle(samples: Samples, rate: int) -> Recording:
    middle, half = len(samples) // 2, round(0.2 * rate)
    return samples[middle - half : middle + half], rate


DEGRADATIONS: Final[dict[str, Callable[[Samples, int], Recording]]] = {
    "8 kHz": lambda samples, rate: (resample(samples, rate, 8000), 8000),
    "8 kHz, G.711": encode_g711,
    "MP3, 32 kbit/s": encode_mp3,
    "MP3 of 11 025 Hz": lambda samples, rate: encode_mp3(resample(samples, rate, 11025), 11025),
    "clipped by 12 dB": lambda samples, rate: (np.clip(samples * (4 / abs(samples).max()), -1, 1), rate),
    "level - 40 dB": lambda samples, rate: (samples * np.float32(0.01), rate),
    "integers as floats": lambda samples, rate: (samples * np.float32(2**15), rate),
    "noise, 0 dB SNR": add_noise,
    "0.4 s": take_middle,
    "20 times as long": lambda samples, rate: (np.tile(samples, 20), rate),
}


def compare(domain: TrainingDomain, features: FeatureSet, samples: Samples, rate: int) -> tuple[Deviation, ...]:
    array, _ = features.extract(resample(samples, rate, features.sample_rate))
    return domain.compare(array, len(samples) / rate, measure_quality(samples, rate))


def print_row(name: str, found: Iterable[Sequence[Deviation]]) -> None:
    rows = list(found)
    counts = Counter(each.measure for row in rows for each in row)
    shares = "".join(f"{100 * counts[measure] / len(rows):11.1f}" for measure in MEASURES)
    click.echo(f"{name:32}{len(rows):7}{100 * sum(map(bool, rows)) / len(rows):9.1f}{shares}")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), default="data")
@click.option("--cache", type=click.Path(path_type=Path, exists=True, file_okay=False), default="cache")
@click.option("--corpus", "corpora", multiple=True, default=("ravdess", "emodb"), show_default=True)
@click.option("--every", default=8, show_default=True, help="Degrade one file of this many.")
def main(data: Path, cache: Path, corpora: tuple[str, ...], every: int) -> None:
    """Print the percentages of files outside, in any measure and in each one."""
    stores = [FeatureStore(find_store(cache, corpus)) for corpus in corpora]
    features = rebuild_feature_set(stores[0].snapshot.feature_parameters)
    click.echo(f"{'percent outside':32}{'files':>7}{'any':>9}{''.join(f'{name:>11}' for name in MEASURES)}")
    for half in (0, 1):
        known = []
        for store in stores:
            speakers = np.array(store.column("speaker"))
            known.append(np.isin(speakers, np.unique(speakers)[half::2]))
        training = [(store, np.flatnonzero(mask)) for store, mask in zip(stores, known, strict=True)]
        domain = TrainingDomain.of_corpora(training, features.sample_rate)
        for store, mask, corpus in zip(stores, known, corpora, strict=True):
            deviations = domain.compare_store(store)
            for name, rows in (("same speakers", np.flatnonzero(mask)), ("other speakers", np.flatnonzero(~mask))):
                print_row(f"{corpus}, {name}", [deviations[row] for row in rows])
            paths = store.column("path")
            others = [read_recording(data / corpus / paths[row]) for row in np.flatnonzero(~mask)[::every]]
            for name, degrade in DEGRADATIONS.items():
                print_row(f"  {name}", (compare(domain, features, *degrade(*each)) for each in others))


if __name__ == "__main__":
    main()
