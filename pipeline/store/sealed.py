"""Side files: Arrow tables behind their own SHA-256, since Arrow's reader trusts what it reads."""

import hashlib
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.feather

from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import layout

_DIGEST_SIZE: Final = hashlib.sha256().digest_size


def write_sealed(path: Path, table: pa.Table) -> None:
    """Write a table atomically."""
    sink = pa.BufferOutputStream()
    pyarrow.feather.write_feather(table, sink)
    content = sink.getvalue().to_pybytes()
    write_atomically(path, hashlib.sha256(content).digest() + content)


def read_sealed(path: Path, schema: pa.Schema | None = None) -> pa.Table | None:
    """Read what `write_sealed` wrote; None if it is missing or damaged, or no whole table of `schema`, if given."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        table = pyarrow.feather.read_table(pa.BufferReader(content))
    except (pa.ArrowException, ValueError, OSError):  # sealed by something else
        return None
    whole = schema is None or (table.schema.equals(schema) and not any(each.null_count for each in table.columns))
    return table if whole else None


def side_files(store: Path) -> list[Path]:
    """The side files that lie in a store."""
    return sorted(path for path in store.glob(f"**/*{layout.SEALED_SUFFIX}") if path.is_file())
