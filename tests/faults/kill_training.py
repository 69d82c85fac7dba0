"""Kill emodna-fit at random times and resume it: `python -m tests.faults.kill_training --kills 3 --rounds 1`.

Each round kills a run several times, resumes it to its end, and compares its files with those of an undisturbed run.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from emodna.model.checkpoint import load_tensors
from emodna.model.run_folder import RunFolder

#: Files that must not depend on the kills.
RESULT_FILES = ("model.safetensors", "resume.safetensors", "metrics.jsonl", "predictions.parquet")


def read_results(run: Path) -> dict[str, bytes]:
    """Return the bytes of the result files of a finished run by name."""
    snapshots = [path for path in (RunFolder(run).selection, *RunFolder(run).snapshots.glob("*")) if path.exists()]
    return {path.name: path.read_bytes() for path in (*(run / name for name in RESULT_FILES), *snapshots)}


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option("--src", default="ravdess", show_default=True)
@click.option("--tgt", default="emodb", show_default=True)
@click.option("--method", default="emo-dna", show_default=True)
@click.option("--steps", default=200, show_default=True)
@click.option("--select", default="last", show_default=True, help="As in emodna-fit; any other value takes snapshots.")
@click.option("--kills", default=3, show_default=True, help="Per round.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--every", default=1.0, show_default=True, help="Seconds between two checkpoints.")
@click.option("--seed", default=0, show_default=True, help="Seed of the times.")
def main(
    cache: Path,
    src: str,
    tgt: str,
    method: str,
    steps: int,
    select: str,
    kills: int,
    rounds: int,
    every: float,
    seed: int,
) -> None:
    """Compare killed runs with an undisturbed one; exit 1 if a byte differs."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *(str(Path(sys.executable).with_name("emodna-fit")), "--src", src, "--tgt", tgt, "--method", method),
            *("--steps", str(steps), "--threads", "1", "--device", "cpu", "--cache", str(cache), "--quiet"),
            *("--select", select, "--set", f"checkpoint_seconds={every}", "--resume", "--out"),
        ]
        whole = Path(scratch) / "whole"
        began = time.monotonic()
        subprocess.run([*command, whole], check=True, stdout=subprocess.DEVNULL)
        duration = time.monotonic() - began
        click.echo(f"undisturbed: {steps} steps in {duration:.1f} s")
        is_different = False
        for number in range(rounds):
            run = Path(scratch) / f"round{number}"
            for _ in range(kills):
                click.echo(f"killed with {_kill(command, run, draw.uniform(0, duration / kills))}")
            subprocess.run([*command, run], check=True, stdout=subprocess.DEVNULL)
            expected, found = read_results(whole), read_results(run)
            names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            is_different |= bool(names)
            click.echo(f"round {number + 1}: " + (f"DIFFERS in {', '.join(names)}" if names else "the same bytes"))
    sys.exit(is_different)


def _kill(command: list[str], run: Path, after: float) -> str:
    """Start or resume a run and kill it `after` seconds after its first checkpoint; return the saved step as text."""
    resume = RunFolder(run).resume
    before = resume.stat().st_mtime_ns if resume.exists() else None
    process = subprocess.Popen([*command, run], stdout=subprocess.DEVNULL)
    while process.poll() is None and (not resume.exists() or resume.stat().st_mtime_ns == before):
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return f"step {load_tensors(resume)[1]['step']} safe" + (" (after its end)" if process.returncode == 0 else "")


if __name__ == "__main__":
    main()
