"""Measure the speed of predictions, and the effect of windows on their features.

python -m tests.benchmarks.predict RUN --root data/ravdess
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from unittest import mock

import click
import numpy as np
import soundfile
import torch

from emodna.model.inference.inputs import find_inputs
from emodna.model.inference.predict import predict
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows
from emodna.model.metrics import assign_labels
from emodna.pipeline.audio.decode import resample
from emodna.pipeline.audio.quality import AudioQuality
from tests.benchmarks.inputs import read_at, root_option
from tests.benchmarks.timing import Rounds, measure_peak_memory, measure_time, time_process

_WINDOWS = Windows(4.0, 2.0)


def predict_one_by_one(model: TrainedModel, files: list[Path]) -> list[tuple[float, ...]]:
    """Predict file by file in a plain loop."""
    probabilities = []
    for file in files:
        features, peak_db = model.features.extract(read_at(file, model.features.sample_rate))
        window, length = model.window(features, peak_db)
        with torch.inference_mode():
            logits = model.method.predict(torch.from_numpy(window).T[None].contiguous(), torch.tensor([length]))
        probabilities.append(tuple(logits.double().softmax(1)[0].tolist()))
    return probabilities


def predict_together(model: TrainedModel, files: list[Path], threads: int) -> list[tuple[float, ...]]:
    predictions = predict([model], find_inputs(map(str, files)), threads=threads)
    return [each.probabilities for _, each in predictions if each.probabilities is not None]


def predict_unchecked(model: TrainedModel, files: list[Path]) -> list[tuple[float, ...]]:
    """Predict in one thread without comparing the audio with that of the training."""
    quality = AudioQuality(0.0, 0.0, 0.0, 0.0)
    with mock.patch("emodna.model.inference.predict.measure_quality", return_value=quality):
        return predict_together(replace(model, domain=None), files, 1)


def print_rates(model: TrainedModel, files: list[Path], rounds: int) -> None:
    """Time both ways in turn, without start-up."""
    seconds = sum(soundfile.info(file).duration for file in files)
    works = {"loop": lambda: predict_one_by_one(model, files)} | {
        f"{threads} thread(s)": lambda threads=threads: predict_together(model, files, threads) for threads in (1, 2)
    }
    works["unchecked"] = lambda: predict_unchecked(model, files)
    predictions = {name: np.array(work()) for name, work in works.items()}  # also loads libraries
    rows = [{name: measure_time(work) for name, work in works.items()} for _ in range(rounds)]
    click.echo(f"{len(files)} files, {seconds:.0f} s of audio, without start-up, median of {rounds} rounds")
    for name in works:
        wall, cpu = (statistics.median(row[name][n] for row in rows) for n in (0, 1))
        wall_ratio, cpu_ratio = (statistics.median(row["loop"][n] / row[name][n] for row in rows) for n in (0, 1))
        times = f"{wall:7.2f} s wall {cpu:7.2f} s CPU {seconds / wall:7.0f} x real time"
        click.echo(f"{name:12} {times}   loop / this: wall {wall_ratio:.2f}, CPU {cpu_ratio:.2f}")
    checks = statistics.median(row["1 thread(s)"].cpu / row["unchecked"].cpu for row in rows)
    click.echo(f"1 thread with the comparison with the training audio / without (unchecked): CPU {checks:.2f}")
    loop, one, two, _ = predictions.values()
    differences = f"to the loop {abs(loop - one).max():.1e}, of 1 and 2 threads {abs(one - two).max():.1e}"
    click.echo(f"largest difference: {differences}")


def print_long_recordings(run: Path, files: list[Path], minutes: int) -> None:
    """Time the command on long recordings, and measure its peak memory."""
    command = [str(Path(sys.executable).with_name("emodna-predict")), str(run), "--threads", "1", "-q"]

    def measure_cost(*arguments: str) -> tuple[float, float]:
        began = time.perf_counter()
        peak = measure_peak_memory(*command, *arguments)
        return time.perf_counter() - began, peak / 1e6

    click.echo("\nwhole command, 1 thread, with start-up")
    with tempfile.TemporaryDirectory() as folder:
        for length in (1, minutes, 3 * minutes):
            long = Path(folder) / f"{length}.wav"
            rate = soundfile.info(files[0]).samplerate
            with soundfile.SoundFile(long, "w", rate, 1, "PCM_16", format="WAV") as out:
                for block in islice(repeat_audio(files, rate), length):
                    out.write(block)
            cells = [f"{length:4} min of {rate} Hz"]
            for name, options in (("windows of 4 s, hop 2 s", ("--windows", "4", "--hop", "2")), ("whole", ())):
                if name == "windows of 4 s, hop 2 s" or length <= minutes:
                    seconds, megabytes = measure_cost(str(long), *options)
                    cells.append(
                        f"{name}: {seconds:6.2f} s, {60 * length / seconds:5.0f} x real time, {megabytes:5.0f} MB"
                    )
            click.echo("   ".join(cells))


def repeat_audio(files: list[Path], rate: int) -> Iterator[np.ndarray]:
    """Yield one minute of the concatenated files after another, without end."""
    samples = chain.from_iterable(soundfile.read(file, dtype="int16", always_2d=True)[0][:, 0] for file in cycle(files))
    while True:
        yield np.fromiter(samples, np.int16, 60 * rate)


def compare_windows(model: TrainedModel, files: list[Path]) -> None:
    """Compare the features of a window's own samples with the same frames of the whole recording."""
    features, differences, changed = model.features, [], 0
    for start in range(0, len(files) - 20, 20):
        parts = [soundfile.read(file, dtype="float32", always_2d=True) for file in files[start : start + 20]]
        whole = resample(np.concatenate([part[:, 0] for part, _ in parts]), parts[0][1], features.sample_rate)
        frames, peak_db = features.extract(whole)
        own_features, whole_features = [], []
        for begin, end in _WINDOWS.spans(len(whole) / features.sample_rate):
            first, last = round(begin * features.sample_rate), round(end * features.sample_rate)
            alone, peak = features.extract(whole[first:last])
            if peak <= -100:
                continue
            own_features.append(model.window(alone, peak))
            start_frame = first // features.hop_length
            whole_features.append(model.window(frames[start_frame : start_frame + len(alone)], peak_db))
        a, b = model.classify(own_features), model.classify(whole_features)
        differences.append(abs(a - b))
        changed += int((assign_labels(a) != assign_labels(b)).sum())
    total = np.concatenate(differences)
    click.echo(f"\n{len(total)} windows of 4 s from recordings of 20 files: features of the window or of the recording")
    click.echo(f"probabilities differ by {total.mean():.3f} on average, {total.max():.3f} at most", nl=False)
    click.echo(f"; {changed / len(total):.1%} of the labels differ")


def print_start_up(run: Path, file: Path, rounds: int) -> None:
    """Time the command on one file, and an interpreter that only imports torch."""
    works = {
        "emodna-predict RUN one.wav": [Path(sys.executable).with_name("emodna-predict"), run, file, "-q"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    }
    taken = Rounds({name: lambda words=words: time_process(*words) for name, words in works.items()}, rounds)
    click.echo("")
    for name in works:
        click.echo(f"{name:28} {taken.median(name):.2f} s, fastest {taken.best(name):.2f} s")


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@root_option
@click.option("--rounds", default=5, show_default=True)
@click.option("--minutes", default=60, show_default=True, help="Minutes of the long recording.")
def main(run: Path, root: Path, rounds: int, minutes: int) -> None:
    """Time the model of RUN on the WAVs of a folder."""
    torch.set_num_threads(1)
    model, files = TrainedModel.load(run), sorted(root.rglob("*.wav"))
    print_start_up(run, files[0], rounds)
    compare_windows(model, files)
    print_rates(model, files, rounds)
    print_long_recordings(run, files, minutes)


if __name__ == "__main__":
    main()
