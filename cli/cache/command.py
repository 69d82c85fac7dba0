"""emodna-cache: look at what feature stores hold, and check them."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emodna.cli import common
from emodna.cli.cache.diff import diff
from emodna.cli.cache.export import export
from emodna.cli.cache.gc import collect_garbage
from emodna.cli.cache.plot import plot
from emodna.cli.cache.stats import stats
from emodna.cli.common import open_store

if TYPE_CHECKING:
    from emodna.pipeline.features import FeatureSet
    from emodna.pipeline.store import FeatureStore


@click.group(context_settings=common.CONTEXT)
@click.version_option(package_name="emodna")
def cache() -> None:
    """Look at feature stores. STORE is a corpus's name, or the path of a store."""


cache.add_command(diff)
cache.add_command(export)
cache.add_command(collect_garbage)
cache.add_command(plot)
cache.add_command(stats)


@cache.command("ls")
@common.cache_option
@common.common_options
def list_stores(cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the stores of a cache."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.pipeline.store.catalogue import stores

    common.detail(f"cache {common.safe(cache)}")
    rows = [_summary(path) for path in stores(cache)]
    if as_json:
        common.print_json(rows)
        return
    if not rows:
        common.out.print(f"no stores in {common.safe(cache)}; fill it by emodna-prep")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("corpus", overflow="fold")
    table.add_column("feature set", overflow="fold")
    for heading in ("utterances", "rejected", "hours", "MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        if row["error"]:
            table.add_row(common.safe(row["corpus"]), common.safe(row["feature_set"]), "[red]damaged[/red]")
        else:
            table.add_row(
                common.safe(row["corpus"]),
                common.safe(row["feature_set"]),
                str(row["utterances"]),
                str(row["rejected"]),
                f"{row['audio_seconds'] / 3600:.2f}",
                f"{row['bytes'] / 1e6:.1f}",
            )
    common.out.print(table)


@cache.command()
@click.argument("store")
@click.argument("id", required=False)
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), help="Also write the features as a PNG picture."
)
@common.cache_option
@common.common_options
def show(store: str, id: str | None, png: Path | None, cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what a store holds, or one utterance: its row, and its features as a picture."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    opened = open_store(cache, store)
    if id is None:
        if png is not None:
            raise click.UsageError("--png goes with the ID of an utterance")
        _show_store(opened, as_json=as_json)
        return
    from emodna.pipeline.tables import rows_of

    row = opened.row_of(id)
    facts = next(rows_of(opened.table.slice(row, 1)))
    if as_json:
        common.print_json(facts)
    else:
        from emodna.cli.charts import terminal_picture

        _print_facts({name: "-" if value is None else str(value) for name, value in facts.items()})
        coloured = common.out.color_system is not None
        common.out.print(terminal_picture(opened[row], _feature_set(opened), common.out.width, coloured=coloured))
    if png is not None:
        from emodna.cli.picture import write_png

        write_png(png, opened[row], _feature_set(opened), title=f"{opened.snapshot.corpus} {id}")
        common.note(f"wrote {common.safe(png)}")


@cache.command()
@click.argument("store")
@common.cache_option
@common.common_options
@click.pass_context
def verify(context: click.Context, store: str, cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check every byte of a store; exit 1 if something is wrong."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    opened = open_store(cache, store)
    problems = opened.verify()
    if as_json:
        common.print_json({"store": str(opened.path), "utterances": len(opened), "problems": problems})
    elif problems:
        for problem in problems:
            common.out.print(f"[red]damaged:[/red] {common.safe(problem)}")
    else:
        common.out.print(f"{common.safe(opened.path)}: {len(opened)} utterances, every byte as it was written")
    context.exit(int(bool(problems)))


def _summary(store: Path) -> dict[str, Any]:
    """A row of `ls`; what is not known of a damaged store is None."""
    from emodna.pipeline.errors import StoreError
    from emodna.pipeline.store.snapshot import read_snapshot

    snapshot = error = None
    try:
        snapshot = read_snapshot(store)
    except StoreError as damage:
        error = str(damage)
    counts = snapshot.counts if snapshot else {}
    return {
        "corpus": store.parent.name,
        "feature_set": store.name,
        "utterances": counts.get("utterances"),
        "rejected": counts.get("rejected"),
        "audio_seconds": counts.get("seconds"),
        "bytes": sum(file.size for file in snapshot.files) if snapshot else None,
        "fingerprint": snapshot.fingerprint if snapshot else None,
        "created": snapshot.created if snapshot else None,
        "store": str(store.absolute()),
        "error": error,
    }


def _feature_set(store: "FeatureStore") -> "FeatureSet":
    """What the features of a store are, as far as a picture has to know."""
    from emodna.pipeline.features import feature_set_from

    return feature_set_from(store.snapshot.parameters)


def _show_store(store: "FeatureStore", *, as_json: bool) -> None:
    """Counts per emotion and label, speakers, sample rates, rejected files, and where it all came from."""
    from emodna.pipeline.store.layout import INDEX_SCHEMA

    snapshot = store.snapshot
    document = {
        "store": str(store.path),
        "corpus": snapshot.corpus,
        "feature_set": snapshot.feature_set,
        "root": snapshot.root,
        "licence": snapshot.licence,
        "citation": snapshot.citation,
        "created": snapshot.created,
        "fingerprint": snapshot.fingerprint,
        "utterances": len(store),
        "audio_seconds": snapshot.counts["seconds"],
        "speakers": len(set(store.column("speaker")) - {None}),
        "emotions": _counts(store.column("emotion")),
        "arousal": _counts(store.column("arousal")),
        "valence": _counts(store.column("valence")),
        "gender": _counts(store.column("gender")),
        "sample_rate": _counts(store.column("sample_rate")),
        "rejected": store.rejected().to_pylist(),
        "own_columns": [name for name in store.table.column_names if name not in INDEX_SCHEMA.names],
        "segmentation": snapshot.segmentation and dict(snapshot.segmentation),
        "parameters": dict(snapshot.parameters),
        "libraries": dict(snapshot.libraries),
    }
    if as_json:
        common.print_json(document)
        return
    lines = {}
    for name, value in document.items():
        match value:
            case None:
                lines[name] = "-"
            case dict() if name in ("parameters", "libraries", "segmentation"):
                lines[name] = ", ".join(f"{key} {item}" for key, item in value.items())
            case dict():
                lines[name] = ", ".join(f"{item} {_word(name, key)}" for key, item in value.items())
            case list() if name == "own_columns":
                lines[name] = ", ".join(value) or "-"
            case list():
                lines[name] = "; ".join(f"{item['path']}: {item['reason']}" for item in value) or "-"
            case float():
                lines[name] = f"{value:.1f} ({value / 3600:.2f} h)"
            case _:
                lines[name] = str(value)
    _print_facts(lines)


def _word(column: str, value: str) -> str:
    """A value of a column as people say it: the class of a label, the unit of a rate."""
    from emodna.pipeline.emotions import CLASS_NAMES

    if column in CLASS_NAMES and value.isdigit():
        return CLASS_NAMES[column][int(value)]
    return f"at {value} Hz" if column == "sample_rate" else value


def _print_facts(facts: Mapping[str, str]) -> None:
    """A line per fact: long ones run on, so that they can be searched and copied."""
    width = max(map(len, facts))
    for name, value in facts.items():
        common.out.print(f"[bold]{common.safe(name):{width}}[/bold]  {common.safe(value)}")


def _counts(values: list[Any]) -> dict[str, int]:
    """How often each value occurs; unknown ones under `unlabelled`."""
    counted = Counter("unlabelled" if value is None else str(value) for value in values)
    return dict(sorted(counted.items()))


def main() -> None:
    """Entry point of `emodna-cache`."""
    common.run(cache)
