"""Define `emodna-cache plot`, which draws an utterance, a store, or the shift between two stores."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import FILE, Command, cache_option, common_options, task_options
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.tasks import EMOTION_COLUMN, Task, make_emotion_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emodna.pipeline.store import FeatureStore

#: Suffixes of --out, which are also names of formats.
_FORMATS: Final = ("png", "svg", "pdf")


@click.command(
    cls=Command,
    groups={"Data": "against task task_file classes cache", "Output": "out"},
    examples=("emodna-cache plot ravdess --against emodb", "emodna-cache plot emodb 03a01Fa --out mfcc.pdf"),
)
@click.argument("store")
@click.argument("id", required=False)
@click.option("--against", metavar="STORE", help="Draw the shift between this store and the first.")
@task_options
@click.option("--out", type=FILE, help="PNG, SVG or PDF file.  [default: a PNG file here]")
@cache_option
@common_options
def plot(
    store: str, id: str | None, against: str | None, task: Task | str, out: Path | None, cache: Path, as_json: bool
) -> None:
    """Draw an utterance, a store, or the shift between two stores, whose classes of a task it marks.

    An existing file is replaced. --json prints the drawn numbers.
    """
    if id is not None and against is not None:
        raise click.UsageError("--against and an ID exclude each other")
    if out is not None:
        check_figure_path(out, "out", _FORMATS)
    from emodna.cli.store_figures import draw_distributions, draw_shift, save_figure

    opened = common.open_store(cache, store)
    name = opened.snapshot.corpus
    if id is not None:
        name += f"-{id}"
        figure, numbers = draw_utterance(opened, id)
    elif against is not None:
        other = common.open_store(cache, against)
        if opened.path.resolve() == other.path.resolve():
            raise EmodnaError("the same store as the first", field="against", value=against)
        if opened.snapshot.feature_parameters != other.snapshot.feature_parameters:
            problem = f"features differ: {opened.snapshot.feature_set} and {other.snapshot.feature_set}"
            remedy = "choose two stores of the same feature set"
            raise EmodnaError(problem, field="against", value=other.path, remedy=remedy)
        if isinstance(task, str):
            stores = (opened, other)
            task = make_emotion_task(sorted({*chain(*(each.column(EMOTION_COLUMN) for each in stores))} - {None}))
        name += f"-{other.snapshot.corpus}-{task.name}"
        figure, numbers = draw_shift(opened, other, task)
    else:
        figure, numbers = draw_distributions(opened)
    if out is None:  # a name that every file system accepts
        safe_name = "".join(letter if letter.isalnum() or letter in "-_.@" else "_" for letter in name)
        out = Path(f"{safe_name[:80].lstrip('.')}-{opened.snapshot.feature_set.partition('-')[0]}.png")
    save_figure(figure, out, out.suffix.lower()[1:])
    if as_json:
        common.print_json({"file": str(out.absolute()), "store": str(opened.path), **numbers})
    else:
        common.out.print(f"wrote {common.escape(out)}")


def check_figure_path(path: Path, field: str, formats: Sequence[str]) -> None:
    """Raise an error if the suffix of a figure is not a format, or its folder does not exist."""
    if path.suffix.lower()[1:] not in formats:
        valid = ", ".join(f".{each}" for each in formats)
        raise click.UsageError(f"--{field} {common.escape(path)}: unknown suffix; valid: {valid}")
    if not path.parent.is_dir():
        raise EmodnaError(f"folder {path.parent} not found", field=field, value=path)


def draw_utterance(store: "FeatureStore", id: str) -> tuple["Figure", dict[str, Any]]:
    """Return the figure of an utterance's features, titled with its labels, and the drawn numbers."""
    from emodna.cli.store_figures import draw_features_over_time
    from emodna.pipeline.features import rebuild_feature_set
    from emodna.pipeline.tables import iterate_rows

    row = store.find_row(id)
    fields = next(iterate_rows(store.table.slice(row, 1)))
    features, feature_set = store[row], rebuild_feature_set(store.snapshot.parameters)
    speaker = f"speaker {fields['speaker']}" * (fields["speaker"] is not None)
    labels = [str(label) for label in (fields["emotion"], speaker, fields["gender"]) if label]
    about = ", ".join([*labels, f"{fields['duration']:.2f} s", f"{fields['sample_rate']} Hz"])
    duration = None if feature_set.has_frame_rate else fields["duration"]
    title = f"{store.snapshot.corpus} {id}\n{about}"
    figure = draw_features_over_time(features, feature_set, title, duration)
    numbers = {
        "utterance": fields,
        "seconds_per_frame": (
            duration / len(features) if duration is not None else feature_set.hop_length / feature_set.sample_rate
        ),
        "value": feature_set.value,
        "unit": feature_set.unit,
        "features": features.tolist(),
    }
    return figure, numbers
