"""Load and check methods of other packages, and describe all methods."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Final

import torch

from emodna.model.config import RecordConfig, TrainConfig, as_settings, check_keys
from emodna.model.errors import ConfigError
from emodna.model.methods import find_package, load_methods, wrap_plugin_errors
from emodna.model.methods.alignment import list_additions
from emodna.model.methods.base import Method, Phase, Supervision
from emodna.pipeline import plugins
from emodna.pipeline.errors import PluginError


@dataclasses.dataclass(frozen=True, slots=True)
class MethodInfo:
    """Attributes of a usable method: see `Method`."""

    method: str
    summary: str
    reference: str
    our_reading: bool
    oracle: bool
    """True if the method learns from target labels: an upper bound, not a competitor."""
    add: list[str]
    """Terms that can be added to the method."""
    package: Mapping[str, str]
    """Name and version of the package that adds the method; empty for a method of emodna."""
    settings: Mapping[str, Any]
    """Default of each setting."""


def describe_methods() -> dict[str, MethodInfo | PluginError]:
    """Describe all methods by name. The value of a broken one is its error."""
    infos: dict[str, MethodInfo | PluginError] = {}
    for name, kind in load_methods().items():
        try:
            infos[name] = (
                kind
                if isinstance(kind, PluginError)
                else MethodInfo(
                    method=name,
                    summary=kind.summary,
                    reference=kind.reference,
                    our_reading=kind.our_reading,
                    oracle=find_supervision(name, kind, kind.defaults) != "source",
                    add=list_additions(kind),
                    package=find_package(name),
                    settings=as_settings(kind.defaults),
                )
            )
        except PluginError as error:
            infos[name] = error
    return infos


def load_plugin_method(entry: EntryPoint) -> type[Method]:
    """Import the method of an entry point. Raise a PluginError that names its package if the method is invalid."""
    kind = plugins.load(entry, Method)  # type: ignore[type-abstract]
    for name, requirement, is_valid in _ATTRIBUTES:
        if not hasattr(kind, name):
            raise plugins.make_plugin_error(entry, f"{entry.value} has no `{name}`: must be {requirement}")
        if not is_valid(value := getattr(kind, name)):
            problem = f"{entry.value} has the `{name}` {value!r:.60}: must be {requirement}"
            raise plugins.make_plugin_error(entry, problem)
    try:
        inspect.signature(kind).bind(kind.min_dim, kind.defaults, 0, 2)
    except TypeError as error:
        problem = f"{entry.value}() must take (dim, config, seed, classes): add classes, the number of classes"
        raise plugins.make_plugin_error(entry, problem) from error
    try:
        check_keys(kind.defaults, TrainConfig(), RecordConfig())
    except ConfigError as error:
        raise plugins.make_plugin_error(entry, f"{entry.value}: defaults: {error}") from error
    return kind


def find_supervision(name: str, kind: type[Method], config: Any) -> Supervision:
    """Return the labels that a method learns from; raise a PluginError if another package's method is invalid."""
    # The property needs an instance, which takes no memory on the meta device.
    with wrap_plugin_errors(name, "()"), torch.device("meta"):
        return kind(kind.min_dim, config, 0, 2).supervision


def _is_line_of_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_frozen_dataclass(value: Any) -> bool:
    is_instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return is_instance and bool(value.__dataclass_params__.frozen)


def _are_phases(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, Phase) for each in value)


#: Class attributes of a method, with the requirement on each in words and as a predicate.
_ATTRIBUTES: Final[Sequence[tuple[str, str, Callable[[Any], bool]]]] = (
    ("reference", "a line of text", _is_line_of_text),
    ("summary", "a line of text", _is_line_of_text),
    ("our_reading", "True or False", lambda value: isinstance(value, bool)),
    ("min_dim", "a whole number, at least 1", _is_count),
    ("min_frames", "a whole number, at least 1", _is_count),
    ("phases", "a sequence of `Phase`, not empty", _are_phases),
    ("defaults", "an instance of a frozen dataclass", _is_frozen_dataclass),
)
