"""Feature sets by name. To add one, add a file with a frozen dataclass here, and a line to `FEATURE_SETS`."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from emodna.pipeline.audio.provenance import remove_provenance
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features.base import SILENCE_DB, FeatureSet
from emodna.pipeline.features.logmel import LogMelSet
from emodna.pipeline.features.mfcc import MfccSet
from emodna.pipeline.features.wave import WaveSet

__all__ = [
    "DEFAULT_FEATURE_SET",
    "FEATURE_SETS",
    "SILENCE_DB",
    "FeatureSet",
    "LogMelSet",
    "MfccSet",
    "WaveSet",
    "make_feature_set",
    "rebuild_feature_set",
]

FEATURE_SETS: Final[Mapping[str, FeatureSet]] = {
    "mfcc40": MfccSet(),
    "mfcc39": MfccSet(n_mfcc=39),
    "logmel": LogMelSet(),
    "wave16k": WaveSet(),
}
"""Name -> default configuration."""
DEFAULT_FEATURE_SET: Final = "mfcc40"


def make_feature_set(name: str, *, fixed_samples: int | None = None) -> FeatureSet:
    """Return the feature set of this name with this option; raise an `EmodnaError` if there is none."""
    if name not in FEATURE_SETS:
        raise EmodnaError("unknown feature set", field="feature_set", value=name, valid=FEATURE_SETS)
    return replace(FEATURE_SETS[name], fixed_samples=fixed_samples)


def rebuild_feature_set(parameters: Mapping[str, Any]) -> FeatureSet:
    """Rebuild a feature set from its `parameters()`, or those of a store or an old model, which also hold a provenance.

    Raises `EmodnaError`: this version has no such set.
    """
    parameters = remove_provenance(parameters)
    for default in FEATURE_SETS.values():
        values = {field.name: parameters[field.name] for field in fields(default) if field.name in parameters}
        if all(value is None or (type(value) in (int, float) and value >= 0) for value in values.values()):
            candidate = replace(default, **values)
            if candidate.parameters() == parameters:
                return candidate
    raise EmodnaError("unknown feature parameters: this version cannot extract these features")
