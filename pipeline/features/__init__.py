"""Feature sets by name. To add one, add a file with a frozen dataclass here and a line to `FEATURE_SETS`.

Or write a plug-in in another package.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final, Literal

from emodna.pipeline import plugins
from emodna.pipeline.audio.provenance import remove_provenance
from emodna.pipeline.errors import EmodnaError, Remedy
from emodna.pipeline.features.base import SILENCE_DB, FeatureSet
from emodna.pipeline.features.egemaps import EgemapsSet
from emodna.pipeline.features.encoder import EncoderSet, describe_assumptions, describe_encoder
from emodna.pipeline.features.imported import ImportedSet
from emodna.pipeline.features.logmel import LogMelSet
from emodna.pipeline.features.mfcc import MfccSet
from emodna.pipeline.features.plugin import ENTRY_POINTS, find_entry, load_plugin, make_missing_error, rebuild_plugin
from emodna.pipeline.features.wave import WaveSet

__all__ = [
    "DEFAULT_FEATURE_SET",
    "FEATURE_SETS",
    "SILENCE_DB",
    "EgemapsSet",
    "EncoderSet",
    "FeatureSet",
    "ImportedSet",
    "LogMelSet",
    "MfccSet",
    "WaveSet",
    "describe_assumptions",
    "find_packages",
    "list_feature_set_names",
    "load_feature_set",
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

#: Further feature sets, which have no default configuration. Stores and models hold them.
_UNNAMED: Final[tuple[FeatureSet, ...]] = (EncoderSet(), ImportedSet())
#: Kinds of this package. A plug-in cannot replace one.
_OWN_KINDS: Final = frozenset(each.kind for each in (*FEATURE_SETS.values(), *_UNNAMED))


def list_feature_set_names() -> list[str]:
    """Return the names of all feature sets, those of other packages last. Imports nothing."""
    taken = {*FEATURE_SETS, *_OWN_KINDS}
    return [*FEATURE_SETS, *(name for name in plugins.find_entry_points(ENTRY_POINTS) if name not in taken)]


def load_feature_set(name: str) -> FeatureSet:
    """Return the feature set of this name in its default configuration.

    Raises `EmodnaError`: unknown name. Raises `PluginError`: unusable plug-in.
    """
    if name in FEATURE_SETS:
        return FEATURE_SETS[name]
    if name == ImportedSet.kind:
        raise EmodnaError(
            "needs embeddings", field="feature_set", value=name, remedy=Remedy("give their file with {features_from}")
        )
    if name not in (names := list_feature_set_names()):
        raise EmodnaError("unknown feature set", field="feature_set", value=name, valid=[*names, EncoderSet.kind])
    return load_plugin(plugins.find_entry_points(ENTRY_POINTS)[name])


def find_packages(features: FeatureSet) -> tuple[str, ...]:
    """Return the further packages whose versions affect the features, such as the one that a plug-in comes from."""
    entry = None if features.kind in _OWN_KINDS else find_entry(features.kind)
    return tuple(dict.fromkeys([*([entry.dist.name] if entry and entry.dist else []), *features.packages]))


def make_feature_set(
    name: str,
    *,
    fixed_samples: int | None = None,
    trim_db: float | Literal["default"] | None = "default",
    encoder: str | None = None,
    layer: str | None = None,
) -> FeatureSet:
    """Return the feature set of this name with these options; raise an `EmodnaError` if there is none.

    `trim_db` is that of the set by default, and None to cut no silence. `encoder` and `layer` are those of
    `describe_encoder`, for the set "encoder" alone.
    """
    if name == EncoderSet.kind:
        if encoder is None:
            remedy = "give its name, an ONNX file, a folder, or REPOSITORY@COMMIT on the Hugging Face hub"
            raise EmodnaError("needs an encoder", field="feature_set", value=name, remedy=remedy)
        default: FeatureSet = describe_encoder(encoder, layer)
    else:
        for field, value in (("encoder", encoder), ("layer", layer)):
            if value is not None:
                advice = Remedy(f"use {{feature_set={EncoderSet.kind}}}")
                raise EmodnaError("needs features of an encoder", field=field, value=value, remedy=advice)
        default = load_feature_set(name)
    trim_db = default.trim_db if trim_db == "default" else trim_db
    if trim_db is not None and not 0 < trim_db < math.inf:
        raise EmodnaError("must be above 0 dB", field="trim", value=f"{trim_db:g}")
    return replace(default, fixed_samples=fixed_samples, trim_db=trim_db)


def rebuild_feature_set(parameters: Mapping[str, Any], location: str | None = None) -> FeatureSet:
    """Rebuild a feature set from its `parameters()`, or those of a store or an old model, which also hold a provenance.

    `location` is that of the weights, if it is known. Raises `EmodnaError`: this version has no such set. Raises
    `PluginError`: they are of another package, which is missing, unusable or of another version.
    """
    parameters = remove_provenance(parameters)
    for default in (*FEATURE_SETS.values(), *_UNNAMED):
        names = [each.name for each in fields(default) if each.compare and each.name in parameters]
        values = {"trim_db": None} | {name: parameters[name] for name in names}
        if all(_is_valid(value, getattr(default, name)) for name, value in values.items()):
            candidate = replace(default, **values, location=location)
            if candidate.parameters() == parameters:
                return candidate
    kind = parameters.get("features")
    if isinstance(kind, str) and kind not in _OWN_KINDS:
        if (entry := find_entry(kind)) is None:
            raise make_missing_error(kind)
        return replace(rebuild_plugin(entry, parameters), location=location)
    raise EmodnaError("unknown feature parameters: this version cannot extract these features")


def _is_valid(value: object, default: object) -> bool:
    """Return True if a field with this default may have this value: a text, or a number that is not negative."""
    if isinstance(default, str):
        return isinstance(value, str)
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)
