"""The command emodna-eval: evaluate the model of a run on labelled corpora."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common, predictions
from emodna.cli.input_warnings import OutsideCounts
from emodna.cli.options import FILE, FOLDER, PATH, Command, cache_option, common_options, config_option, device_option
from emodna.pipeline.errors import EmodnaError, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emodna.model.data.domain import Deviation
    from emodna.model.inference.finished_run import FinishedRun
    from emodna.pipeline.store import FeatureStore

_TRAINED: Final = "the run was trained on it with its labels; the scores do not show the performance on new audio"
#: Notes on a corpus whose recordings were used in training, by the run's supervision and their role.
_SEEN: Final = {
    ("source", "source"): _TRAINED,
    ("source", "target"): "the run used it as its target, without its labels; scores on new audio may be lower",
    ("semi-supervised", "source"): _TRAINED,
    ("semi-supervised", "target"): "the run used it as its target, with some labels, which the scores leave out; "
    "scores on new audio may be lower",
    ("oracle-labels", "source"): _TRAINED,
    ("oracle-labels", "target"): f"oracle: {_TRAINED}",
    ("oracle-folds", "source"): "oracle: the run used none of its labels",
    ("oracle-folds", "target"): f"oracle: {_TRAINED}; the scores of emodna-fit are cross-validated over its speakers",
}


@click.command(
    cls=Command,
    environment="EMODNA_EVAL",
    groups={"Data": "corpora cache", "Worker": "threads device", "Evaluation": "resamples seed", "Output": "out png"},
    examples=(
        "emodna-eval runs/first --corpus iemocap",
        "emodna-eval runs/first --corpus iemocap --corpus emodb --out evaluation --png reliability.png",
    ),
)
@click.argument("run", type=PATH)
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    required=True,
    metavar="CORPUS",
    help="Labelled corpus, by its name or the path of its store; repeatable.",
)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, help="Number of bootstrap resamples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the bootstrap.")
@click.option("--out", type=FOLDER, help="Folder for evaluation-<corpus>.json and predictions-<corpus>.parquet.")
@click.option("--png", type=FILE, help="Draw the reliability curves to this PNG file.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: chosen by torch]")
@device_option
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
    """Evaluate the model of a RUN on labelled corpora.

    RUN is a run folder of emodna-fit. Choose corpora that the model was not trained on: only their scores show its
    performance on new audio. Prints scores with 95 % intervals, next to those of constant predictors; then scores by
    emotion, gender, language and speaker; then the calibration. docs/EVALUATION.md defines every number.
    """
    if png is not None:
        predictions.check_output(png, (".png",), field="png", future_folder=out)
    import torch

    from emodna.cli.progress import count_progress
    from emodna.cli.scores import print_evaluation
    from emodna.model.evaluation.evaluate import count_outside, evaluate_run
    from emodna.model.evaluation.intervals import Resampling
    from emodna.model.inference.finished_run import FinishedRun
    from emodna.model.label import note_exposure
    from emodna.pipeline.encoders.exposure import name_trained_model

    if threads is not None:
        torch.set_num_threads(threads)
    finished = FinishedRun.load(run, common.resolve_device(device))
    stores = [_open_store(finished, cache, corpus) for corpus in corpora]  # check all before predicting
    names = [store.snapshot.corpus for store in stores]
    if out is not None and (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise EmodnaError("given more than once, so --out would replace its files", field="corpora", value=twice)
    documents: list[dict[str, Any]] = []
    for store in stores:
        name = store.snapshot.corpus
        with count_progress(f"predicting {name}") as counter:
            advance = counter.begin(len(store))
            document, probabilities = evaluate_run(finished, store, Resampling(resamples, seed), advance)
        outside = _compare_audio(finished, store)
        unknown = finished.model.domain.list_unknown_measures(store) if finished.model.domain else ()
        document["outside"] = None if outside is None else count_outside(outside, unknown)
        document["predictions"] = (
            None if out is None else str(_save(finished, out, document, store, probabilities, outside))
        )
        if document["seen"] is not None:
            common.note(f"{common.escape(name)}: {_describe_seen(document)}")
        for line in note_exposure({name: document["exposure"]}, name_trained_model(finished.model.features)):
            common.note(common.escape(line))
        if not as_json:
            print_evaluation(document, first=not documents)
        documents.append(document)
    if png is not None:
        _draw(documents, png)
    if as_json:
        common.print_json(documents)


def _describe_seen(document: "Mapping[str, Any]") -> str:
    supervision = document["supervision"]
    if document["seen"] != "partly":
        return _SEEN[supervision, document["seen"]]
    from emodna.model.label import is_oracle

    seen, unseen = document["audio"]["seen"], document["audio"]["unseen"]["utterances"]
    source, of_all = seen["source"], f"of its {format_count(document['utterances'], 'utterance')}"
    uses = []
    if is_oracle(supervision):
        uses.append(f"oracle: the run was trained on {seen['utterances']} {of_all}")
    elif source:
        uses.append(f"the run was trained on {source} {of_all} with their labels (in {document['src']})")
    if not is_oracle(supervision) and seen["target"]:
        adapted = f"adapted to {seen['target']}"
        uses.append(
            f"{adapted} without their labels" if source else f"the run was {adapted} {of_all} without their labels"
        )
    shown = (
        f"only the scores of the other {unseen} show the performance on new audio" if unseen else "none is new audio"
    )
    return f"{' and '.join(uses)}; {shown}"


def _open_store(run: "FinishedRun", cache: Path, corpus: str) -> "FeatureStore":
    """Open the store of a corpus with the model's feature set. Raise an EvaluationError if its features differ."""
    from emodna.pipeline.store.layout import STORE_JSON

    own = cache / corpus / run.model.features.name
    store = common.open_store(cache, str(own) if (own / STORE_JSON).exists() else corpus)
    run.check_features(store)
    return store


