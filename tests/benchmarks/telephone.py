"""Show the effect of telephone audio on a model of wideband audio, and that of band-limiting its source.

The target is written as telephone audio: 8 kHz, G.711 (mu-law). Three models are trained: `wideband` is adapted to the
original target, `mixed` to the telephone audio, and `narrow` to the telephone audio from a source without frequencies
above 4000 Hz. Labels of the target only score the models.

python -m tests.benchmarks.telephone --data data --out telephone
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import soundfile

from emodna.pipeline.audio.decode import resample
from tests.benchmarks.inputs import read_recording

RATE: Final = 8000
BANDWIDTH: Final = "4000"


def run(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the package; its stderr is returned, and printed if it fails."""
    words = [str(Path(sys.executable).with_name(command)), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        click.echo(done.stderr, err=True)
        raise SystemExit(f"{command} failed")
    return done


def write_telephone_copies(root: Path, copies: Path) -> None:
    """Write the WAVs of a folder as telephone audio, with the same names."""
    for file in sorted(root.rglob("*.wav")):
        copy = copies / file.relative_to(root)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            samples = resample(*read_recording(file), RATE)
            soundfile.write(copy, np.clip(samples, -1, 1), RATE, subtype="ULAW", format="WAV")


def predict_labels(model: Path, folder: Path) -> tuple[dict[str, str], str]:
    """Return the label of each file, and the warnings."""
    done = run("emodna-predict", model, folder, "--json", "--threads", 1)
    return {Path(each["file"]).name: each["label"] for each in json.loads(done.stdout)}, done.stderr


def describe_flips(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the number of labels that change, by their direction, and the labels afterwards."""
    changes = [(before[name], after[name]) for name in before]
    flips = {f"{a} to {b}": changes.count((a, b)) for a, b in (("low", "high"), ("high", "low"))}
    parts = ", ".join(f"{count} from {name}" for name, count in flips.items())
    counts = ", ".join(f"{list(after.values()).count(label)} {label}" for label in ("low", "high"))
    return f"{sum(flips.values())} of {len(changes)} labels change ({parts}); afterwards {counts}"


def score(model: Path, corpus: str, cache: Path) -> dict[str, Any]:
    """Return the evaluation of a model on a corpus."""
    answer = run("emodna-eval", model, "--corpus", corpus, "--cache", cache, "--threads", 1, "--json", "-q")
    (document,) = json.loads(answer.stdout)
    return dict(document)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), default="data")
@click.option("--src", default="ravdess", show_default=True)
@click.option("--tgt", default="emodb", show_default=True)
@click.option("--method", default="emo-dna", show_default=True)
@click.option("--steps", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="telephone", help="Folder; finished parts are reused.")
def main(data: Path, src: str, tgt: str, method: str, steps: int, seed: int, out: Path) -> None:
    """Train the three models, and print labels that change, warnings and scores."""
    original, copies = data / tgt, out / "audio" / tgt
    write_telephone_copies(original, copies)
    wideband, telephone = out / "cache", out / "telephone-cache"
    for cache, corpus, root, options in (
        (wideband, src, data / src, ()),
        (wideband, tgt, original, ()),
        (telephone, src, data / src, ()),
        (telephone, src, data / src, ("--bandwidth", BANDWIDTH)),
        (telephone, tgt, copies, ()),
    ):
        run("emodna-prep", "--corpus", corpus, "--root", root, "--cache", cache, *options)
    models = {}
    for name, source, cache in (
        ("wideband", src, wideband),
        ("mixed", src, telephone),
        ("narrow", f"{src}-{BANDWIDTH}hz", telephone),
    ):
        models[name] = out / f"{src}-{tgt}-{method}-{steps}-s{seed}-{name}"
        options = ("--method", method, "--steps", steps, "--seed", seed, "--threads", 1, "--out", models[name])
        if not (models[name] / "done").exists():
            run("emodna-fit", "--src", source, "--tgt", tgt, "--cache", cache, *options, "--resume")

    click.echo(f"{src} -> {tgt}, {method}, {steps} steps, seed {seed}")
    labels = {}
    for name, folder in (("original", original), ("telephone", copies)):
        labels[name], warnings = predict_labels(models["wideband"], folder)
        click.echo(f"\nemodna-predict WIDEBAND {name}/\n{warnings.rstrip()}")
    click.echo(f"\n{describe_flips(labels['original'], labels['telephone'])}")
    click.echo(f"\n{'model':9} {'target':10} {'UAR':>6} {'95 % interval':>15} {'WAR':>6}   outside")
    for name, cache, kind in (
        ("wideband", wideband, "original"),
        ("wideband", telephone, "telephone"),
        ("mixed", telephone, "telephone"),
        ("narrow", telephone, "telephone"),
    ):
        found = score(models[name], tgt, cache)
        low, high = found["intervals"]["utterances"]["uar"]
        outside = f"{found['outside']['utterances']} of {found['utterances']}"
        click.echo(f"{name:9} {kind:10} {found['uar']:6.1f} {low:8.1f} to {high:.1f} {found['war']:6.1f}   {outside}")


if __name__ == "__main__":
    main()
