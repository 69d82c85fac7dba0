"""Compare scores of encoder features that are rounded to float16, as stored, with those of unrounded ones."""

import tempfile
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.features import EncoderSet
from emodna.pipeline.features.encoder import describe_encoder
from emodna.pipeline.prepare import prepare
from emodna.pipeline.prepare.executors import make_thread_factory
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import FeatureStore
from tests.model.small import SilentCallback


def pool(store: FeatureStore, kind: str) -> NDArray[np.float32]:
    """Return mean and standard deviation over time of all utterances, standardised over the corpus."""
    rounded = [frames.astype(kind).astype(np.float32) for frames in store]
    pooled = np.stack([np.concatenate([frames.mean(0), frames.std(0)]) for frames in rounded])
    return (pooled - pooled.mean(0)) / np.maximum(pooled.std(0), 1e-5)


@click.command()
@click.option("--root", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of both corpora.")
@click.option("--encoder", type=click.Path(exists=True, path_type=Path), required=True, help="ONNX file.")
@click.option("--layers", default="4,6", show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(root: Path, encoder: Path, layers: str, workers: int) -> None:
    """Train a linear SVM on EMODB and RAVDESS in both directions, with both types of values."""
    EncoderSet.storage = "float32"
    features = describe_encoder(str(encoder), layers)
    stores = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("emodb", "ravdess"):
            extraction = ExtractionConfig(features)
            start = make_thread_factory(workers)
            report = prepare(load_corpus(name), root / name, Path(cache), extraction, SilentCallback(), workers=start)
            stores[name] = FeatureStore(report.store)
        values = {kind: {name: pool(store, kind) for name, store in stores.items()} for kind in ("float32", "float16")}
        largest = max(float(np.abs(frames).max()) for store in stores.values() for frames in store)
        for source, target in (("emodb", "ravdess"), ("ravdess", "emodb")):
            for task in ("arousal", "valence"):
                scores, answers = [], []
                for pooled in values.values():
                    labels, truth = stores[source].labels(task), stores[target].labels(task)
                    model = LinearSVC(C=0.01, class_weight="balanced", random_state=0, max_iter=20_000)
                    model.fit(pooled[source][labels >= 0], labels[labels >= 0])
                    answers.append(model.predict(pooled[target][truth >= 0]))
                    scores.append(100 * balanced_accuracy_score(truth[truth >= 0], answers[-1]))
                changed = int((answers[0] != answers[1]).sum())
                line = f"{source} -> {target}, {task}: UAR {scores[0]:.2f} (float32), {scores[1]:.2f} (float16)"
                click.echo(f"{line}, {changed} of {len(answers[0])} predictions differ")
    difference = max(float(np.abs(values["float32"][name] - values["float16"][name]).max()) for name in stores)
    click.echo(
        f"largest value {largest:.1f}; largest difference of a pooled value {difference:.1g} standard deviations"
    )


if __name__ == "__main__":
    main()
