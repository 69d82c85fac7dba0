"""Feature sets by name. To add one, add a file with a frozen dataclass here, and a line to `FEATURE_SETS`."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final, Literal

from emodna.pipeline.audio.provenance import remove_provenance
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features.base import SILENCE_DB, FeatureSet
from emodna.pipeline.features.egemaps import EgemapsSet
from emodna.pipeline.features.logmel import LogMelSet
from emodna.pipeline.features.mfcc import MfccSet
from emodna.pipeline.features.wave import WaveSet

__all__ = [
    "DEFAULT_FEATURE_SET",
    "FEATURE_SETS",
    "SILENCE_DB",
    "EgemapsSet",
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
    "egemaps": EgemapsSet(),
}
"""Name -> default configuration."""
DEFAULT_FEATURE_SET: Final = "mfcc40"


def make_feature_set(
    name: str, *, fixed_samples: int | None = None, trim_db: float | Literal["default"] | None = "default"
) -> FeatureSet:
    """Return the feature set of this name with these options; raise an `EmodnaError` if there is none.

    `trim_db` is that of the set by default, and None to cut no silence.
    """
    if name not in FEATURE_SETS:
        raise EmodnaError("unknown feature set", field="feature_set", value=name, valid=FEATURE_SETS)
    default = FEATURE_SETS[name]
    trim_db = default.trim_db if trim_db == "default" else trim_db
    if trim_db is not None and not 0 < trim_db < math.inf:
        raise EmodnaError("must be above 0 dB", field="trim", value=f"{trim_db:g}")
    return replace(default, fixed_samples=fixed_samples, trim_db=trim_db)


def rebuild_feature_set(parameters: Mapping[str, Any], location: str | None = None) -> FeatureSet:
    """Rebuild a feature set from its `parameters()`, or those of a store or an old model, which also hold a provenance.

    `location` is that of the weights, if it is known. Raises `EmodnaError`: this version has no such set.
    """
    parameters = remove_provenance(parameters)
    for default in FEATURE_SETS.values():
        names = [each.name for each in fields(default) if each.compare and each.name in parameters]
        values = {"trim_db": None} | {name: parameters[name] for name in names}
        if all(_is_valid(value, getattr(default, name)) for name, value in values.items()):
            candidate = replace(default, **values, location=location)
            if candidate.parameters() == parameters:
                return candidate
    raise EmodnaError("unknown feature parameters: this version cannot extract these features")


def _is_valid(value: object, default: object) -> bool:
    """Return True if a field with this default may have this value: a text, or a number that is not negative."""
    if isinstance(default, str):
        return isinstance(value, str)
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)
