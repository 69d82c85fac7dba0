"""Feature sets of other packages, which entry points of the group `emodna.features` name."""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib.metadata import EntryPoint
from typing import Any, Final

from emodna.pipeline import plugins
from emodna.pipeline.errors import EmodnaError, PluginError, is_system_error
from emodna.pipeline.features.base import SILENCE_DB, FeatureSet

ENTRY_POINTS: Final = "emodna.features"
"""Group of entry points through which other packages add feature sets."""

#: Titles that are the beginning of a folder name in any file system.
_TITLE: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
#: Properties of a feature set that are positive whole numbers.
_SIZES: Final = ("sample_rate", "hop_length", "min_samples", "dim")


def find_entry(kind: str) -> EntryPoint | None:
    """Return the entry point of a kind of features; None if no installed package has it. Imports nothing."""
    return plugins.find_entry_points(ENTRY_POINTS).get(kind)


def load_plugin(entry: EntryPoint) -> FeatureSet:
    """Import, check and return the default configuration of a feature set. Raises `PluginError`."""
    kind = plugins.load(entry, FeatureSet, name_attribute="kind")  # type: ignore[type-abstract]
    parameters = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise plugins.make_plugin_error(entry, f"{entry.value} is not a frozen dataclass")
    required = [each.name for each in fields(kind) if each.init and each.default is each.default_factory is MISSING]
    if required:
        raise plugins.make_plugin_error(entry, f"{entry.value} has no default for {', '.join(required)}")
    with plugins.wrap_plugin_errors(entry, entry.value):
        default = kind()
        if (problem := _find_problem(default)) is not None:
            raise plugins.make_plugin_error(entry, f"{entry.value}: {problem}")
    return default


def rebuild_plugin(entry: EntryPoint, parameters: Mapping[str, Any]) -> FeatureSet:
    """Return the feature set of an entry point with these parameters. Raises `PluginError`: it has no such one."""
    default = load_plugin(entry)
    with plugins.wrap_plugin_errors(entry, entry.value):
        if (rebuilt := _rebuild(default, parameters)) is not None:
            return rebuilt
    raise plugins.make_plugin_error(entry, "it has no features with these parameters; install the version that had")


def explain_error(kind: str, error: Exception) -> PluginError | None:
    """Return the error for an exception of an extraction, which names the package of the features.

    None for features of this package, failures of the system, and errors that explain themselves.
    """
    entry = find_entry(kind)
    if entry is None or isinstance(error, EmodnaError | MemoryError) or is_system_error(error):
        return None
    reason = f"{entry.value}.transform() fails: {plugins.describe_error(error)}"
    return plugins.make_plugin_error(entry, reason)


def make_missing_error(kind: object) -> PluginError:
    """Return the error for features that no feature set of this installation has."""
    remedy = "install the package that has this entry point, or a version of emodna that has these features"
    return PluginError(f"no installed package has an entry point of the group {ENTRY_POINTS} with this name",
                       where=f"features {kind!a:.60}", remedy=remedy)  # fmt: skip


def _find_problem(features: FeatureSet) -> str | None:
    """Return the first property of a default configuration that is not usable; None if there is none."""
    for name in _SIZES:
        value = getattr(features, name)
        if type(value) is not int or value < 1:
            return f"{name} must be a positive int, not {value!r}"
    if not isinstance(features.title, str) or not _TITLE.fullmatch(features.title):
        return f"title must consist of lower-case letters, digits, ., - and _, not {features.title!r}"
    if features.has_silence and (shape := features.silence(SILENCE_DB).shape) != (features.dim,):
        return f"silence() must return (dim,), not {shape}; set has_silence to False if silence has no known features"
    if not f"{features.title}-".startswith(f"{features.kind}-"):
        return f"title must be {features.kind}, or begin with {features.kind}-, not {features.title}"
    if not isinstance(getattr(features, "value", None), str):
        return "value must be a str, the name of one value of a frame"
    parameters = features.parameters()
    for name, parameter in parameters.items():
        if not (parameter is None or isinstance(parameter, str | int | float | bool)):
            return f"parameter {name} must be a str, int, float, bool or None, not {type(parameter).__name__}"
    absent = [each.name for each in fields(features) if each.compare and each.name not in (*parameters, "trim_db")]
    if absent or _rebuild(features, json.loads(json.dumps(parameters))) != features:
        return "parameters() must have each field under its own name" + "".join(f", also {name}" for name in absent)
    return None


def _rebuild(default: FeatureSet, parameters: Mapping[str, Any]) -> FeatureSet | None:
    names = {each.name for each in fields(default) if each.init}
    # Parameters leave out a cut of silence that is off.
    values = {"trim_db": None, **{name: value for name, value in parameters.items() if name in names}}
    candidate = type(default)(**values)
    return candidate if candidate.parameters() == dict(parameters) else None
