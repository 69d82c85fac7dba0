"""Define `emodna-cache diff`, which compares two stores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, cache_option, common_options
from emodna.cli.progress import count_progress
from emodna.pipeline.errors import format_count

#: Number of ids to print on a line.
_MAX_NAMED: Final = 3


@click.command(
    cls=Command,
    groups={"Data": "cache"},
    examples=("emodna-cache diff iemocap iemocap-all", "emodna-cache diff emodb /other/emodb/mfcc40-22050hz-1d163ad7"),
)
@click.argument("a")
@click.argument("b")
@cache_option
@common_options
def diff(a: str, b: str, cache: Path, as_json: bool) -> int:
    """Compare the stores A and B. The exit code is 1 if they differ.

    The command prints the first differences of each kind; --json lists all. It ignores roots, times and versions of
    libraries. It compares features by their checksums in the index; emodna-cache verify checks every byte.
    """
    from emodna.pipeline.inspect.diff import compare_stores

    one, other = common.open_store(cache, a), common.open_store(cache, b)
    with count_progress("comparing features") as counter:
        difference = compare_stores(one, other, counter.begin)
    if as_json:
        common.print_json(difference)
    else:
        for line in _format_lines(difference):
            common.out.print(common.escape(line))
    return int(not difference["same"])


def _format_lines(difference: Mapping[str, Any]) -> list[str]:
    counts, rejected, features = difference["utterances"], difference["rejected"], difference["features"]
    lines = [f"{side.upper()}: {difference[side]}: {format_count(counts[side], 'utterance')}" for side in ("a", "b")]
    for name in ("origin", "libraries", "description", "parameters"):
        lines += [f"{key}: {_format_sides(values)}" for key, values in difference[name].items()]
    lines += _format_unmatched(difference, "utterance")
    for side in ("a", "b"):
        if columns := difference[f"columns_only_{side}"]:
            lines.append(f"columns only in {side.upper()}: {', '.join(columns)}")
    lines += [_format_column(name, rows, "id") for name, rows in difference["columns"].items()]
    if audio := difference["audio"]:
        lines.append(f"audio of {len(audio)} differs: {_join_first(audio)}")
    if difference["parameters"]:
        lines.append("features: not compared because their parameters differ")
    elif features:
        line = f"features of {len(features)} differ, but not their audio: "
        line += _join_first([each["id"] for each in features])
        distances = [each["largest"] for each in features if each["largest"] is not None]
        if len(distances) < len(features):
            line += f"; {len(features) - len(distances)} differ in their number of frames"
        lines.append(line + (f"; the largest difference is {max(distances):.3g}" if distances else ""))
    lines += _format_unmatched(rejected, "rejected file")
    if rejected["reasons"]:
        lines.append("rejected: " + _format_column("reason", rejected["reasons"], "path"))
    return [*lines, "equal" if difference["same"] else "different"]


def _format_unmatched(keys: Mapping[str, Any], noun: str) -> list[str]:
    sides = {side.upper(): keys[f"only_{side}"] for side in ("a", "b")}
    return [f"{format_count(len(ids), noun)} only in {side}: {_join_first(ids)}" for side, ids in sides.items() if ids]


def _format_column(name: str, rows: Sequence[Mapping[str, Any]], key: str) -> str:
    return f"{name} of {len(rows)} differs: {_join_first([f'{row[key]} ({_format_sides(row)})' for row in rows])}"


def _format_sides(values: Mapping[str, Any]) -> str:
    return " -> ".join("-" if values.get(side) is None else str(values[side]) for side in ("a", "b"))


def _join_first(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