def _compare_audio(run: "FinishedRun", store: "FeatureStore") -> "list[tuple[Deviation, ...]] | None":
    """Return the deviations of a corpus from the run's training audio, with a warning; None for earlier versions."""
    name, domain = common.escape(store.snapshot.corpus), run.model.domain
    if domain is None:
        common.note(f"{name}: not compared with the training audio, which a run of an earlier version does not record")
        return None
    deviations, counts = domain.compare_store(store), OutsideCounts(domain, store)
    for id, each in zip(store.ids, deviations, strict=True):
        counts.add(id, id, each)
    counts.print("utterance", f"{name}: ")
    return deviations


def _save(
    run: "FinishedRun",
    out: Path,
    document: dict[str, Any],
    store: "FeatureStore",
    probabilities: Any,
    deviations: "list[tuple[Deviation, ...]] | None",
) -> Path:
    from emodna.model.data.domain import join_measures
    from emodna.model.inference.predictions import write_predictions
    from emodna.model.run_folder import write_json
    from emodna.pipeline.files import make_folder

    make_folder(out)
    name = store.snapshot.corpus
    predictions = (out / f"predictions-{name}.parquet").absolute()
    outside = None if deviations is None else list(map(join_measures, deviations))
    marks = document["supervision"], document["exposure"]
    used = run.find_seen(store)["target-labels"]
    training_labels = used if used.any() else None
    write_predictions(predictions, store, probabilities, run.model.task, *marks, outside, training_labels)
    write_json(out / f"evaluation-{name}.json", {**document, "predictions": str(predictions)})
    return predictions


def _draw(documents: list[dict[str, Any]], png: Path) -> None:
    labelled = [document for document in documents if document["labelled"]]
    if not labelled:
        common.note(f"{common.escape(png)}: not drawn, no corpus has labels")
        return
    from emodna.cli.scores import draw_reliability
    from emodna.cli.store_figures import save_figure

    save_figure(draw_reliability(labelled), png, "png")
    common.note(f"wrote {common.escape(png)}")


def main() -> None:
    """Run `emodna-eval`."""
    common.run(evaluate)
