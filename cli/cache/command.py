"""emodna-cache: list, show, check and export feature stores; further commands lie beside this file."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emodna.cli import common
from emodna.cli.cache.diff import diff
from emodna.cli.cache.gc import gc_command
from emodna.cli.cache.plot import plot, utterance_figure
from emodna.cli.cache.stats import stats
from emodna.cli.options import Command, Group, cache_option, common_options
from emodna.cli.progress import count_progress
from emodna.cli.wording import word_error
from emodna.pipeline.export import FORMATS

if TYPE_CHECKING:
    from emodna.pipeline.store import FeatureStore


@click.group(cls=Group)
@click.version_option(package_name="emodna")
def cache() -> None:
    """Look at feature stores. STORE is a corpus's name, or the path of a store."""


cache.add_command(diff)
cache.add_command(gc_command)
cache.add_command(plot)
cache.add_command(stats)


@cache.command("ls", cls=Command)
@cache_option
@common_options
def list_stores(cache: Path, as_json: bool) -> None:
    """List the stores of a cache."""
    from emodna.pipeline.catalogue import list_stores

    common.detail(f"cache {common.escape(cache)}")
    rows = [common.describe_store(path) for path in list_stores(cache)]
    if as_json:
        common.print_json(rows)
        return
    if not rows:
        common.out.print(f"no stores in {common.escape(cache)}; fill it by emodna-prep")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("corpus", overflow="fold")
    table.add_column("feature set", overflow="fold")
    for heading in ("utterances", "rejected", "hours", "MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        facts = ["[red]damaged[/red]"]
        if not row["error"]:
            hours, megabytes = f"{row['audio_seconds'] / 3600:.2f}", f"{row['bytes'] / 1e6:.1f}"
            facts = [str(row["utterances"]), str(row["rejected"]), hours, megabytes]
        table.add_row(common.escape(row["corpus"]), common.escape(row["feature_set"]), *facts)
    common.out.print(table)


@cache.command(cls=Command)
@click.argument("store")
@click.argument("id", required=False)
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), help="Also write the features as a PNG picture."
)
@cache_option
@common_options
def show(store: str, id: str | None, png: Path | None, cache: Path, as_json: bool) -> None:
    """Show what a store holds, or one utterance: its row, and its features as a picture."""
    opened = common.open_store(cache, store)
    if id is None:
        if png is not None:
            raise click.UsageError("--png goes with the ID of an utterance")
        _show_store(opened, as_json=as_json)
        return
    from emodna.pipeline.features import rebuild_feature_set
    from emodna.pipeline.tables import iterate_rows

    row = opened.find_row(id)
    facts = next(iterate_rows(opened.table.slice(row, 1)))
    if as_json:
        common.print_json(facts)
    else:
        from emodna.cli.charts import terminal_picture

        common.print_fields(facts)
        feature_set, coloured = rebuild_feature_set(opened.snapshot.parameters), common.out.color_system is not None
        common.out.print(terminal_picture(opened[row], feature_set, common.out.width, coloured=coloured))
    if png is not None:
        from emodna.cli.store_figures import save_figure

        save_figure(utterance_figure(opened, id)[0], png, "png")
        common.note(f"wrote {common.escape(png)}")


@cache.command(cls=Command)
@click.argument("store")
@cache_option
@common_options
def verify(store: str, cache: Path, as_json: bool) -> int:
    """Check every byte of a store; exit 1 if something is wrong."""
    opened = common.open_store(cache, store)
    problems = opened.verify()
    if as_json:
        texts = [str(problem) for problem in problems]
        common.print_json({"store": str(opened.path), "utterances": len(opened), "problems": texts})
    elif problems:
        for problem in problems:
            line = word_error(problem, click.get_current_context().command)
            common.out.print(f"[red]problem:[/red] {common.escape(line)}")
    else:
        common.out.print(f"{common.escape(opened.path)}: {len(opened)} utterances, every byte as it was written")
    return int(bool(problems))


