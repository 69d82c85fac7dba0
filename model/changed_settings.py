"""Settings of a run that differ from the defaults, for its label."""

import re
from collections.abc import Mapping
from typing import Any, Final

from emodna.model.config import as_settings
from emodna.model.evaluation.criteria import LAST
from emodna.model.feature_defaults import apply_run_settings, find_feature_defaults
from emodna.model.methods.base import DirectMethod, Method
from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS

#: Settings that change no result and may change at a resume.
NOT_DECISIVE: Final = ("checkpoint_seconds",)
#: Settings that change no result, so that labels leave them out.
_WITHOUT_EFFECT: Final = (*NOT_DECISIVE, "log_every")


def find_non_defaults(
    kind: type[Method], settings: Mapping[str, str], steps: int | None, feature_set: str, select: str = LAST
) -> dict[str, Any]:
    """Return the settings of a run that are not defaults, in the order of its label: those of the method first.

    Leave out settings that change no result. Values that follow from the data or from other settings are defaults.
    Defaults are those of the feature set, given its full name.
    """
    defaults = find_feature_defaults(feature_set)
    train, method_config, _ = apply_run_settings(settings, kind, feature_set)
    usual_train, usual_method, _ = apply_run_settings({}, kind, feature_set)
    changed = _find_changes(method_config, usual_method)
    if steps not in (None, defaults.steps) and not issubclass(kind, DirectMethod):
        changed["steps"] = steps
    if select != LAST:
        changed["select"] = select
    without_effect = (*_WITHOUT_EFFECT, "snapshot_every") if select == LAST else _WITHOUT_EFFECT
    without_effect = (*without_effect, *kind.unused_settings)
    changed |= {key: value for key, value in _find_changes(train, usual_train).items() if key not in without_effect}
    if defaults.window_seconds is not None and "frames" in settings:  # its default follows from the features
        changed["frames"] = train.frames
    if feature_set != FEATURE_SETS[DEFAULT_FEATURE_SET].name:
        changed["feature_set"] = _shorten_feature_set(feature_set)
    return changed


def _shorten_feature_set(name: str) -> str:
    """Return a feature set, given its full name, as a name of `FEATURE_SETS` or without its hash."""
    short_names = {each.name: short for short, each in FEATURE_SETS.items()}
    return short_names.get(name, re.sub("-[0-9a-f]{8}$", "", name))


def _find_changes(config: object, defaults: object) -> dict[str, Any]:
    usual = as_settings(defaults)
    return {key: value for key, value in as_settings(config).items() if value != usual[key]}
