"""What has been worked out of a finished cell, kept in `<out>/analysis/<name>.json` until what it rests on changes."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import RunError
from emodna.model.run_folder import read_json, write_json

_KEY: Final = "of"
_FOUND: Final = "found"


def remembered(bench: Experiment, name: str, section: str, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` returns, made once for each key; plain values that JSON can hold.

    Parameters
    ----------
    name
        Of the file: that of a cell, or of a pair.
    section
        What is asked for; a file has several.
    key
        Everything that decides the answer, as JSON holds it.
    """
    path = bench.out / "analysis" / f"{name}.json"
    kept = _kept(path)
    entry = kept.get(section)
    if isinstance(entry, dict) and entry.get(_KEY) == key and _FOUND in entry:
        return entry[_FOUND]
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Read again: what another process has found meanwhile stays.
    write_json(path, {**_kept(path), section: {_KEY: key, _FOUND: found}})
    return found


def model_key(bench: Experiment, cell: RunSpec) -> str:
    """SHA-256 of a finished cell's model: one that was trained anew is another."""
    return hashlib.sha256(bench.run_folder(cell).finished_model().read_bytes()).hexdigest()


def _kept(path: Path) -> dict[str, Any]:
    """Content of a file; nothing where it is missing or damaged, for then it is made anew."""
    try:
        return read_json(path)
    except RunError:
        return {}
