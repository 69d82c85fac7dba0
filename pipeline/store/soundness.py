"""What a store's description and index must say to be believed, even where their checksums are right.

Checksums find damage. These checks find what no run of this project writes: a tool's mistake, or a store made to harm.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from emodna.pipeline.emotions import TASKS
from emodna.pipeline.store import layout

_TEXTS: Final = ("corpus", "feature_set", "root", "licence", "citation", "fingerprint", "created")
_COUNTS: Final = ("utterances", "rejected", "frames", "seconds")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHARDS: Final = 2**31


def check_description(content: Mapping[str, Any]) -> None:
    """Check the fields of a store.json but its files.

    Raises
    ------
    ValueError
        One that is of another type, or a count that counts nothing.
    """
    for name in _TEXTS:
        _refuse_unless(isinstance(content[name], str), f"{name} is no text")
    for name in ("parameters", "libraries", "counts"):
        _refuse_unless(isinstance(content[name], dict), f"{name} is no table")
    segmentation = content.get("segmentation")
    _refuse_unless(segmentation is None or isinstance(segmentation, dict), "segmentation is no table")
    scalars = (*content["parameters"].values(), *content["libraries"].values(), *(segmentation or {}).values())
    _refuse_unless(
        all(each is None or isinstance(each, str | int | float) for each in scalars), "a parameter that is no value"
    )
    for name in _COUNTS:
        count = content["counts"][name]
        number = (int, float) if name == "seconds" else (int,)
        _refuse_unless(
            type(count) in number and 0 <= count < 2**62 and math.isfinite(count), f"counts: {name} {count!r}"
        )


def check_files(files: Sequence[layout.StoredFile]) -> None:
    """Check that files lie in the store's own folder, under the names of their content, each shard once.

    Raises
    ------
    ValueError
        A file of another name, size or hash; a shard's number that occurs twice.
    """
    for file in files:
        _refuse_unless(isinstance(file.sha256, str) and bool(_SHA256.fullmatch(file.sha256)), "a file without SHA-256")
        _refuse_unless(type(file.size) is int and file.size >= 0, f"a file of {file.size!r} bytes")
        if file.shard is None:
            named = {layout.content_name(kind, file.sha256, layout.TABLE_SUFFIX) for kind in ("index", "rejected")}
        else:
            _refuse_unless(type(file.shard) is int and 0 <= file.shard < _SHARDS, f"shard {file.shard!r}")
            named = {layout.content_name("shard", file.sha256, layout.SHARD_SUFFIX)}
        _refuse_unless(file.name in named, f"a file named {file.name!r}")
    for what, values in (
        ("file", [file.name for file in files]),
        ("shard", [file.shard for file in files if file.shard is not None]),
    ):
        _refuse_unless(len(set(values)) == len(values), f"a {what} that occurs twice")


def check_schemas(schemas: Sequence[pa.Schema]) -> None:
    """Check that the parts of an index have the promised columns, and all the same.

    Raises
    ------
    ValueError
        No part, a column that is missing or of another type, or parts that differ.
    """
    _refuse_unless(bool(schemas), "no index")
    for schema in schemas:
        for field in layout.INDEX_SCHEMA:
            _refuse_unless(schema.names.count(field.name) == 1, f"not one column {field.name}")
            found = schema.field(field.name).type
            _refuse_unless(found == field.type, f"column {field.name} is {found}, not {field.type}")
        _refuse_unless(schema.equals(schemas[0]), "parts with different columns")


def check_index(table: pa.Table, shards: Mapping[int, object]) -> None:
    """Check the numeric columns of a part of an index.

    Parameters
    ----------
    table
        With the columns arousal, valence, frames, peak_db, shard, offset and feature_crc.
    shards
        By number.

    Raises
    ------
    ValueError
        No value where there must be one, an unknown shard, or a value that none can be.
    """
    for name in ("frames", "peak_db", "shard", "offset", "feature_crc"):
        _refuse_unless(not table[name].null_count, f"utterances without {name}")
    for task in TASKS:
        known = table[task].drop_null().to_numpy()
        _refuse_unless(bool(((known == 0) | (known == 1)).all()), f"{task} that is neither 0 nor 1")
    _refuse_unless(bool((table["frames"].to_numpy() > 0).all()), "utterances without frames")
    _refuse_unless(bool((table["offset"].to_numpy() >= 0).all()), "utterances before their shard's beginning")
    numbers = table["shard"].to_numpy()
    # Few, since the rows of a shard stand together.
    runs = [*numbers[1:][numbers[1:] != numbers[:-1]].tolist(), *numbers[:1].tolist()]
    unknown = sorted(set(runs) - shards.keys())
    _refuse_unless(not unknown, f"utterances in shard {unknown[:1]}, which is not there")


def _refuse_unless(sound: bool, complaint: str) -> None:
    if not sound:
        raise ValueError(complaint)
