"""emodna-predict: a trained model's answer for audio files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.model.predict import Prediction
    from emodna.model.trained import TrainedModel


@common.environment("EMODNA_PREDICT")
@click.command(context_settings=common.CONTEXT)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV or Parquet table with a column `path`, instead of AUDIO; its columns stand beside the answers.",
)
@click.option("--root", type=click.Path(path_type=Path), help="Where its paths begin.  [default: the table's folder]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's own]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@common.config_option
@common.common_options
def predict(
    run: Path,
    audio: tuple[Path, ...],
    manifest: Path | None,
    root: Path | None,
    threads: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Say what the model of a RUN (a folder of emodna-fit) hears in AUDIO files.

    The answer is the probability of high arousal or positive valence, for the middle of files that are longer than the
    window of the training (4.4 s by default). Exit 1 if a file could not be used.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if bool(audio) == (manifest is not None):
        both = "AUDIO and --manifest exclude each other: "
        raise click.UsageError(f"{both if audio else ''}give AUDIO files, or a --manifest that lists them")
    if root is not None and manifest is None:
        raise click.UsageError("--root goes with --manifest")
    import torch

    from emodna.model.predictions import beside
    from emodna.model.run import RunFolder
    from emodna.model.trained import TrainedModel
    from emodna.pipeline.emotions import CLASS_NAMES
    from emodna.pipeline.names import renamed

    if threads is not None:
        torch.set_num_threads(threads)
    model = TrainedModel.load(RunFolder(run).model, common.torch_device(device))
    names = CLASS_NAMES[model.task]
    common.detail(f"{model.method.name}, {model.task}, {model.features.name}, windows of {model.framer.frames} frames")
    documents = []
    for prediction, row in _predictions(model, audio, manifest, root):
        document = _json(prediction, model.task, names)
        documents.append(beside(document, row))
        if not as_json:
            _print(prediction, model.task, names, {new: row[column] for column, new in renamed(row, document).items()})
    if as_json:
        common.print_json(documents)
    return int(any(document["error"] for document in documents))


def _predictions(
    model: "TrainedModel", audio: tuple[Path, ...], manifest: Path | None, root: Path | None
) -> "Iterator[tuple[Prediction, Mapping[str, object]]]":
    """Each prediction, with the columns of the manifest's row."""
    from emodna.model.predict import predict_files, predict_listed
    from emodna.pipeline.tables import read_table, rows_of
    from emodna.pipeline.trees import open_tree

    if manifest is None:
        yield from ((prediction, {}) for prediction in predict_files(model, audio))
        return
    rows = list(rows_of(read_table(manifest)))
    tree = open_tree(manifest.parent if root is None else root, ("",))
    for prediction, row in predict_listed(model, rows, tree):
        yield prediction, {column: cell for column, cell in row.items() if column != "path"}


def _print(prediction: "Prediction", task: str, names: tuple[str, str], row: "Mapping[str, object]") -> None:
    file = common.safe(prediction.file)
    if prediction.probability is None:
        common.err.print(f"[red]error:[/red] {file}: {common.safe(prediction.error)}")
        return
    heard = f", {prediction.start:.1f} to {prediction.end:.1f} s" if prediction.start else ""  # the middle alone
    answer = f"{names[prediction.label or 0]} {task}  (p({names[1]}) = {prediction.probability:.3f}{heard})"
    cells = "".join(
        f"  {common.safe(column)}={common.safe(cell)}" for column, cell in row.items() if cell not in (None, "")
    )
    common.out.print(f"{file}: {answer}{cells}")


def _json(prediction: "Prediction", task: str, names: tuple[str, str]) -> dict[str, object]:
    return {
        "file": prediction.file,
        "start": prediction.start,
        "end": prediction.end,
        "task": task,
        "probability": prediction.probability,
        "label": None if prediction.label is None else names[prediction.label],
        "error": prediction.error,
    }


def main() -> None:
    """Entry point of `emodna-predict`."""
    common.run(predict)
