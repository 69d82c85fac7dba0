"""emodna-predict: a trained model's answer for audio files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.model.predict import Prediction


@common.environment("EMODNA_PREDICT")
@click.command(context_settings=common.CONTEXT)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's own]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@common.config_option
@common.common_options
def predict(
    run: Path,
    audio: tuple[Path, ...],
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
    import torch

    from emodna.model.predict import predict_files
    from emodna.model.run import RunFolder
    from emodna.model.trained import TrainedModel
    from emodna.pipeline.emotions import CLASS_NAMES

    if threads is not None:
        torch.set_num_threads(threads)
    model = TrainedModel.load(RunFolder(run).model, common.torch_device(device))
    names = CLASS_NAMES[model.task]
    common.detail(f"{model.method.name}, {model.task}, {model.features.name}, windows of {model.framer.frames} frames")
    predictions = []
    for each in predict_files(model, audio):
        predictions.append(each)
        if not as_json:
            _print(each, model.task, names)
    if as_json:
        common.print_json([_json(each, model.task, names) for each in predictions])
    return int(any(each.error for each in predictions))


def _print(prediction: "Prediction", task: str, names: tuple[str, str]) -> None:
    file = common.safe(prediction.file)
    if prediction.probability is None:
        common.err.print(f"[red]error:[/red] {file}: {common.safe(prediction.error)}")
        return
    answer = f"{names[prediction.label or 0]} {task}"
    common.out.print(f"{file}: {answer}  (p({names[1]}) = {prediction.probability:.3f})")


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
