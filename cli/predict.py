"""The command emodna-predict: predict the emotions of audio files with trained models."""

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from emodna.cli import common, predict_bulk, predictions
from emodna.cli.input_warnings import InputWarnings
from emodna.cli.options import (
    PATH,
    TEXT_PATH,
    Channel,
    Command,
    Seconds,
    common_options,
    config_option,
    device_option,
    ffmpeg_option,
)
from emodna.cli.wording import word_reason
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    import pyarrow as pa

    from emodna.model.inference.inputs import Input
    from emodna.model.inference.prediction import Prediction
    from emodna.model.inference.rows import AddRow


@click.command(
    cls=Command,
    environment="EMODNA_PREDICT",
    groups={
        "Data": "also window hop channel manifest root ffmpeg",
        "Worker": "threads workers scheduler device",
        "Output": "out resume as_csv",
    },
    examples=(
        "emodna-predict runs/first call.wav recordings/ --windows 2",
        "emodna-predict runs/first --manifest calls.csv --out predictions/ --workers 8 --resume",
    ),
)
@click.argument("run", type=PATH)
@click.argument("audio", nargs=-1, type=TEXT_PATH)
@click.option("--also", multiple=True, metavar="RUN", type=PATH, help="Another run to predict with; repeatable.")
@click.option(
    "--windows", "window", type=Seconds(), metavar="S", help="Predict for each window of S seconds, at least 0.25."
)
@click.option(
    "--hop", type=Seconds(), metavar="S", help="Seconds between window starts, at least 0.01.  [default: half a window]"
)
@click.option("--channel", type=Channel(), metavar="N|all", help="Channel to use, from 0; adds a column.  [default: 0]")
@click.option("--manifest", type=PATH, help="CSV or Parquet table with a column `path`; its other columns are copied.")
@click.option("--root", type=PATH, help="Folder or archive of the manifest's files.  [default: the manifest's folder]")
@ffmpeg_option
@click.option(
    "--out",
    type=TEXT_PATH,
    metavar="FILE|FOLDER",
    help=f"Write a file ({', '.join(predictions.SUFFIXES)}), or a folder of Parquet files.",
)
@click.option("--resume", is_flag=True, help="Continue the predictions in --out FOLDER, or start them.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout; combines with --out.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one per core]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes for --out FOLDER.  [default: one per core]")
@click.option(
    "--scheduler", type=TEXT_PATH, metavar="ADDRESS|FILE", help="Dask cluster of this scheduler for --out FOLDER."
)
@device_option
@config_option
@common_options
def predict(
    run: Path,
    audio: tuple[str, ...],
    also: tuple[Path, ...],
    window: float | None,
    hop: float | None,
    channel: int | Literal["all"] | None,
    manifest: Path | None,
    root: Path | None,
    ffmpeg: bool,
    out: str | None,
    resume: bool,
    as_csv: bool,
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
    device: str,
    as_json: bool,
) -> int:
    """Predict the emotion in audio files with the model of a RUN.

    RUN is a run folder of emodna-fit. AUDIO are files, folders and archives, or - for standard input. A prediction is
    the probability of high arousal or positive valence, or of each class of another task. Without --windows, a model
    that reads windows uses only the middle of a longer recording, 4.4 s by default. A model with normalisation by
    speaker takes the manifest's column `speaker`; without it, each recording is one speaker. The exit code is 1 if a
    file cannot be used.

    --out FOLDER predicts in bulk: by --workers or --scheduler, in parts, so that --resume continues after any
    interruption. FOLDER is a name that ends with / or has no suffix; pandas.read_parquet reads it as one table.
    """
    is_folder = out is not None and predictions.is_folder(out)
    for is_wrong, problem in (
        (not audio and manifest is None, "give AUDIO or --manifest"),
        (bool(audio) and manifest is not None, "AUDIO and --manifest exclude each other"),
        (root is not None and manifest is None, "--root needs --manifest"),
        (hop is not None and window is None, "--hop needs --windows"),
        (audio.count("-") > 1, "give standard input (-) only once"),
        (len({each.resolve() for each in (run, *also)}) <= len(also), "give each run only once"),
        (as_json and as_csv, "--json and --csv exclude each other: both print on stdout"),
    ):
        if is_wrong:
            raise click.UsageError(problem)
    predict_bulk.check_options(is_folder=is_folder, audio=audio, threads=threads, as_json=as_json, as_csv=as_csv)
    path = None if out is None else Path(out)
    if path is not None and is_folder:
        predictions.check_folder(path)
        predict_bulk.prepare_workers(scheduler)
    elif path is not None:
        predictions.check_output(path, remedy="a folder's name ends with /")
    if ffmpeg:
        from emodna.pipeline.audio.ffmpeg import read_ffmpeg_version

        common.detail(f"ffmpeg {common.escape(read_ffmpeg_version())}")

    from emodna.model.inference.predict import predict as predict_inputs
    from emodna.model.inference.rows import RowFormat
    from emodna.model.inference.trained_model import TrainedModel
    from emodna.model.inference.windows import Windows
    from emodna.model.label import is_oracle, mark_supervision, uses_target_labels
    from emodna.model.run_folder import read_target_channel
    from emodna.pipeline.features import find_packages

    windows = None if window is None else Windows(window, window / 2 if hop is None else hop)
    runs = (run, *also)
    # Workers of a cluster may be other machines, which need not have the devices of this one.
    torch_device = common.resolve_device("cpu" if scheduler and device == "auto" else device)
    models = [TrainedModel.load(each, torch_device) for each in runs]
    for model in models:
        model.features.check_requirements()
    for model, folder in zip(models, runs, strict=True):
        marked = mark_supervision(model.method.name, model.supervision, model.target_labels)
        if uses_target_labels(model.supervision):
            which = "labels" if is_oracle(model.supervision) else "some labels"
            common.note(f"{common.escape(folder)}: {marked}: trained with {which} of its target")
        length = "the whole recording" if model.reads_statistics else f"windows of {model.seconds:.2f} s"
        common.detail(f"{marked}, {model.task.name}, {model.features.name}, {length}")
        if channel is None and (trained_channel := read_target_channel(folder)):
            note = f"adapted to channel {trained_channel} of its target; this reads channel 0, see --channel"
            common.note(f"[yellow]warning:[/yellow] {common.escape(folder)}: {note}")
        if windows is not None and windows.seconds > model.seconds:
            common.note(
                f"windows of {windows.seconds:g} s are longer than the {model.task.name} model's window of "
                f"{model.seconds:.2f} s: it predicts from the middle of each"
            )

    rows = RowFormat([model.task for model in models], runs, has_channels=channel is not None)
    inputs, table, is_segmented = _collect_inputs(audio, manifest, root, rows.types, ffmpeg=ffmpeg)
    options: dict[str, Any] = {"windows": windows, "channel": channel or 0}
    kind = "file" if manifest is None else "row"
    tally, bulk = _Tally(kind), None
    models_by_run = dict(zip(map(str, runs), models, strict=True))
    input_warnings = InputWarnings(models_by_run, kind, names_channel=channel is not None)
    with ExitStack() as stack:
        writers: list[AddRow] = []
        if path is not None and not is_folder:
            writers.append(stack.enter_context(predictions.write_file(path, rows, table)))
        if as_json:
            writers.append(stack.enter_context(predictions.write_json(sys.stdout)))
        elif as_csv:
            writers.append(stack.enter_context(predictions.write_csv(sys.stdout, rows.types, table)))
        elif path is None:
            same_task = len({model.task.name for model in models}) < len(models)
            writers.append(predictions.print_lines(rows, spans=is_segmented or windows is not None, runs=same_task))
        # Closed first: if a prediction cannot be written, the threads end before the files are closed.
        if path is not None and is_folder:
            from emodna.model.inference.bulk import BulkRequest

            request = BulkRequest(
                runs,
                rows,
                options,
                str(torch_device),
                manifest,
                table,
                ffmpeg=ffmpeg,
                packages=sorted({name for model in models for name in find_packages(model.features)}),
                per_speaker=any(model.per_speaker for model in models),
            )
            start = predict_bulk.choose_workers(workers, scheduler, models)
            context = predict_bulk.predict_into_folder(request, inputs, path, start, resume=resume)
            bulk, found = stack.enter_context(context)
        else:
            predicted = predict_inputs(models, inputs, **options, threads=threads or common.count_cores())
            found = stack.enter_context(closing(predicted))
        for given, prediction in found:
            if tally.add(given, prediction) and not (as_json or as_csv):
                is_one_of_all = channel == "all" and prediction.channel is not None
                place = f"channel {prediction.channel}: " if is_one_of_all else ""
                common.print_error(_word_problem(given, prediction, place + word_reason(str(prediction.error))))
            is_first = prediction.model == 0 and prediction.channel in (0, channel)
            for remark in prediction.remarks if is_first else ():
                common.note(f"[yellow]warning:[/yellow] {common.escape(_word_problem(given, prediction, remark))}")
            input_warnings.add(given, prediction)
            row = rows.make_row(prediction)
            for add in writers:
                add(row, given.row, given.number)
    if path is not None:
        done = (tally.predictions, "prediction") if bulk is None else (bulk.recordings, "recording")
        common.note(f"{format_count(*done)}: {common.escape(path)}")
    input_warnings.print(over_time=windows is not None)
    if bulk is None or tally.files:
        common.note(str(tally))
    return int(tally.has_failed or (bulk is not None and bulk.failed > 0))


