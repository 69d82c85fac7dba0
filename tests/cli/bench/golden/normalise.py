"""Normal form of JSON documents in golden files, and their comparison."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Keys of a number in a table; such an object is stored as the list of its values.
NUMBER = (
    "mean", "std", "seeds", "pairs", "of", "constant", "mark", "best",
    "paper_mean", "paper_std", "comparable", "difference", "gain", "paper_gain",
)  # fmt: skip
#: Longer lists of numbers or texts are stored as length, first items and sum.
LONG = 12
FIRST = 3
#: Keys of values that differ between runs.
TIMES = frozenset({"wall_seconds", "cell_seconds", "bytes"})
CLOSE = 1e-9
WIDTH = 120


def normalise(
    value: Any, places: Mapping[str, str], *, trained: bool = False, brief: bool = False, key: str = ""
) -> Any:
    """Return a document without values that differ between machines or days.

    `places` maps folders to placeholders. `trained` drops decimal numbers and the hashes in names of runs, which differ
    between trainings. `brief` sums the middle columns of a wide table.
    """
    match value:
        case dict() if tuple(value) == NUMBER and not trained:
            return list_values(value, places)
        case dict() if brief and key == "cells":
            return {task: sum_columns(columns, places) for task, columns in value.items()}
        case dict():
            return {
                normalise(name, places, trained=trained): normalise(
                    each, places, trained=trained, brief=brief, key=name
                )
                for name, each in value.items()
            }
        case list() if len(value) > LONG and (digest := shorten_list(key, value, places, trained=trained)) is not None:
            return digest
        case list():
            return [normalise(each, places, trained=trained) for each in value]
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
    values = [normalise(each, places) for each in number.values()]
    return values[: 1 + max((index for index, each in enumerate(values) if each is not None), default=-1)]


def sum_columns(columns: Mapping[str, Mapping[str, Any]], places: Mapping[str, str]) -> dict[str, Any]:
    """Return the first and the last column, and the sums of the columns between them."""
    names = list(columns)
    ends = {name: normalise(columns[name], places) for name in (names[0], names[-1])}
    middle = [columns[name] for name in names[1:-1]]
    sums = {
        score: {
            key: round_number(sum(to_number(each[score][key]) for each in middle)) for key in columns[names[0]][score]
        }
        for score in columns[names[0]]
    }
    return {"<columns>": names[1:-1], **ends, "sums": {score: list(each.values()) for score, each in sums.items()}}


def to_number(value: Any) -> float:
    match value:
        case None:
            return 0.0
        case bool() | int() | float():
            return float(value)
    return float(len(value))


def shorten_list(key: str, values: list[Any], places: Mapping[str, str], *, trained: bool) -> dict[str, Any] | None:
    """Return a summary of a list of numbers, or of texts of points; None for other lists."""
    first = [normalise(each, places, trained=trained) for each in values[:FIRST]]
    if key == "texts":
        return {"<texts>": len(values), "first": first, "characters": sum(map(len, values))}
    if all(type(each) in (int, float) for each in values):
        return {"<numbers>": len(values), "first": first, "sum": "<number>" if trained else round_number(sum(values))}
    return None


def round_number(value: float) -> float:
    return float(f"{value:.12g}")


def find_differences(golden: Any, output: Any, at: str = "") -> Iterator[str]:
    """Yield the differences of two documents; floats may differ by 1e-9, the order of keys counts."""
    if type(golden) is not type(output):
        yield f"{at}: {golden!r:.200} became {output!r:.200}"
    elif isinstance(golden, dict):
        if list(golden) != list(output):
            yield f"{at}: keys {list(golden)} became {list(output)}"
        for key in golden:
            if key in output:
                yield from find_differences(golden[key], output[key], f"{at}/{key}")
    elif isinstance(golden, list):
        if len(golden) != len(output):
            yield f"{at}: {len(golden)} items became {len(output)}"
        for index, (one, other) in enumerate(zip(golden, output, strict=False)):
            yield from find_differences(one, other, f"{at}/{index}")
    elif isinstance(golden, float):
        if not math.isclose(golden, output, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{at}: {golden!r} became {output!r}"
    elif golden != output:
        yield f"{at}: {golden!r} became {output!r}"


def format_json(value: Any, indent: int = 0, used_width: int = 0) -> str:
    flat = json.dumps(value, separators=(",", ": "))
    if indent + used_width + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner, margin = indent + 1, "\n" + " " * (indent + 1)
    if isinstance(value, list):
        parts = [format_json(each, inner) for each in value]
    else:
        names = [f"{json.dumps(key)}: " for key in value]
        parts = [name + format_json(each, inner, len(name)) for name, each in zip(names, value.values(), strict=True)]
    ends = "[]" if isinstance(value, list) else "{}"
    return f"{ends[0]}{margin}{f',{margin}'.join(parts)}\n{' ' * indent}{ends[1]}"
