"""Descriptors of eGeMAPS: rate of the extraction, and pooled descriptors against openSMILE's functionals.

::

    python -m tests.benchmarks.egemaps rate --root data/emodb --files 100
    python -m tests.benchmarks.egemaps scores --root data --cache cache --trim 30
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import click
import numpy as np
import opensmile
import soundfile
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS
from tests.benchmarks.inputs import read_at
from tests.benchmarks.timing import Rounds, time_process

CORPORA = ("emodb", "ravdess")
COSTS = (1e-4, 1e-3, 1e-2, 1e-1)


@click.group()
def main() -> None:
    """Measure the feature set egemaps."""


@main.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
def loop(root: Path, dest: Path) -> None:
    """Extract descriptors as a user of the package would."""
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    for path in sorted(root.glob("*.wav")):
        np.save(dest / f"{path.stem}.npy", smile.process_file(path).to_numpy())


@main.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of 16 kHz files.")
@click.option("--files", default=100, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def rate(root: Path, files: int, rounds: int) -> None:
    """Time emodna-prep and the plain loop in turn, as whole processes on one core."""
    with tempfile.TemporaryDirectory() as name:
        audio, dest, cache = (Path(name) / part for part in ("audio", "npy", "cache"))
        audio.mkdir()
        dest.mkdir()
        for path in sorted(root.rglob("*.wav"))[:files]:
            shutil.copy(path, audio)
        seconds = sum(soundfile.info(path).duration for path in audio.iterdir())
        command = [Path(sys.executable).with_name("emodna-prep"), "--feature-set", "egemaps", "--folder", audio]

        def prepare() -> float:
            shutil.rmtree(cache, ignore_errors=True)
            return time_process(*command, "--cache", cache, "--workers", 1, "--quiet")

        plain = [sys.executable, "-m", "tests.benchmarks.egemaps", "loop", audio, dest]
        rounds_taken = Rounds({"plain loop": lambda: time_process(*plain), "emodna-prep": prepare}, rounds)
    click.echo(f"{files} files, {seconds:.0f} s of audio, whole processes, median of {rounds} rounds")
    for work in ("plain loop", "emodna-prep"):
        click.echo(
            f"{work:12} {rounds_taken.median(work):6.1f} s, {seconds / rounds_taken.median(work):.0f} x real time"
        )
    click.echo(f"loop / emodna-prep: {rounds_taken.ratio('plain loop', 'emodna-prep'):.2f}")


@main.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default="data", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path, exists=True), default="cache", show_default=True)
@click.option("--trim", type=float, help="Level in dB of stores without silence at the ends.")
def scores(root: Path, cache: Path, trim: float | None) -> None:
    """Train linear SVMs on statistics normalised by speaker; the stores must exist."""
    names = {"no cut": make_feature_set("egemaps").name}
    if trim is not None:
        names[f"cut at {trim:g} dB"] = make_feature_set("egemaps", trim_db=trim).name
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    stores = {
        label: {corpus: FeatureStore(cache / corpus / name) for corpus in CORPORA} for label, name in names.items()
    }
    tables = {label: {corpus: pool(store) for corpus, store in each.items()} for label, each in stores.items()}
    whole = stores["no cut"]
    tables["functionals"] = {
        corpus: np.stack(
            [smile(read_at(root / corpus / path, 16_000), 16_000)[0, :, 0] for path in store.column("path")]
        )
        for corpus, store in whole.items()
    }
    for label, table in tables.items():
        values = {corpus: normalise(table[corpus], np.array(whole[corpus].column("speaker"))) for corpus in CORPORA}
        for cost in COSTS:
            results = [
                f"{task} {source} -> {target} {score(whole, values, task, source, target, cost):.1f}"
                for task in TASKS
                for source, target in permutations(CORPORA)
            ]
            click.echo(f"{label:14} C {cost:<7g}" + ", ".join(results))


def pool(store: FeatureStore) -> NDArray[np.float32]:
    """Return mean and standard deviation over the frames of each utterance."""
    return np.stack([np.concatenate([frames.mean(0), frames.std(0)]) for frames in store])


def normalise(values: NDArray[np.float32], speakers: NDArray[np.str_]) -> NDArray[np.float32]:
    """Standardise the utterances of each speaker."""
    normalised = np.empty_like(values)
    for speaker in np.unique(speakers):
        rows = speakers == speaker
        normalised[rows] = (values[rows] - values[rows].mean(0)) / (values[rows].std(0) + 1e-9)
    return normalised


def score(
    stores: Mapping[str, FeatureStore],
    values: Mapping[str, NDArray[np.float32]],
    task: str,
    source: str,
    target: str,
    cost: float,
) -> float:
    """Return the UAR in percent on the target of an SVM of the source."""
    labels, truth = stores[source].labels(task), stores[target].labels(task)
    model = LinearSVC(C=cost, class_weight="balanced", random_state=0, dual=False)
    model.fit(values[source][labels >= 0], labels[labels >= 0])
    return 100 * float(balanced_accuracy_score(truth[truth >= 0], model.predict(values[target][truth >= 0])))


if __name__ == "__main__":
    main()
