"""The stores that a run was trained on, where they are still there and the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emodna.model.runs.listing import Run
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.store import FeatureStore, layout


@dataclass(frozen=True, slots=True)
class RunData:
    """One store of a run."""

    corpus: str
    path: str | None
    fingerprint: str | None
    """That the run found; None if its configuration does not say."""
    state: Literal["same", "changed", "gone", "damaged", "not known"]
    store: FeatureStore | None
    """The store, where it is the same."""


def corpora(run: Run) -> list[str]:
    """Names of the corpora that a run was trained on, sources first."""
    stores = run.config.get("stores")
    return list(stores) if isinstance(stores, dict) else []


def trained_on(run: Run, corpus: str) -> RunData:
    """Look for a store that a run was trained on."""
    stores, fingerprints = run.config.get("stores"), run.decisive.get("fingerprints")
    path = stores.get(corpus) if isinstance(stores, dict) else None
    fingerprint = fingerprints.get(corpus) if isinstance(fingerprints, dict) else None
    if not isinstance(path, str) or not isinstance(fingerprint, str):
        return RunData(corpus, None, None, "not known", None)
    try:
        if not (Path(path) / layout.STORE_JSON).exists():
            return RunData(corpus, path, fingerprint, "gone", None)
        store = FeatureStore(Path(path))
    except (EmodnaError, OSError, ValueError):
        return RunData(corpus, path, fingerprint, "damaged", None)
    if store.fingerprint != fingerprint:
        return RunData(corpus, path, fingerprint, "changed", None)
    return RunData(corpus, path, fingerprint, "same", store)