def _word_problem(given: "Input", prediction: "Prediction", problem: str) -> str:
    file, row = prediction.file, None if given.number is None else f"row {given.number + 1}"
    name = "standard input" if file == "-" else file if row in (None, file) else f"{row}: {file}"
    failed = prediction.has_failed and row is None
    hint = "; for a table, use --manifest" if failed and file.lower().endswith((".csv", ".parquet")) else ""
    return f"{name}: {problem.rstrip('.')}{hint}"


def _collect_inputs(
    audio: Sequence[str], manifest: Path | None, root: Path | None, taken: Collection[str], *, ffmpeg: bool
) -> "tuple[Iterator[Input], pa.Table | None, bool]":
    """Return the recordings, and the manifest's other columns, renamed if they have a name in `taken`.

    The third value is True if the manifest gives segments of recordings.
    """
    from emodna.model.inference.inputs import find_inputs, find_table_inputs

    if manifest is None:
        return find_inputs(audio, ffmpeg=ffmpeg, warn=common.print_warning), None, False
    from emodna.pipeline.archives import open_tree
    from emodna.pipeline.spans import WHOLE, read_spans
    from emodna.pipeline.store.layout import SPAN_COLUMNS
    from emodna.pipeline.tables import choose_column_names, iterate_listed_rows, read_table

    table = read_table(manifest, SPAN_COLUMNS)
    spans = list(read_spans(table))
    table = table.rename_columns(list(choose_column_names(table.column_names, taken).values()))
    tree = open_tree(manifest.parent if root is None else root, ("",))
    rows = iterate_listed_rows(table, table.column_names)
    is_segmented = any(span != WHOLE for span in spans)
    return find_table_inputs(rows, spans, tree, ffmpeg=ffmpeg), table.drop_columns("path"), is_segmented


