"""emodna-cache plot: an utterance, a store, or two of them, as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, cache_option, common_options
from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emodna.pipeline.store import FeatureStore

#: Formats of --out, by ending.
_FORMATS: Final = ("png", "svg", "pdf")


@click.command(cls=Command)
@click.argument("store")
@click.argument("id", required=False)
@click.option("--against", metavar="STORE", help="Draw the shift from STORE to this one.")
@click.option(
    "--task",
    type=click.Choice(TASKS),
    default="arousal",
    help="Whose classes mark the utterances in the plane of --against.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture: .png, .svg or .pdf.  [default: a PNG here, named by what it shows]",
)
@cache_option
@common_options
def plot(
    store: str,
    id: str | None,
    against: str | None,
    task: str,
    out: Path | None,
    cache: Path,
    as_json: bool,
) -> None:
    """Draw the features of an utterance over time; or without ID what a store holds, or how it differs from another.

    An existing picture is overwritten. --json prints the numbers behind it.
    """
    if id is not None and against is not None:
        raise click.UsageError("--against compares stores: it does not go with the ID of an utterance")
    if out is not None and out.suffix.lower()[1:] not in _FORMATS:
        raise click.UsageError(f"--out {common.escape(out)}: must end in .{', .'.join(_FORMATS)}")
    from emodna.cli.store_figures import distributions_figure, save_figure, shift_figure

    opened = common.open_store(cache, store)
    name = opened.snapshot.corpus
    if id is not None:
        name += f"-{id}"
        figure, numbers = utterance_figure(opened, id)
    elif against is not None:
        other = common.open_store(cache, against)
        if opened.snapshot.parameters != other.snapshot.parameters:
            raise EmodnaError(
                f"--against {other.path}: its features are {other.snapshot.feature_set}, those of {opened.path} "
                f"{opened.snapshot.feature_set}; two stores of the same features can be compared"
            )
        name += f"-{other.snapshot.corpus}-{task}"
        figure, numbers = shift_figure(opened, other, task)
    else:
        figure, numbers = distributions_figure(opened)
    if out is None:  # named by what it shows, in letters that any folder can hold
        plain = "".join(letter if letter.isalnum() or letter in "-_.@" else "_" for letter in name)
        out = Path(f"{plain[:80].lstrip('.')}-{opened.snapshot.feature_set.partition('-')[0]}.png")
    save_figure(figure, out, out.suffix.lower()[1:])
    if as_json:
        common.print_json({"file": str(out.absolute()), "store": str(opened.path), **numbers})
    else:
        common.out.print(f"wrote {common.escape(out)}")


def utterance_figure(store: "FeatureStore", id: str) -> tuple["Figure", dict[str, Any]]:
    """Draw features over time, with the utterance's labels in the title."""
    from emodna.cli.store_figures import features_figure
    from emodna.pipeline.features import rebuild_feature_set
    from emodna.pipeline.tables import iterate_rows

    row = store.find_row(id)
    facts = next(iterate_rows(store.table.slice(row, 1)))
    features, feature_set = store[row], rebuild_feature_set(store.snapshot.parameters)
    known = [facts["emotion"], f"speaker {facts['speaker']}" * (facts["speaker"] is not None), facts["gender"]]
    title = f"{store.snapshot.corpus} {id}"
    about = ", ".join([*(str(each) for each in known if each), f"{facts['duration']:.2f} s, {facts['sample_rate']} Hz"])
    figure = features_figure(features, feature_set, f"{title}\n{about}")
    numbers = {
        "utterance": facts,
        "seconds_per_frame": feature_set.hop_length / feature_set.sample_rate,
        "value": feature_set.value,
        "unit": feature_set.unit,
        "features": features.tolist(),
    }
    return figure, numbers
