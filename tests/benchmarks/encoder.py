"""Compare the extraction of hidden states with a plain loop; profile, memory, size of the store.

The encoder is an ONNX file with Whisper's input of 8 s, padded at the front.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import soundfile

from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.encoders import windows
from emodna.pipeline.encoders.onnx_graph import OnnxEncoder
from emodna.pipeline.features.encoder import describe_encoder
from emodna.pipeline.prepare import extract, prepare
from emodna.pipeline.prepare.executors import make_thread_factory
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import shards
from tests.benchmarks.inputs import root_option
from tests.benchmarks.profile import Stopwatch
from tests.benchmarks.timing import Rounds, measure_peak_memory, time_process
from tests.model.small import SilentCallback

STEPS = {
    "decode": [(extract, "decode")],
    "resample": [(extract, "resample")],
    "front end": [(windows, "make_input")],
    "encoder": [(OnnxEncoder, "encode")],
    "average": [(windows, "average")],
    "quality": [(extract, "measure_quality")],
    "store": [(extract, "compute_feature_crc"), (shards, "write_shard")],
    "rest of recording": [(extract, "examine")],
}


def time_prep(root: Path, cache: Path, encoder: Path, layers: str, workers: int) -> float:
    shutil.rmtree(cache, ignore_errors=True)
    command = Path(sys.executable).with_name("emodna-prep")
    options = ("--feature-set", "encoder", "--encoder", encoder, "--layer", layers, "--workers", workers, "--quiet")
    return time_process(command, "--folder", root, "--name", "speech", "--cache", cache, *options)


def time_loop(root: Path, dest: Path, encoder: Path, layers: str) -> float:
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir()
    return time_process(sys.executable, "-m", "tests.benchmarks.encoder_loop", root, dest, encoder, layers)


def print_rates(root: Path, encoder: Path, layers: str, rounds: int) -> None:
    files = sorted(root.rglob("*.wav"))
    seconds = sum(soundfile.info(path).duration for path in files)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        works = {
            "plain loop": lambda: time_loop(root, scratch / "npy", encoder, layers),
            "1 worker": lambda: time_prep(root, scratch / "one", encoder, layers, 1),
            "2 workers": lambda: time_prep(root, scratch / "two", encoder, layers, 2),
        }
        taken = Rounds(works, rounds)
        size = sum(path.stat().st_size for path in (scratch / "two").rglob("*") if path.is_file())
    click.echo(f"{root}, {len(files)} files, {seconds:.0f} s, whole processes, median of {rounds} rounds")
    for work in works:
        wall, ratio = taken.median(work), taken.ratio("plain loop", work)
        rate = f"{seconds / wall:6.0f} x real time"
        click.echo(
            f"{work:12} {wall:8.1f} s {1e3 * wall / len(files):7.1f} ms per file {rate}   loop / this {ratio:.2f}"
        )
    click.echo(f"store: {size / 2**20:.1f} MiB, {size / 2**20 / (seconds / 3600):.0f} MiB per hour of audio")


def print_profile(root: Path, encoder: Path, layers: str) -> None:
    """Print the CPU time of each step on one thread."""
    features = describe_encoder(str(encoder), layers)
    features.check_requirements()
    with tempfile.TemporaryDirectory() as cache, Stopwatch(STEPS) as stopwatch:
        corpus = Recordings(root, "speech")
        start = make_thread_factory(1)
        report = prepare(corpus, root, Path(cache), ExtractionConfig(features), SilentCallback(), workers=start)
    seconds = stopwatch.seconds()
    total = sum(seconds.values())
    click.echo(f"\none thread, {report.extracted} files, CPU time")
    for step, spent in seconds.most_common():
        click.echo(f"{step:18} {1e3 * spent / report.extracted:8.2f} ms per file {spent / total:7.1%}")


def measure_peak(seconds: float, encoder: Path, layers: str) -> float:
    """Return the peak memory in MiB of a preparation of one file of noise."""
    with tempfile.TemporaryDirectory() as name:
        samples = np.random.default_rng(0).standard_normal(round(16_000 * seconds)) * 0.1
        (Path(name) / "audio").mkdir()
        soundfile.write(Path(name) / "audio" / "long.wav", samples, 16_000)
        command = Path(sys.executable).with_name("emodna-prep")
        options = ("--feature-set", "encoder", "--encoder", encoder, "--layer", layers, "--workers", "1", "--quiet")
        folders = ("--folder", f"{name}/audio", "--cache", f"{name}/cache")
        return measure_peak_memory(command, *folders, *options) / 2**20


def print_batches(encoder: Path, layers: str) -> None:
    """Print the time per window of batches on one thread."""
    session = OnnxEncoder(encoder, tuple(layers.split(",")))
    inputs = np.random.default_rng(0).standard_normal((8, 80, 800)).astype(np.float32)
    works = {
        f"{size}": lambda size=size: min(_time_batch(session, inputs[:size]) for _ in range(3)) for size in (1, 2, 4, 8)
    }
    taken = Rounds(works, 3, warm_up=True)
    times = ", ".join(f"{taken.best(size) * 1e3:.1f} ms ({size})" for size in works)
    click.echo(f"\nper window in batches: {times}")


def _time_batch(session: OnnxEncoder, inputs: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> float:
    import time

    began = time.perf_counter()
    session.encode(inputs)
    return (time.perf_counter() - began) / len(inputs)


@click.command()
@root_option
@click.option("--encoder", type=click.Path(exists=True, path_type=Path), required=True, help="ONNX file.")
@click.option("--layers", default="4,6", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(root: Path, encoder: Path, layers: str, rounds: int) -> None:
    """Time a plain loop and emodna-prep in turn, then print the profile and the memory."""
    print_rates(root, encoder, layers, rounds)
    print_profile(root, encoder, layers)
    print_batches(encoder, layers)
    short, long = (measure_peak(seconds, encoder, layers) for seconds in (5, 600))
    click.echo(f"peak memory: {long:.0f} MiB for a file of 10 min, {short:.0f} MiB for one of 5 s")


if __name__ == "__main__":
    main()
