"""What of a JSON document is frozen, how it is written down, and how it is compared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Keys of a number in a table, in their order: such an object is frozen as the list of its values.
NUMBER = (
    "mean", "std", "seeds", "pairs", "of", "constant", "mark", "best",
    "paper_mean", "paper_std", "comparable", "difference", "gain", "paper_gain",
)  # fmt: skip
#: Longer lists of numbers, and of the texts of points, are frozen by their length, their first ones and the sum of all.
LONG = 12
FIRST = 3
#: Volatile wherever they stand.
TIMES = frozenset({"wall_seconds", "cell_seconds", "bytes"})
CLOSE = 1e-9
WIDTH = 120


def normal(value: Any, places: Mapping[str, str], *, trained: bool = False, brief: bool = False, key: str = "") -> Any:
    """A document without what differs from machine to machine or from day to day.

    Parameters
    ----------
    places
        Folder -> what stands in its place.
    trained
        Whether it tells of real trainings: then no number with a fraction counts, nor the hash in a cell's name.
    brief
        Whether it is a table with many columns.
    """
    match value:
        case dict() if tuple(value) == NUMBER and not trained:
            return list_values(value, places)
        case dict() if brief and key == "cells":
            return {task: sum_columns(columns, places) for task, columns in value.items()}
        case dict():
            return {
                normal(name, places, trained=trained): normal(each, places, trained=trained, brief=brief, key=name)
                for name, each in value.items()
            }
        case list() if len(value) > LONG and (digest := shorten_list(key, value, places, trained=trained)) is not None:
            return digest
        case list():
            return [normal(each, places, trained=trained) for each in value]
        case int() | float() if key in TIMES and not (key == "bytes" and not trained):
            return f"<{key}>"
        case float() if trained:
            return "<number>"
        case float():
            return round_number(value)
        case str():
            for folder, name in places.items():
                value = value.replace(folder, name)
            return re.sub(r"-s(\d+)-[0-9a-f]{8}\b", r"-s\1-<hash>", value) if trained else value
    return value


def list_values(number: Mapping[str, Any], places: Mapping[str, str]) -> list[Any]:
    """The values of a number in a table, without the nulls at the end."""
    values = [normal(each, places) for each in number.values()]
    return values[: 1 + max((place for place, each in enumerate(values) if each is not None), default=-1)]


def sum_columns(columns: Mapping[str, Mapping[str, Any]], places: Mapping[str, str]) -> dict[str, Any]:
    """The first and the last column as they are, and of those between, score by score, what their numbers add up to."""
    names = list(columns)
    shown = {name: normal(columns[name], places) for name in (names[0], names[-1])}
    between = [columns[name] for name in names[1:-1]]
    sums = {
        score: {
            key: round_number(sum(to_number(column[score][key]) for column in between))
            for key in columns[names[0]][score]
        }
        for score in columns[names[0]]
    }
    return {"<columns>": names[1:-1], **shown, "sums": {score: list(each.values()) for score, each in sums.items()}}


def to_number(value: Any) -> float:
    """A number for anything that stands in a table, so that it can be added up."""
    match value:
        case None:
            return 0.0
        case bool() | int() | float():
            return float(value)
    return float(len(value))


def shorten_list(key: str, values: list[Any], places: Mapping[str, str], *, trained: bool) -> dict[str, Any] | None:
    """A long list of numbers, or of the texts of points, in short; None of anything else."""
    first = [normal(each, places, trained=trained) for each in values[:FIRST]]
    if key == "texts":
        return {"<texts>": len(values), "first": first, "characters": sum(map(len, values))}
    if all(type(each) in (int, float) for each in values):
        return {"<numbers>": len(values), "first": first, "sum": "<number>" if trained else round_number(sum(values))}
    return None


def round_number(value: float) -> float:
    """To 12 digits: far more than are compared."""
    return float(f"{value:.12g}")


def differences(golden: Any, found: Any, at: str = "") -> Iterator[str]:
    """Where two documents differ: keys and their order, types, texts, whole numbers; others by more than 1e-9."""
    if type(golden) is not type(found):
        yield f"{at}: {golden!r:.200} became {found!r:.200}"
    elif isinstance(golden, dict):
        if list(golden) != list(found):
            yield f"{at}: keys {list(golden)} became {list(found)}"
        for key in golden:
            if key in found:
                yield from differences(golden[key], found[key], f"{at}/{key}")
    elif isinstance(golden, list):
        if len(golden) != len(found):
            yield f"{at}: {len(golden)} items became {len(found)}"
        for place, (one, other) in enumerate(zip(golden, found, strict=False)):
            yield from differences(one, other, f"{at}/{place}")
    elif isinstance(golden, float):
        if not math.isclose(golden, found, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{at}: {golden!r} became {found!r}"
    elif golden != found:
        yield f"{at}: {golden!r} became {found!r}"


def written(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON, with whatever finds room in a line on one."""
    flat = json.dumps(value, separators=(",", ": "))
    if indent + before + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner, margin = indent + 1, "\n" + " " * (indent + 1)
    if isinstance(value, list):
        parts = [written(each, inner) for each in value]
    else:
        names = [f"{json.dumps(key)}: " for key in value]
        parts = [name + written(each, inner, len(name)) for name, each in zip(names, value.values(), strict=True)]
    ends = "[]" if isinstance(value, list) else "{}"
    return f"{ends[0]}{margin}{f',{margin}'.join(parts)}\n{' ' * indent}{ends[1]}"
