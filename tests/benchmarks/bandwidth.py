"""Compare the features of band-limited audio with those of the same audio at a lower sample rate, and the time."""

from io import BytesIO
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr
import torch
from threadpoolctl import threadpool_limits

from emodna.pipeline.audio.decode import decode, limit_bandwidth, resample
from emodna.pipeline.features import LogMelSet, MfccSet
from tests.benchmarks.inputs import read_recording, root_option
from tests.benchmarks.timing import Rounds, measure_cpu_time


@click.command()
@root_option
@click.option("--files", default=60, show_default=True, help="Number of files, evenly spaced.")
@click.option("--bandwidth", default=4000, show_default=True, help="Highest frequency in Hz.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of both, in turn.")
def main(root: Path, files: int, bandwidth: int, rounds: int) -> None:
    """Print the differences of log-mel spectra and MFCCs, the level above the limit, and the ratio of the times."""
    paths = sorted(root.rglob("*.wav"))
    paths = paths[:: max(1, len(paths) // files)][:files]
    audio = [read_recording(path) for path in paths]
    sets = {"log-mel, dB": LogMelSet(), "MFCC": MfccSet()}
    limited_difference = {name: [] for name in sets}
    whole_difference = {name: [] for name in sets}
    above = []
    rate = LogMelSet().sample_rate
    for samples, native in audio:
        # As a recording of this bandwidth would be: a 16-bit file, resampled by a better filter.
        file = BytesIO()
        lower = soxr.resample(samples, native, 2 * bandwidth, quality="VHQ")
        soundfile.write(file, lower, 2 * bandwidth, format="WAV", subtype="PCM_16")
        recording = decode(file)
        signals = [limit_bandwidth(samples, native, bandwidth), (recording.samples, recording.sample_rate)]
        limited, low, whole = (resample(signal, hertz, rate) for signal, hertz in (*signals, (samples, native)))
        length = min(map(len, (limited, low, whole)))
        for name, features in sets.items():
            found, expected, unlimited = (features.extract(each[:length])[0] for each in (limited, low, whole))
            limited_difference[name].append(np.abs(found - expected).mean())
            whole_difference[name].append(np.abs(unlimited - expected).mean())
        spectrum = np.abs(np.fft.rfft(limited * np.hanning(len(limited))))
        is_above = np.fft.rfftfreq(len(limited), 1 / rate) > 1.025 * bandwidth
        above.append(20 * np.log10(spectrum[is_above].max() / spectrum.max()))

    def extract_all(limit: int | None) -> float:
        features = sets["MFCC"]
        signals = (limit_bandwidth(samples, native, limit) for samples, native in audio)
        return measure_cpu_time(lambda: [features.extract(resample(each, hertz, rate)) for each, hertz in signals])

    torch.set_num_threads(1)
    with threadpool_limits(1):
        taken = Rounds({"limited": lambda: extract_all(bandwidth), "whole": lambda: extract_all(None)}, rounds)
    click.echo(f"{len(audio)} files of {root}, up to {bandwidth} Hz, against 16-bit files of {2 * bandwidth} Hz")
    for name in sets:
        click.echo(
            f"{name:12} mean difference {np.mean(limited_difference[name]):.2f}, "
            f"without a limit {np.mean(whole_difference[name]):.2f}"
        )
    click.echo(f"above the limit at most {max(above):.0f} dB relative to the peak of the spectrum")
    click.echo(f"CPU time of resampling and MFCCs: {taken.ratio('limited', 'whole'):.2f} x that without a limit")


if __name__ == "__main__":
    main()
