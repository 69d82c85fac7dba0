"""Compare each export of a store with a plain copy of its files."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

from emodna.pipeline.export import FORMATS
from emodna.pipeline.store import FeatureStore
from tests.benchmarks.timing import measure_time

#: A program that exports a store, and prints seconds, bytes and peak memory without mapped files in MB.
_EXPORT = """
import re, sys, threading, time
from pathlib import Path
from emodna.pipeline.export import export_store, load_format
from emodna.pipeline.store import FeatureStore

def read_anonymous_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e3

store, name, place = FeatureStore(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
load_format(name)
before, peak = read_anonymous_mb(), [0.0]
def measure_peak(_):
    peak[0] = max(peak[0], read_anonymous_mb())
began = time.perf_counter()
done = export_store(store, name, place, force=False, on_progress=measure_peak)
print(time.perf_counter() - began, done.bytes, max(peak[0], read_anonymous_mb()) - before)
"""


@click.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=3, show_default=True)
def main(stores: tuple[Path, ...], rounds: int) -> None:
    """Export each of STORES in each format, in turn with a plain copy of its folder (Linux only)."""
    for path in stores:
        store = FeatureStore(path)
        size = int(store.frames.sum(dtype="int64")) * store.dim * 4
        click.echo(f"{path}: {len(store)} utterances, {size / 1e6:.1f} MB of features, median of {rounds} rounds")
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ("copy", *FORMATS)}
        for _ in range(rounds):
            for name in rows:
                with tempfile.TemporaryDirectory() as scratch:
                    place = Path(scratch, "export")
                    if name == "copy":
                        rows[name].append((measure_time(shutil.copytree, path, place).wall, size, 0.0))
                        continue
                    command = [sys.executable, "-c", _EXPORT, str(path), name, str(place)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    seconds, written, megabytes = map(float, done.stdout.split())
                    rows[name].append((seconds, written, megabytes))
        copy = median(row[0] for row in rows["copy"])
        for name, measured in rows.items():
            seconds, written, megabytes = (median(column) for column in zip(*measured, strict=True))
            speed = f"{size / 1e6 / seconds:6.0f} MB/s  {len(store) / seconds:7.0f} utterances/s"
            costs = f"copy's time x {seconds / copy:5.1f}  size / features {written / size:5.2f}  +{megabytes:4.0f} MB"
            click.echo(f"{name:12} {seconds:6.2f} s  {speed}  {costs}")


if __name__ == "__main__":
    main()
