"""A folder for Hugging Face datasets: Parquet files, and the card that tells what their columns are."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emodna.pipeline.cards import yaml_text
from emodna.pipeline.export import base
from emodna.pipeline.export.base import Format, about_json, columns, plain
from emodna.pipeline.export.parquet import open_writer
from emodna.pipeline.store import FeatureStore

_TAKEN: Final = ("features",)
_CARD: Final = "README.md"
#: Licences that the hub knows by a name of its own.
_CREATIVE_COMMONS: Final = re.compile(r"CC (BY(-NC)?(-SA|-ND)?) (\d\.\d)")
#: Arrow's names of types where the hub's are others.
_TYPES: Final = {"float": "float32", "double": "float64"}


def _write(store: FeatureStore, folder: Path, told: Callable[[int], None]) -> None:
    table = plain(columns(store, taken=_TAKEN))
    (folder / _CARD).write_text(_card(store, table), encoding="utf-8")
    data = folder / "data"
    data.mkdir()
    schema = table.schema.append(pa.field("features", pa.list_(pa.list_(pa.float32()))))
    number, size = 0, 0
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for rows, features in store.blocks(base.BLOCK_VALUES):
            if writer is None or size + features.nbytes > base.FILE_BYTES:
                stack.close()
                file = data / f"train-{number:05}.parquet"
                writer = stack.enter_context(open_writer(file, schema, "features.list.element.list.element"))
                number, size = number + 1, 0
            size += features.nbytes
            part = table.slice(rows.start, rows.stop - rows.start)
            starts = np.arange(0, features.size + 1, features.shape[1])
            frames = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(features.ravel()))
            ends = np.cumsum([0, *store.frames[rows]])
            writer.write_table(
                pa.table([*part.columns, pa.ListArray.from_arrays(pa.array(ends, pa.int32()), frames)], schema=schema)
            )
            told(len(part))


def _card(store: FeatureStore, table: pa.Table) -> str:
    """The card: what the hub and its library read of it, and a text for people."""
    snapshot = store.snapshot
    known = _CREATIVE_COMMONS.fullmatch(snapshot.licence)
    languages = sorted(pc.drop_null(pc.unique(table["language"])).to_pylist())
    lines = [
        "---",
        f"pretty_name: {yaml_text(f'{snapshot.corpus}, {snapshot.feature_set}')}",
        *(
            [f"license: cc-{known[1].lower()}-{known[4]}"]
            if known
            else ["license: other", f"license_name: {yaml_text(snapshot.licence)}"]
        ),
        *(["language:", *(f"- {yaml_text(language)}" for language in languages)] if languages else []),
        "tags:",
        "- audio",
        "- speech-emotion-recognition",
        "dataset_info:",
        "  features:",
        *(
            f"  - name: {yaml_text(field.name)}\n    dtype: {_TYPES.get(str(field.type), str(field.type))}"
            for field in table.schema
        ),
        "  - name: features",
        "    dtype:",
        "      array2_d:",
        "        shape:",
        "        - null",
        f"        - {store.dim}",
        "        dtype: float32",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
        f"# {snapshot.corpus}: features of emotional speech",
        "",
        f"{len(store)} utterances, {snapshot.counts['seconds'] / 3600:.2f} hours, extracted by emodna as"
        f" `{snapshot.feature_set}`: `features` is float32 (frames, {store.dim}) of each.",
        "",
        *_counts(table),
        "## Licence and citation",
        "",
        *_block(f"{snapshot.licence}\n\n{snapshot.citation}"),
        "",
        "## How it was made",
        "",
        *_block(about_json(snapshot)),
        "",
    ]
    return "\n".join(lines)


def _counts(table: pa.Table) -> list[str]:
    """How often each label occurs, as tables in Markdown."""
    lines = []
    for column in ("emotion", "arousal", "valence", "gender"):
        counts = sorted((str(row["values"]), row["counts"]) for row in pc.value_counts(table[column]).to_pylist())
        values = ["unknown" if value == "None" else value for value, _ in counts]
        lines += [
            f"| {column} | {' | '.join(values)} |",
            "|---" * (len(counts) + 1) + "|",
            f"| utterances | {' | '.join(str(count) for _, count in counts)} |",
            "",
        ]
    return lines


def _block(text: str) -> list[str]:
    """Text from outside, indented: Markdown takes nothing in it for its own."""
    return [f"    {line}" for line in text.splitlines()]


FORMAT: Final = Format(
    suffix="-hf",
    own_files=re.compile(r"data/train-\d{5}\.parquet|" + re.escape(_CARD)),
    always=frozenset({_CARD, "data/train-00000.parquet"}),
    write=_write,
    load='dataset = datasets.load_dataset({place!r}, split="train")',
)
