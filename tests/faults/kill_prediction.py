"""Kill emodna-predict at random times and resume it: `python -m tests.faults.kill_prediction RUN data/ravdess`.

Each round times one process with 1 and 2 threads and a prediction in bulk, one after the other. Then it kills a
prediction in bulk several times and resumes it. All tables must be the same, and no finished part may be made again.
"""

import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import click
import psutil
import pyarrow.parquet as pq

#: Time limit in s for the workers of a killed command to end.
_PATIENCE = 60.0


def link_files(roots: tuple[Path, ...], count: int, folder: Path) -> Path:
    """Make a folder of this many links to the WAV files of the roots, from the start again if they are fewer."""
    files = [path.absolute() for root in roots for path in sorted(root.rglob("*.wav"))]
    folder.mkdir()
    for number, path in enumerate(islice(cycle(files), count)):
        (folder / f"{number:06d}.wav").symlink_to(path)
    return folder


def list_parts(out: Path) -> dict[str, tuple[int, int]]:
    """Return name -> inode and modification time of the finished parts."""
    found = {path.name: path.stat() for path in out.rglob("part-*.parquet")}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def kill(command: list[str], out: Path, parts: int, after: float, *, worker_too: bool) -> str:
    """Start or resume; `after` seconds after some new parts, kill a worker and the command. Return a line of text."""
    before = list_parts(out)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None and len(list_parts(out)) < len(before) + parts:
            time.sleep(0.01)
        time.sleep(after)
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [child for child in children if child.cpu_times().user > 1.0]
            if worker_too and workers:
                workers[0].kill()
                time.sleep(after / 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            _, alive = psutil.wait_procs(children, timeout=_PATIENCE)
            assert alive == [], "workers outlive the command"
    found = list_parts(out)
    assert all(found[name] == stamp for name, stamp in before.items()), "a finished part was made again"
    return f"{len(found)} parts finished" + (", after its end" if process.returncode != -signal.SIGKILL else "")


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("roots", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--count", default=2000, show_default=True, help="Files to predict for; copies if there are fewer.")
@click.option("--workers", default=2, show_default=True)
@click.option("--kills", default=3, show_default=True, help="Per round; half of them kill a worker, too.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the times.")
def main(run: Path, roots: tuple[Path, ...], count: int, workers: int, kills: int, rounds: int, seed: int) -> None:
    """Compare the tables and rates of one process, of workers, and of killed and resumed workers."""
    draw = random.Random(seed)
    rows: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        audio = link_files(roots, count, Path(scratch) / "audio")
        program = [str(Path(sys.executable).with_name("emodna-predict")), str(run), str(audio)]
        for number in range(rounds):
            folder = Path(scratch) / f"round{number}"
            folder.mkdir()
            whole = folder / "whole"
            outs = {
                "1 thread": [folder / "1.parquet", "--threads", 1],
                "2 threads": [folder / "2.parquet", "--threads", 2],
                f"{workers} workers": [whole, "--workers", workers],
            }
            rows.append({name: time_command([*program, "--out", *map(str, each)]) for name, each in outs.items()})
            rows[-1][f"{workers} workers"] = rows[-1][f"{workers} workers"][0], time_parts(whole)
            expected = pq.read_table(folder / "1.parquet")
            killed = folder / "killed"
            resumed = [*program, "--workers", str(workers), "--resume", "--out", f"{killed}{os.sep}"]
            most = max(1, len(list_parts(whole)) // (kills + 1))
            for _ in range(kills):
                parts, after, worker_too = draw.randint(1, most), draw.uniform(0, 0.3), draw.random() < 0.5
                click.echo(f"killed: {kill(resumed, killed, parts, after, worker_too=worker_too)}")
            before = list_parts(killed)
            time_command(resumed)
            made_again = [name for name, stamp in before.items() if list_parts(killed)[name] != stamp]
            assert not made_again, f"{made_again[0]} was made again"
            for name in ("2.parquet", "whole", "killed"):
                assert pq.read_table(folder / name).equals(expected), f"the table of {name} differs"
            click.echo(
                f"round {number + 1}: the same {len(expected)} rows from 1 thread, 2 threads, workers, and killed"
            )
    click.echo(f"{count} files, median of {rounds} rounds; ratio: rate / rate of 1 thread")
    for number, title in enumerate(("whole command", "without start-up")):
        for name in rows[0]:
            seconds = statistics.median(row[name][number] for row in rows)
            ratio = statistics.median(row["1 thread"][number] / row[name][number] for row in rows)
            click.echo(f"{title:16} {name:10} {seconds:7.2f} s {count / seconds:6.1f} files/s   ratio {ratio:.2f}")


def time_command(command: list[str]) -> tuple[float, float]:
    """Return the seconds of a command, and those that it prints for its predictions."""
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - began
    printed = re.findall(r" in ([\d.]+) s", done.stderr)
    return wall, float(printed[-1]) if printed else wall


def time_parts(out: Path) -> float:
    """Return the seconds that all parts would take at the rate from the end of the first one to that of the last."""
    times = sorted(mtime_ns / 1e9 for _, mtime_ns in list_parts(out).values())
    return (times[-1] - times[0]) * len(times) / max(1, len(times) - 1)


if __name__ == "__main__":
    main()