@cache.command(cls=Command)
@click.argument("store")
@click.option("--to", "name", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File (parquet, npz) or folder (webdataset, hf) to write.  [default: named by corpus and features, here]",
)
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@cache_option
@common_options
def export(store: str, name: str, out: Path | None, force: bool, cache: Path, as_json: bool) -> None:
    """Write a store as Parquet, as NumPy arrays, for WebDataset or for Hugging Face datasets.

    Features and all that the index says of each utterance go along, with licence and citation. The export appears
    whole or not at all. docs/EXPORT.md says what each format holds.
    """
    from emodna.pipeline import export as exports

    began = time.perf_counter()
    opened = common.open_store(cache, store)
    place = out or exports.default_place(opened, name)
    with count_progress("exporting") as counter:
        exported = exports.export(opened, name, place, force=force, told=counter.begin(len(opened)))
    if as_json:
        common.print_json(
            {
                "store": str(opened.path),
                "to": name,
                "out": str(place.absolute()),
                "utterances": len(opened),
                "frames": int(opened.frames.sum(dtype="int64")),
                "files": exported.files,
                "bytes": exported.bytes,
                "fingerprint": opened.fingerprint,
                "wall_seconds": time.perf_counter() - began,
            }
        )
    else:
        plural = "" if exported.files == 1 else "s"
        size = f"{exported.files} file{plural}, {exported.bytes / 1e6:.1f} MB"
        common.out.print(f"{common.escape(place)}: {len(opened)} utterances, {size}")
        common.out.print(f"open it by: {common.escape(exports.export_format(name).load.format(place=str(place)))}")
    common.note(f"the corpus's licence holds for the copy: {common.escape(opened.snapshot.licence or 'not known')}")


def _show_store(store: "FeatureStore", *, as_json: bool) -> None:
    """Print counts per emotion and label, speakers, sample rates, rejected files, and where it all came from."""
    from emodna.pipeline.store.layout import INDEX_SCHEMA

    snapshot = store.snapshot
    origin = ("corpus", "feature_set", "root", "licence", "citation", "created", "fingerprint")
    document: dict[str, Any] = {
        "store": str(store.path),
        **{name: getattr(snapshot, name) for name in origin},
        "utterances": len(store),
        "audio_seconds": snapshot.counts["seconds"],
        "speakers": len(set(store.column("speaker")) - {None}),
        "emotions": _counts(store.column("emotion")),
        **{name: _counts(store.column(name)) for name in ("arousal", "valence", "gender", "sample_rate")},
        "rejected": store.read_rejected().to_pylist(),
        "own_columns": [name for name in store.table.column_names if name not in INDEX_SCHEMA.names],
        "segmentation": snapshot.segmentation and dict(snapshot.segmentation),
        "parameters": dict(snapshot.parameters),
        "libraries": dict(snapshot.libraries),
    }
    if as_json:
        common.print_json(document)
        return
    hours = snapshot.counts["seconds"] / 3600
    words: dict[str, object] = {"audio_seconds": f"{snapshot.counts['seconds']:.1f} ({hours:.2f} h)"}
    for name in ("arousal", "valence", "sample_rate"):
        words[name] = {_word(name, value): count for value, count in document[name].items()}
    for name in ("parameters", "libraries", "segmentation"):
        words[name] = document[name] and ", ".join(f"{key} {value}" for key, value in document[name].items())
    words["rejected"] = [f"{each['path']}: {each['reason']}" for each in document["rejected"]]
    common.print_fields({**document, **words})


def _word(column: str, value: str) -> str:
    """Say a value of a column in words: the class of a label, the unit of a rate."""
    from emodna.pipeline.emotions import CLASS_NAMES

    if column in CLASS_NAMES and value.isdigit():
        return CLASS_NAMES[column][int(value)]
    return f"at {value} Hz" if column == "sample_rate" else value


def _counts(values: list[Any]) -> dict[str, int]:
    """Count each value; unknown ones under `unlabelled`."""
    return dict(sorted(Counter("unlabelled" if value is None else str(value) for value in values).items()))


def main() -> None:
    """Entry point of `emodna-cache`."""
    common.run(cache)
