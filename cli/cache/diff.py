"""emodna-cache diff: what differs between two stores."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.cache.progress import counting

if TYPE_CHECKING:
    from emodna.pipeline.inspect.diff import Difference, FeatureDiff, TableDiff
    from emodna.pipeline.store import FeatureStore

#: How many of many are named.
_NAMED: Final = 3


@click.command()
@click.argument("a")
@click.argument("b")
@common.cache_option
@common.common_options
@click.pass_context
def diff(context: click.Context, a: str, b: str, cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Say what differs between two stores: names of corpora, or paths.

    Like diff, exit 0 if both hold the same, and 1 if not (or if they cannot be compared: then standard output is
    empty). When and from where they were made, and by which versions of libraries, is said but makes no difference.
    Where the audio is the same, features are compared by their checksums in the index; whether every byte is there
    says emodna-cache verify.
    With --json everything that differs is listed; else the first few of each kind are named.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.cli.common import open_store
    from emodna.pipeline.inspect.diff import compare

    one, other = open_store(cache, a), open_store(cache, b)
    with counting("comparing features", quiet=quiet) as begin:
        difference = compare(one, other, begin)
    if as_json:
        common.print_json(_json(one, other, difference))
    else:
        for line in _lines(one, other, difference):
            common.out.print(common.safe(line))
    context.exit(int(not difference.same))


def _json(a: "FeatureStore", b: "FeatureStore", difference: "Difference") -> dict[str, Any]:
    table, rejected = asdict(difference.table), asdict(difference.rejected)
    return {
        "a": str(a.path),
        "b": str(b.path),
        "same": difference.same,
        "fingerprints": {"a": a.fingerprint, "b": b.fingerprint},
        "origin": difference.origin,
        "libraries": difference.libraries,
        "description": difference.description,
        "parameters": difference.parameters,
        "utterances": {"a": len(a), "b": len(b), "both": table["both"]},
        **{key: table[key] for key in ("only_a", "only_b", "columns_only_a", "columns_only_b")},
        "audio": difference.audio,
        "features": [asdict(each) for each in difference.features],
        "columns": table["changes"],
        "rejected": {
            "only_a": rejected["only_a"],
            "only_b": rejected["only_b"],
            "reasons": [
                {"path": row["id"], "a": row["a"], "b": row["b"]} for row in rejected["changes"].get("reason", ())
            ],
        },
    }


def _lines(a: "FeatureStore", b: "FeatureStore", difference: "Difference") -> list[str]:
    """Say each kind of difference in a line, and at the end if there is any."""
    lines = [f"A: {a.path}: {len(a)} utterances", f"B: {b.path}: {len(b)} utterances"]
    for name in ("origin", "libraries", "description", "parameters"):
        lines += [f"{key}: {_sides(values)}" for key, values in getattr(difference, name).items()]
    lines += _tables(difference.table, "utterance", "")
    if difference.audio:
        lines.append(f"audio of {len(difference.audio)} differs: {_first(difference.audio)}")
    if difference.parameters:
        lines.append("features: not compared, since the parameters differ")
    elif difference.features:
        lines.append(_features(difference.features))
    lines += _tables(difference.rejected, "rejected file", "rejected: ")
    return [*lines, "both hold the same" if difference.same else "they differ"]


def _sides(values: Any) -> str:
    return " -> ".join("-" if values.get(side) is None else str(values[side]) for side in ("a", "b"))


def _tables(table: "TableDiff", row: str, before: str) -> list[str]:
    lines = []
    for side, keys in (("A", table.only_a), ("B", table.only_b)):
        if keys:
            plural = "" if len(keys) == 1 else "s"
            lines.append(f"{len(keys)} {row}{plural} only in {side}: {_first(keys)}")
    for side, columns in (("A", table.columns_only_a), ("B", table.columns_only_b)):
        if columns:
            lines.append(f"{before}columns only in {side}: {', '.join(columns)}")
    for column, changes in table.changes.items():
        some = [f"{row['id']} ({_sides(row)})" for row in changes[:_NAMED]]
        lines.append(f"{before}{column} of {len(changes)} differs: {_first(some, of=len(changes))}")
    return lines


def _features(features: "Sequence[FeatureDiff]") -> str:
    line = f"features of {len(features)} differ though the audio is the same: "
    line += _first([each.id for each in features])
    if reshaped := [each for each in features if each.largest is None]:
        line += f"; {len(reshaped)} have another number of frames"
    if distances := [each.largest for each in features if each.largest is not None]:
        line += f"; the largest difference is {max(distances):.3g}"
    return line


def _first(names: "Sequence[str]", *, of: int | None = None) -> str:
    """Name the first few of many."""
    more = (of or len(names)) - len(names[:_NAMED])
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more else "")
