"""emodna-cache diff: what differs between two stores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, cache_option, common_options
from emodna.cli.progress import count_progress

#: How many of many are named.
_NAMED: Final = 3


@click.command(cls=Command)
@click.argument("a")
@click.argument("b")
@cache_option
@common_options
def diff(a: str, b: str, cache: Path, as_json: bool) -> int:
    """Say what differs between two stores: names of corpora, or paths.

    Like diff, exit 0 if both hold the same, and 1 if not (or if they cannot be compared: then standard output is
    empty). When and from where they were made, and by which versions of libraries, is said but makes no difference.
    Where the audio is the same, features are compared by their checksums in the index; whether every byte is there
    says emodna-cache verify.
    With --json everything that differs is listed; else the first few of each kind are named.
    """
    from emodna.pipeline.inspect.diff import compare

    one, other = common.open_store(cache, a), common.open_store(cache, b)
    with count_progress("comparing features") as counter:
        difference = compare(one, other, counter.begin)
    if as_json:
        common.print_json(difference)
    else:
        for line in _lines(difference):
            common.out.print(common.escape(line))
    return int(not difference["same"])


def _lines(difference: Mapping[str, Any]) -> list[str]:
    """Say each kind of difference in a line, and at the end if there is any."""
    counts, rejected, features = difference["utterances"], difference["rejected"], difference["features"]
    lines = [f"{side.upper()}: {difference[side]}: {counts[side]} utterances" for side in ("a", "b")]
    for name in ("origin", "libraries", "description", "parameters"):
        lines += [f"{key}: {_sides(values)}" for key, values in difference[name].items()]
    lines += _only(difference, "utterance")
    for side in ("a", "b"):
        if columns := difference[f"columns_only_{side}"]:
            lines.append(f"columns only in {side.upper()}: {', '.join(columns)}")
    lines += [_column(name, rows, "id") for name, rows in difference["columns"].items()]
    if audio := difference["audio"]:
        lines.append(f"audio of {len(audio)} differs: {_first(audio)}")
    if difference["parameters"]:
        lines.append("features: not compared, since the parameters differ")
    elif features:
        line = f"features of {len(features)} differ though the audio is the same: "
        line += _first([each["id"] for each in features])
        distances = [each["largest"] for each in features if each["largest"] is not None]
        if len(distances) < len(features):
            line += f"; {len(features) - len(distances)} have another number of frames"
        lines.append(line + (f"; the largest difference is {max(distances):.3g}" if distances else ""))
    lines += _only(rejected, "rejected file")
    if rejected["reasons"]:
        lines.append("rejected: " + _column("reason", rejected["reasons"], "path"))
    return [*lines, "both hold the same" if difference["same"] else "they differ"]


def _only(keys: Mapping[str, Any], row: str) -> list[str]:
    lines = []
    for side in ("a", "b"):
        if only := keys[f"only_{side}"]:
            plural = "" if len(only) == 1 else "s"
            lines.append(f"{len(only)} {row}{plural} only in {side.upper()}: {_first(only)}")
    return lines


def _column(name: str, rows: Sequence[Mapping[str, Any]], key: str) -> str:
    some = [f"{row[key]} ({_sides(row)})" for row in rows[:_NAMED]]
    return f"{name} of {len(rows)} differs: {_first(some, of=len(rows))}"


def _sides(values: Mapping[str, Any]) -> str:
    return " -> ".join("-" if values.get(side) is None else str(values[side]) for side in ("a", "b"))


def _first(names: Sequence[str], *, of: int | None = None) -> str:
    """Name the first few of many."""
    more = (of or len(names)) - len(names[:_NAMED])
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more else "")
