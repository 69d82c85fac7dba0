"""Write a folder of tar files for WebDataset: for each utterance, the features as .npy and the row as .json."""

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from emodna.pipeline.export import base
from emodna.pipeline.export.base import ExportFormat, format_origin, select_columns, simplify_columns
from emodna.pipeline.store import FeatureStore

#: Largest length of a key that is a valid file name on every system.
_MAX_KEY_LENGTH: Final = 120
_ORIGIN_FILE: Final = "about.json"


def make_key(utterance_id: str) -> str:
    """Return the key of an utterance: its id with all but ASCII letters, digits, `_`, `-` and `~` encoded as %XX.

    Dots are encoded since WebDataset takes the first dot for the start of the suffix. A long id is cut, and its hash is
    appended.
    """
    key = quote(utterance_id, safe="", errors="surrogatepass").replace(".", "%2E")
    if len(key) > _MAX_KEY_LENGTH:
        digest = hashlib.sha256(utterance_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        key = f"{key[: _MAX_KEY_LENGTH - len(digest) - 1]}-{digest}"
    return key


def _write(store: FeatureStore, folder: Path, on_progress: Callable[[int], None]) -> None:
    table = simplify_columns(select_columns(store))
    (folder / _ORIGIN_FILE).write_text(format_origin(store.snapshot), encoding="utf-8")
    for number, blocks in groupby(base.number_blocks(store), key=itemgetter(0)):
        with tarfile.open(folder / f"{number:06}.tar", "w") as tar:
            for _, rows, features in blocks:
                start = 0
                for row in table.slice(rows.start, rows.stop - rows.start).to_pylist():
                    key, stop = make_key(row["id"]), start + row["frames"]
                    content = io.BytesIO()
                    np.save(content, features[start:stop], allow_pickle=False)
                    _add_file(tar, f"{key}.npy", content.getvalue())
                    values = {name: None if _is_not_finite(value) else value for name, value in row.items()}
                    _add_file(tar, f"{key}.json", json.dumps(values).encode())
                    start = stop
                on_progress(rows.stop - rows.start)


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of constant owner and time stamp
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


FORMAT: Final = ExportFormat(
    suffix="-webdataset",
    own_files=re.compile(rf"\d{{6}}\.tar|{re.escape(_ORIGIN_FILE)}"),
    always=frozenset({_ORIGIN_FILE, "000000.tar"}),
    write=_write,
    load="samples = webdataset.WebDataset(sorted(glob.glob({place!r} + '/*.tar')), shardshuffle=False).decode()",
)
