"""emodna-eval: evaluate a run's model on other corpora."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.common import open_store
from emodna.cli.options import Command, cache_option, common_options, config_option
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.inference.finished_run import FinishedRun
    from emodna.pipeline.store import FeatureStore

#: Notes on a corpus that was part of the training, by the run's supervision and the corpus's role.
_TRAINED: Final = "trained on it, with its labels: its scores do not say how good the model is on new audio"
_SEEN: Final = {
    ("source", "source"): f"the run was {_TRAINED}",
    ("source", "target"): (
        "the run was adapted to it, without its labels: its scores are those of emodna-fit, not of new audio"
    ),
    ("oracle-labels", "source"): f"the run was {_TRAINED}",
    ("oracle-labels", "target"): f"oracle: the run was {_TRAINED}",
    ("oracle-folds", "source"): "oracle: the run has taken no label of it",
    ("oracle-folds", "target"): (
        f"oracle: the run was {_TRAINED}; those of emodna-fit are cross-validated over its speakers"
    ),
}


@click.command(cls=Command, environment="EMODNA_EVAL")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--corpus", "corpora", multiple=True, required=True, help="A corpus, or a store's path; repeatable.")
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the bootstrap.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for evaluation-<corpus>.json and predictions-<corpus>.parquet.  [default: neither is written]",
)
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the reliability curves.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's own]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@cache_option
@config_option
@common_options
def evaluate(
    run: Path,
    corpora: tuple[str, ...],
    resamples: int,
    seed: int,
    out: Path | None,
    png: Path | None,
    threads: int | None,
    device: str,
    cache: Path,
    as_json: bool,
) -> None:
    """Judge the model of a RUN (a folder of emodna-fit) by the labels of corpora, best of such as it has never seen.

    Scores stand beside the constant answers and between the bounds of 95 % intervals; then follow emotions, speakers,
    gender, and how far the probabilities can be trusted. docs/EVALUATION.md says how each figure is made.
    """
    import torch

    from emodna.cli.progress import count_progress
    from emodna.cli.scores import print_evaluation
    from emodna.model.evaluation.evaluate import evaluate_run
    from emodna.model.evaluation.intervals import Resampling
    from emodna.model.inference.finished_run import FinishedRun

    if threads is not None:
        torch.set_num_threads(threads)
    finished = FinishedRun.load(run, common.resolve_device(device))
    stores = [_open_store(finished, cache, corpus) for corpus in corpora]  # all of them, before any is predicted
    names = [store.snapshot.corpus for store in stores]
    twice = next((name for name in names if names.count(name) > 1), None)
    if out is not None and twice is not None:
        times = names.count(twice)
        raise EmodnaError(f"--out: --corpus names {twice} {times} times, and its files would be the same")
    documents: list[dict[str, Any]] = []
    for store in stores:
        name = store.snapshot.corpus
        with count_progress(f"predicting {name}") as counter:
            told = counter.begin(len(store))
            document, probabilities = evaluate_run(finished, store, Resampling(resamples, seed), told)
        document["predictions"] = None
        if out is not None:
            document["predictions"] = str(_save(out, document, store, probabilities))
        if document["seen"] is not None:
            common.note(f"{common.escape(name)}: {_SEEN[document['supervision'], document['seen']]}")
        if not as_json:
            print_evaluation(document, first=not documents)
        documents.append(document)
    if png is not None:
        _draw(documents, png)
    if as_json:
        common.print_json(documents)


def _open_store(run: "FinishedRun", cache: Path, corpus: str) -> "FeatureStore":
    """Open a corpus's store with the model's features; of several feature sets, the model's own is taken."""
    from emodna.pipeline.store.layout import STORE_JSON

    own = cache / corpus / run.model.features.name
    store = open_store(cache, str(own) if (own / STORE_JSON).exists() else corpus)
    run.check_features(store)
    return store


def _save(out: Path, document: dict[str, Any], store: "FeatureStore", probabilities: Any) -> Path:
    """Write a corpus's files; return the path of the predictions."""
    from emodna.model.inference.predictions import write_predictions
    from emodna.model.run_folder import write_json
    from emodna.pipeline.files import make_folder

    make_folder(out)
    name = store.snapshot.corpus
    predictions = (out / f"predictions-{name}.parquet").absolute()
    write_predictions(predictions, store, probabilities, document["supervision"])
    write_json(out / f"evaluation-{name}.json", {**document, "predictions": str(predictions)})
    return predictions


def _draw(documents: list[dict[str, Any]], png: Path) -> None:
    """Draw the reliability curves of the corpora that have labels."""
    judged = [document for document in documents if document["labelled"]]
    if not judged:
        common.note(f"{common.escape(png)}: not drawn, no corpus has labels")
        return
    from emodna.cli.scores import draw_reliability
    from emodna.cli.store_figures import save_figure

    save_figure(draw_reliability(judged), png, "png")
    common.note(f"wrote {common.escape(png)}")


def main() -> None:
    """Run `emodna-eval`."""
    common.run(evaluate)