@dataclass
class _Tally:
    """Counts of files, or rows of a table, and predictions, and their rate."""

    kind: str
    """The word for an input: "file" or "row"."""
    start: float = field(default_factory=time.monotonic)
    files: int = 0
    seconds: float = 0.0
    predictions: int = 0
    has_failed: bool = False
    _latest: "Input | None" = None
    _errors: set[tuple[int | None, str | None]] = field(default_factory=set)

    def add(self, given: "Input", prediction: "Prediction") -> bool:
        """Count a prediction. Return True if it has an error that its channel did not have before."""
        self.predictions += 1
        if given is not self._latest:
            self._latest, self._errors = given, set()
            self.files += 1
            self.seconds += prediction.duration or 0.0
        problem = prediction.channel, prediction.error
        new = prediction.has_failed and problem not in self._errors
        self._errors.add(problem)
        self.has_failed |= prediction.has_failed
        return new

    def __str__(self) -> str:
        wall = time.monotonic() - self.start
        audio = f"{self.seconds:.1f} s" if self.seconds < 3600 else f"{self.seconds / 3600:.2f} h"
        files = format_count(self.files, self.kind)
        if not self.seconds:
            return f"{files} in {wall:.2f} s"
        return f"{files}, {audio} of audio in {wall:.2f} s: {self.seconds / wall:.0f} x real time"


def main() -> None:
    """Run `emodna-predict`."""
    common.run(predict)
