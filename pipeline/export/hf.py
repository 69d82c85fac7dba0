"""A folder for Hugging Face datasets: Parquet files, and the card that tells what their columns are."""

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
    for number, blocks in groupby(base.numbered_blocks(store), key=itemgetter(0)):
        file = data / f"train-{number:05}.parquet"
        with open_writer(file, schema, "features.list.element.list.element") as writer:
            for _, rows, features in blocks:
                part = table.slice(rows.start, rows.stop - rows.start)
                starts = np.arange(0, features.size + 1, features.shape[1])
                frames = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(features.ravel()))
                ends = pa.array(np.cumsum([0, *store.frames[rows]]), pa.int32())
                lists = pa.ListArray.from_arrays(ends, frames)
                writer.write_table(pa.table([*part.columns, lists], schema=schema))
                told(len(part))


def _card(store: FeatureStore, table: pa.Table) -> str:
    """Write the card: YAML for the hub and its library, and a text for people."""
    snapshot = store.snapshot
    if known := _CREATIVE_COMMONS.fullmatch(snapshot.licence):
        licence = f"license: cc-{known[1].lower()}-{known[4]}\n"
    else:
        licence = f"license: other\nlicense_name: {quote_yaml(snapshot.licence)}\n"
    spoken = sorted(pc.unique(table["language"].drop_null()).to_pylist())
    languages = "".join(["language:\n" * bool(spoken), *(f"- {quote_yaml(each)}\n" for each in spoken)])
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
`{snapshot.feature_set}`: `features` is float32 (frames, {store.dim}) of each.

{_counts(table)}
## Licence and citation

{_block(snapshot.licence, "", snapshot.citation)}
## How it was made

{_block(about_json(snapshot))}"""


def _counts(table: pa.Table) -> str:
    """Count each label, as tables in Markdown."""
    tables = ""
    for column in ("emotion", "arousal", "valence", "gender"):
        counts = sorted((str(row["values"]), row["counts"]) for row in pc.value_counts(table[column]).to_pylist())
        values = " | ".join("unknown" if value == "None" else value for value, _ in counts)
        numbers = " | ".join(str(count) for _, count in counts)
        tables += f"| {column} | {values} |\n{'|---' * (len(counts) + 1)}|\n| utterances | {numbers} |\n\n"
    return tables


def _block(*lines: str) -> str:
    """Indent text from outside: Markdown takes nothing in it for its own."""
    return "".join(f"    {line}\n" for text in lines for line in text.splitlines() or [""])


FORMAT: Final = Format(
    suffix="-hf",
    own_files=re.compile(r"data/train-\d{5}\.parquet|" + re.escape(_CARD)),
    always=frozenset({_CARD, "data/train-00000.parquet"}),
    write=_write,
    load='dataset = datasets.load_dataset({place!r}, split="train")',
)
