"""Define `emodna-cache` and its commands to list, show, verify and export feature stores."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.cache.diff import diff
from emodna.cli.cache.gc import gc_command
from emodna.cli.cache.plot import check_figure_path, draw_utterance, plot
from emodna.cli.cache.stats import stats
from emodna.cli.options import FILE, PATH, Group, cache_option, common_options
from emodna.cli.progress import count_progress
from emodna.cli.wording import word_error
from emodna.pipeline.errors import EmodnaError, format_count
from emodna.pipeline.export import FORMATS

if TYPE_CHECKING:
    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.snapshot import Snapshot

#: Greatest number of values of a user's own column that are counted.
_MAX_OWN_VALUES: Final = 20


@click.group(cls=Group, examples=("emodna-cache ls", "emodna-cache stats ravdess"))
@click.version_option(package_name="emodna")
def cache() -> None:
    """Inspect, compare, export and clean feature stores. STORE is the name of a corpus or the path of a store."""


for command in (diff, gc_command, plot, stats):
    cache.add_command(command)


@cache.command(
    "ls", groups={"Data": "cache"}, examples=("emodna-cache ls", "emodna-cache ls --cache /data/cache --json")
)
@cache_option
@common_options
def list_stores(cache: Path, as_json: bool) -> None:
    """List the stores in the cache."""
    from emodna.pipeline.catalogue import list_stores

    common.detail(f"cache {common.escape(cache)}")
    rows = [common.describe_store(path) for path in list_stores(cache)]
    if as_json:
        common.print_json(rows)
        return
    if not rows:
        common.out.print(f"no stores in {common.escape(cache)}; prepare a corpus with emodna-prep")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("corpus", overflow="fold")
    table.add_column("feature set", overflow="fold")
    for heading in ("utterances", "rejected", "hours", "MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = ["[red]damaged[/red]"]
        if not row["error"]:
            hours, megabytes = f"{row['audio_seconds'] / 3600:.2f}", f"{row['bytes'] / 1e6:.1f}"
            counts = [str(row["utterances"]), str(row["rejected"]), hours, megabytes]
        table.add_row(common.escape(row["corpus"]), common.escape(row["feature_set"]), *counts)
    common.out.print(table)


@cache.command(
    groups={"Data": "cache", "Output": "png"},
    examples=("emodna-cache show ravdess", "emodna-cache show emodb 03a01Fa --png mfcc.png"),
)
@click.argument("store")
@click.argument("id", required=False)
@click.option("--png", type=FILE, help="Also draw the features to a PNG file.")
@cache_option
@common_options
def show(store: str, id: str | None, png: Path | None, cache: Path, as_json: bool) -> None:
    """Show a store or one utterance. An ID selects an utterance, which is shown with its features."""
    if png is not None:
        check_figure_path(png, "png", ["png"])
    opened = common.open_store(cache, store)
    if id is None:
        if png is not None:
            raise click.UsageError("--png needs the ID of an utterance")
        _show_store(opened, as_json=as_json)
        return
    from emodna.pipeline.features import rebuild_feature_set
    from emodna.pipeline.tables import iterate_rows

    row = opened.find_row(id)
    fields = next(iterate_rows(opened.table.slice(row, 1)))
    if as_json:
        common.print_json(fields)
    else:
        from emodna.cli.charts import draw_features

        common.print_fields(fields)
        feature_set, coloured = rebuild_feature_set(opened.snapshot.parameters), common.out.color_system is not None
        common.out.print(draw_features(opened[row], feature_set, common.out.width, coloured=coloured))
    if png is not None:
        from emodna.cli.store_figures import save_figure

        save_figure(draw_utterance(opened, id)[0], png, "png")
        common.note(f"wrote {common.escape(png)}")


@cache.command(groups={"Data": "cache"}, examples=("emodna-cache verify ravdess", "emodna-cache verify emodb --json"))
@click.argument("store")
@cache_option
@common_options
def verify(store: str, cache: Path, as_json: bool) -> int:
    """Check every byte of a store. The exit code is 1 if it is damaged."""
    opened = common.open_store(cache, store)
    problems = opened.verify()
    if as_json:
        common.print_json({"store": str(opened.path), "utterances": len(opened), "problems": [*map(str, problems)]})
    elif problems:
        for problem in problems:
            common.out.print(f"[red]problem:[/red] {common.escape(word_error(problem))}")
    else:
        common.out.print(f"{common.escape(opened.path)}: {format_count(len(opened), 'utterance')}, no damage found")
    return int(bool(problems))


@cache.command(
    groups={"Data": "cache", "Output": "name out force"},
    examples=("emodna-cache export ravdess --to parquet", "emodna-cache export ravdess --to hf --out ~/ravdess-hf"),
)
@click.argument("store")
@click.option(
    "--to", "name", type=click.Choice(FORMATS), required=True, metavar="FORMAT", help=f"One of {', '.join(FORMATS)}."
)
@click.option("--out", type=PATH, help="File or folder to write.  [default: named after the store]")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@cache_option
@common_options
def export(store: str, name: str, out: Path | None, force: bool, cache: Path, as_json: bool) -> None:
    """Export a store to Parquet, NumPy, WebDataset or Hugging Face.

    An export contains features, index columns, licence and citation. The formats parquet and npz are files; webdataset
    and hf are folders. A failed export leaves nothing behind. docs/EXPORT.md describes the formats.
    """
    from emodna.pipeline import export as exports

    began = time.perf_counter()
    opened = common.open_store(cache, store)
    destination = out or exports.make_default_path(opened, name)
    with count_progress("exporting") as counter:
        exported = exports.export_store(opened, name, destination, force=force, on_progress=counter.begin(len(opened)))
    if as_json:
        common.print_json(
            {
                "store": str(opened.path),
                "to": name,
                "out": str(destination.absolute()),
                "utterances": len(opened),
                "frames": int(opened.frames.sum(dtype="int64")),
                "files": exported.files,
                "bytes": exported.bytes,
                "fingerprint": opened.fingerprint,
                "wall_seconds": time.perf_counter() - began,
            }
        )
    else:
        size = f"{format_count(exported.files, 'file')}, {exported.bytes / 1e6:.1f} MB"
        common.out.print(f"{common.escape(destination)}: {format_count(len(opened), 'utterance')}, {size}")
        statement = exports.load_format(name).load.format(place=str(destination))
        common.out.print(f"open it with: {common.escape(statement)}")
    common.note(f"licence of the corpus and of this export: {common.escape(opened.snapshot.licence or 'unknown')}")


def _show_store(store: "FeatureStore", *, as_json: bool) -> None:
    from emodna.pipeline.store.layout import INDEX_SCHEMA, SPAN_COLUMNS
    from emodna.pipeline.tasks import CLASS_NAMES

    snapshot = store.snapshot
    own_columns = [name for name in store.column_names if name not in INDEX_SCHEMA.names]
    own_values = {name: _count_values(store.column(name)) for name in own_columns if name not in SPAN_COLUMNS}
    origin = ("corpus", "feature_set", "root", "licence", "citation", "created", "fingerprint")
    document: dict[str, Any] = {
        "store": str(store.path),
        **{name: getattr(snapshot, name) for name in origin},
        "utterances": len(store),
        "audio_seconds": snapshot.counts["seconds"],
        "speakers": len(set(store.column("speaker")) - {None}),
        "emotions": _count_values(store.column("emotion")),
        **{name: _count_values(store.column(name)) for name in ("arousal", "valence", "gender", "sample_rate")},
        "rejected": store.read_rejected().to_pylist(),
        "own_columns": own_columns,
        "own_values": {name: each for name, each in own_values.items() if len(each) <= _MAX_OWN_VALUES},
        "segmentation": snapshot.segmentation and dict(snapshot.segmentation),
        "parameters": dict(snapshot.parameters),
        "libraries": dict(snapshot.libraries),
        "features": _describe_features(snapshot),
    }
    if as_json:
        common.print_json(document)
        return
    hours = snapshot.counts["seconds"] / 3600
    texts: dict[str, object] = {"audio_seconds": f"{snapshot.counts['seconds']:.1f} ({hours:.2f} h)"}
    for task, classes in CLASS_NAMES.items():
        names = {str(label): name for label, name in enumerate(classes)}
        texts[task] = {names.get(label, label): count for label, count in document[task].items()}
    texts["sample_rate"] = {f"at {rate} Hz": count for rate, count in document["sample_rate"].items()}
    for name in ("parameters", "libraries", "segmentation", "features"):
        entries = (document[name] or {}).items()
        texts[name] = "; ".join(f"{key} {value}" for key, value in entries if value not in (None, "")) or None
    own_values = document.pop("own_values")
    texts["own_columns"] = [_describe_own_column(name, own_values.get(name)) for name in own_columns]
    texts["rejected"] = [f"{each['path']}: {each['reason']}" for each in document["rejected"]]
    common.print_fields({**document, **texts})


def _describe_own_column(name: str, counts: dict[str, int] | None) -> str:
    if counts is None:
        return name
    return f"{name} ({', '.join(f'{count} {value}' for value, count in counts.items())})"


def _describe_features(snapshot: "Snapshot") -> dict[str, str | None] | None:
    """Return terms, training data and exposure of the model that computed features; None if there is none."""
    from emodna.pipeline.encoders.exposure import find_encoder_of, find_exposure
    from emodna.pipeline.features import rebuild_feature_set

    try:
        features = rebuild_feature_set(snapshot.parameters, snapshot.location)
    except EmodnaError:  # of a package that is not here
        return None
    if not features.is_trained and features.licence is None:
        return None
    encoder = find_encoder_of(features)
    return {
        "licence": features.licence,
        "citation": features.citation,
        "training_data": None if encoder is None else encoder.training_data,
        "exposure": find_exposure(features, snapshot.corpus),
    }


def _count_values(values: list[Any]) -> dict[str, int]:
    return dict(sorted(Counter("unlabelled" if value is None else str(value) for value in values).items()))


def main() -> None:
    """Entry point of `emodna-cache`."""
    common.run(cache)
