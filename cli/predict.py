"""emodna-predict: predict for audio files with a trained model."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common, predictions
from emodna.cli.options import Command, Seconds, common_options, config_option
from emodna.pipeline.emotions import CLASS_NAMES

if TYPE_CHECKING:
    import pyarrow as pa

    from emodna.model.inference.inputs import Input
    from emodna.model.inference.predict import Prediction

#: Keys of an answer; with --also, the run follows them.
_KEYS: Final = ("file", "start", "end", "task", "probability", "label", "error")


@click.command(cls=Command, environment="EMODNA_PREDICT")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, type=click.Path())
@click.option(
    "--also", multiple=True, metavar="RUN", type=click.Path(path_type=Path), help="Another run to ask; repeatable."
)
@click.option("--windows", "window", type=Seconds(), metavar="S", help="Answer for each window of S s.")
@click.option("--hop", type=Seconds(), metavar="S", help="From one window to the next.  [default: half a window]")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV or Parquet table with a column `path`, instead of AUDIO; its columns stand beside the answers.",
)
@click.option("--root", type=click.Path(path_type=Path), help="Where its paths begin.  [default: the table's folder]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File for the answers, by its ending: {', '.join(predictions.SUFFIXES)}.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one per core]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@config_option
@common_options
def predict(
    run: Path,
    audio: tuple[str, ...],
    also: tuple[Path, ...],
    window: float | None,
    hop: float | None,
    manifest: Path | None,
    root: Path | None,
    out: Path | None,
    as_csv: bool,
    threads: int | None,
    device: str,
    as_json: bool,
) -> int:
    """Say what the model of a RUN (a folder of emodna-fit) hears in AUDIO.

    AUDIO are files of any format that libsndfile reads, folders and archives, in which all audio is taken, and - for
    standard input. The answer is the probability of high arousal or positive valence, for the middle of files that are
    longer than the window of the training (4.4 s by default), or for windows over time. Exit 1 if a file could not be
    used.
    """
    _check_arguments(audio, manifest, root, window, hop)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other: both print on stdout")
    if out is not None:
        predictions.check_output(out)

    from emodna.model.inference.predict import predict as answers_of
    from emodna.model.inference.trained_model import TrainedModel
    from emodna.model.inference.windows import Windows
    from emodna.model.label import is_oracle, mark_oracle

    windows = None if window is None else Windows(window, window / 2 if hop is None else hop)
    runs = (run, *also)
    models = [TrainedModel.load(each, common.resolve_device(device)) for each in runs]
    for model, folder in zip(models, runs, strict=True):
        method, supervision = model.method.name, model.method.supervision
        if is_oracle(supervision):
            common.note(
                f"{common.escape(folder)}: {mark_oracle(method, supervision)}: trained with the labels of its target"
            )
        common.detail(
            f"{mark_oracle(method, supervision)}, {model.task}, {model.features.name}, windows of {model.seconds:.2f} s"
        )
        if windows is not None and windows.seconds > model.seconds:
            common.note(
                f"windows of {windows.seconds:g} s are longer than what the model of {model.task} hears, "
                f"{model.seconds:.2f} s: it judges each by its middle"
            )

    names = (*_KEYS, "run") if also else _KEYS
    inputs, table = _collect_inputs(audio, manifest, root, names)
    tally = _Tally()
    with ExitStack() as stack:
        places: list[predictions.AddPrediction] = []
        if out is not None:
            places.append(stack.enter_context(predictions.write_file(out, names, table)))
        if as_json:
            places.append(stack.enter_context(predictions.as_json(sys.stdout)))
        elif as_csv:
            places.append(stack.enter_context(predictions.as_csv(sys.stdout, names, table)))
        elif out is None:
            same_task = len({model.task for model in models}) < len(models)
            places.append(predictions.print_lines(over_time=windows is not None, runs=same_task))
        # Closed before anything else: if an answer cannot be written, the work of the threads ends first.
        heard = answers_of(models, inputs, windows=windows, threads=threads or common.count_cores())
        for asked, prediction in stack.enter_context(closing(heard)):
            if tally.counts(asked, prediction) and not (as_json or as_csv):
                common.print_error(f"{prediction.file}: {prediction.error}")
            task, label = models[prediction.model].task, prediction.label
            answer = {
                "file": prediction.file,
                "start": prediction.start,
                "end": prediction.end,
                "task": task,
                "probability": prediction.probability,
                "label": None if label is None else CLASS_NAMES[task][label],
                "error": prediction.error,
                "run": str(runs[prediction.model]),
            }
            answer = {name: answer[name] for name in names}
            for add in places:
                add(answer, asked.row, asked.number)
    if out is not None:
        common.note(f"{tally.predictions} answers: {common.escape(out)}")
    common.note(str(tally))
    return int(tally.has_failed)


def _check_arguments(
    audio: Sequence[str], manifest: Path | None, root: Path | None, window: float | None, hop: float | None
) -> None:
    if bool(audio) == (manifest is not None):
        both = "AUDIO and --manifest exclude each other: "
        raise click.UsageError(f"{both if audio else ''}give AUDIO files, or a --manifest that lists them")
    if root is not None and manifest is None:
        raise click.UsageError("--root goes with --manifest")
    if hop is not None and window is None:
        raise click.UsageError("--hop goes with --windows")
    if audio.count("-") > 1:
        raise click.UsageError("- stands for standard input, which can be read once")


def _collect_inputs(
    audio: Sequence[str], manifest: Path | None, root: Path | None, taken: Sequence[str]
) -> "tuple[Iterator[Input], pa.Table | None]":
    """Return the recordings, and the other columns of the manifest, with names that are not taken."""
    from emodna.model.inference.inputs import find_inputs, find_table_inputs

    if manifest is None:
        return find_inputs(audio), None
    from emodna.pipeline.archives import open_tree
    from emodna.pipeline.tables import choose_column_names, iterate_rows, read_table

    table = read_table(manifest)
    table = table.rename_columns(list(choose_column_names(table.column_names, taken).values()))
    tree = open_tree(manifest.parent if root is None else root, ("",))
    return find_table_inputs(iterate_rows(table), tree), table.drop_columns("path")


@dataclass
class _Tally:
    """Counts of files and answers, and their rate."""

    began: float = field(default_factory=time.monotonic)
    files: int = 0
    seconds: float = 0.0
    predictions: int = 0
    has_failed: bool = False
    _latest: "Input | None" = None
    _told: set[str | None] = field(default_factory=set)

    def counts(self, asked: "Input", prediction: "Prediction") -> bool:
        """Count an answer; return True if it is the first with this error of its file."""
        self.predictions += 1
        if asked is not self._latest:
            self._latest, self._told = asked, set()
            self.files += 1
            self.seconds += prediction.duration or 0.0
        new = prediction.has_failed and prediction.error not in self._told
        self._told.add(prediction.error)
        self.has_failed |= prediction.has_failed
        return new

    def __str__(self) -> str:
        wall = time.monotonic() - self.began
        audio = f"{self.seconds:.1f} s" if self.seconds < 3600 else f"{self.seconds / 3600:.2f} h"
        files = f"{self.files} file{'s' * (self.files != 1)}"
        return f"{files}, {audio} of audio in {wall:.2f} s: {self.seconds / wall:.0f} x real time"


def main() -> None:
    """Run `emodna-predict`."""
    common.run(predict)
