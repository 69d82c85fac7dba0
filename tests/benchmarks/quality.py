"""Measure the bandwidth of altered copies of recordings, and the time of all measures."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.audio.quality import measure_quality
from emodna.pipeline.features import MfccSet
from tests.benchmarks.inputs import read_recording, root_option
from tests.benchmarks.timing import Rounds, measure_cpu_time

Float32 = NDArray[np.float32]

#: Hz: largest bandwidth of narrowband audio.
_NARROW: int = 4400


@click.command()
@root_option
@click.option("--files", default=60, show_default=True, help="Number of files, evenly spaced.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of the extraction with and without the measures.")
def main(root: Path, files: int, rounds: int) -> None:
    """Print percentiles of the bandwidth by alteration, the share of narrowband files, and the ratio of the times."""
    paths = sorted(root.rglob("*.wav"))
    audio = [read_recording(path) for path in paths[:: max(1, len(paths) // files)][:files]]
    found: dict[str, list[float]] = {}
    for samples, rate in audio:
        for name, altered, altered_rate in alter(samples, rate):
            found.setdefault(name, []).append(measure_quality(altered, altered_rate).bandwidth)
    click.echo(f"{len(audio)} files of {root}: bandwidth in Hz, and the share below {_NARROW} Hz")
    for name, values in found.items():
        percentiles = "".join(f"{value:8.0f}" for value in np.percentile(values, [5, 50, 95]))
        click.echo(f"{name:44}{percentiles}{100 * np.mean(np.array(values) < _NARROW):8.1f} %")

    features = MfccSet()

    def extract_all(*, measured: bool) -> None:
        for samples, rate in audio:
            features.extract(resample(samples, rate, features.sample_rate))
            if measured:
                measure_quality(samples, rate)

    torch.set_num_threads(1)
    with threadpool_limits(1):
        works = {
            "measured": lambda: measure_cpu_time(lambda: extract_all(measured=True)),
            "unmeasured": lambda: measure_cpu_time(lambda: extract_all(measured=False)),
        }
        taken = Rounds(works, rounds, warm_up=True)
    click.echo(f"CPU time of resampling and MFCCs: {taken.ratio('measured', 'unmeasured'):.3f} x that without measures")


def alter(samples: Float32, rate: int) -> Iterator[tuple[str, Float32, int]]:
    """Yield name, samples and rate of altered copies."""
    random = np.random.default_rng(0)

    def change_rate(signal: Float32, source: int, target: int) -> Float32:
        return np.asarray(soxr.resample(signal, source, target), np.float32)

    def add_noise(signal: Float32, ratio_db: float) -> Float32:
        level = np.sqrt(np.mean(signal**2) / 10 ** (ratio_db / 10))
        return (signal + level * random.standard_normal(len(signal))).astype(np.float32)

    def add_hum(signal: Float32) -> Float32:
        hum = np.abs(signal).max() * np.sin(2 * np.pi * 50 * np.arange(len(signal)) / rate)
        return (0.5 * (signal + hum)).astype(np.float32)

    def encode(signal: Float32, target: int, **options: Any) -> Float32:
        stream = BytesIO()
        soundfile.write(stream, signal, target, **options)
        stream.seek(0)
        return decode(stream).samples

    yield "unchanged", samples, rate
    yield "30 dB quieter, 16 bits", encode(samples * 10**-1.5, rate, format="WAV", subtype="PCM_16"), rate
    yield "hum", add_hum(samples), rate
    for ratio_db in (30, 20):
        yield f"white noise {ratio_db} dB below the speech", add_noise(samples, ratio_db), rate
    for level in (0.9, 0.5, 0.0):
        options = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": level}
        yield f"MP3, compression level {level}", encode(samples, rate, **options), rate
    yield "limited to 5500 Hz", change_rate(change_rate(samples, rate, 11_000), 11_000, rate), rate
    yield "limited to 4000 Hz", change_rate(change_rate(samples, rate, 8000), 8000, rate), rate
    call = change_rate(samples, rate, 8000)
    yield "8 kHz", encode(call, 8000, format="WAV", subtype="PCM_16"), 8000
    for law in ("ULAW", "ALAW"):
        coded = change_rate(encode(call, 8000, format="WAV", subtype=law), 8000, rate)
        yield f"8 kHz {law}, resampled", encode(coded, rate, format="WAV", subtype="PCM_16"), rate
    yield "8 kHz ALAW, resampled, hum", add_hum(coded[: len(samples)]), rate
    yield "8 kHz ALAW, resampled, MP3", encode(coded, rate, format="MP3"), rate
    for ratio_db in (40, 30):
        yield f"8 kHz ALAW, resampled, white noise -{ratio_db} dB", add_noise(coded, ratio_db), rate
    linear = np.interp(np.arange(len(samples)) * 8000 / rate, np.arange(len(call)), call).astype(np.float32)
    yield "8 kHz, resampled by linear interpolation", linear, rate


if __name__ == "__main__":
    main()
