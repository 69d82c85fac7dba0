"""Write a folder for Hugging Face datasets: Parquet files and a dataset card."""

import re
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.cards import quote_yaml
from emodna.pipeline.export import base
from emodna.pipeline.export.base import ExportFormat, format_origin, select_columns, simplify_columns
from emodna.pipeline.export.parquet import open_writer
from emodna.pipeline.store import FeatureStore

_TAKEN: Final = ("features",)
_CARD_FILE: Final = "README.md"
#: Licences that have an identifier on the hub.
_CREATIVE_COMMONS: Final = re.compile(r"CC (BY(-NC)?(-SA|-ND)?) (\d\.\d)")
#: Arrow type -> different name of the type on the hub.
_TYPES: Final = {"float": "float32", "double": "float64"}


def _write(store: FeatureStore, folder: Path, on_progress: Callable[[int], None]) -> None:
    table = simplify_columns(select_columns(store, taken=_TAKEN))
    (folder / _CARD_FILE).write_text(_format_card(store, table), encoding="utf-8")
    data = folder / "data"
    data.mkdir()
    schema = table.schema.append(pa.field("features", pa.list_(pa.list_(pa.float32()))))
    for number, blocks in groupby(base.number_blocks(store), key=itemgetter(0)):
        file = data / f"train-{number:05}.parquet"
        with open_writer(file, schema, "features.list.element.list.element") as writer:
            for _, rows, features in blocks:
                part = table.slice(rows.start, rows.stop - rows.start)
                starts = np.arange(0, features.size + 1, features.shape[1])
                frames = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(features.ravel()))
                ends = pa.array(np.cumsum([0, *store.frames[rows]]), pa.int32())
                lists = pa.ListArray.from_arrays(ends, frames)
                writer.write_table(pa.table([*part.columns, lists], schema=schema))
                on_progress(len(part))


def _format_card(store: FeatureStore, table: pa.Table) -> str:
    snapshot = store.snapshot
    if match := _CREATIVE_COMMONS.fullmatch(snapshot.licence):
        licence = f"license: cc-{match[1].lower()}-{match[4]}\n"
    else:
        licence = f"license: other\nlicense_name: {quote_yaml(snapshot.licence)}\n"
    names = sorted(pc.unique(table["language"].drop_null()).to_pylist())
    languages = "".join(["language:\n" * bool(names), *(f"- {quote_yaml(name)}\n" for name in names)])
    columns = "\n".join(
        f"  - name: {quote_yaml(field.name)}\n    dtype: {_TYPES.get(str(field.type), str(field.type))}"
        for field in table.schema
    )
    return f"""---
pretty_name: {quote_yaml(f"{snapshot.corpus}, {snapshot.feature_set}")}
{licence}{languages}tags:
- audio
- speech-emotion-recognition
dataset_info:
  features:
{columns}
  - name: features
    dtype:
      array2_d:
        shape:
        - null
        - {store.dim}
        dtype: float32
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
# {snapshot.corpus}: features of emotional speech

{len(store)} utterances, {snapshot.counts["seconds"] / 3600:.2f} hours, extracted by emodna as \
`{snapshot.feature_set}`. The column `features` is float32 (frames, {store.dim}).

{_format_counts(table)}
## Licence and citation

{_indent(snapshot.licence, "", snapshot.citation)}
## How it was made

{_indent(format_origin(snapshot))}"""


def _format_counts(table: pa.Table) -> str:
    tables = ""
    for column in ("emotion", "arousal", "valence", "gender"):
        rows = sorted((str(row["values"]), str(row["counts"])) for row in pc.value_counts(table[column]).to_pylist())
        values = " | ".join("unknown" if value == "None" else value for value, _ in rows)
        counts = " | ".join(count for _, count in rows)
        tables += f"| {column} | {values} |\n{'|---' * (len(rows) + 1)}|\n| utterances | {counts} |\n\n"
    return tables


def _indent(*lines: str) -> str:
    """Indent text, so that Markdown does not interpret it."""
    return "".join(f"    {line}\n" for text in lines for line in text.splitlines() or [""])


FORMAT: Final = ExportFormat(
    suffix="-hf",
    own_files=re.compile(r"data/train-\d{5}\.parquet|" + re.escape(_CARD_FILE)),
    always=frozenset({_CARD_FILE, "data/train-00000.parquet"}),
    write=_write,
    load='dataset = datasets.load_dataset({place!r}, split="train")',
)
