"""Load the methods that other packages bring, checked at once for what is wrong with them, and describe all methods."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Final

import torch

from emodna.model.config import RecordConfig, TrainConfig, as_settings, check_keys
from emodna.model.errors import ConfigError
from emodna.model.methods import find_package, load_methods, wrap_plugin_errors
from emodna.model.methods.alignment import list_additions
from emodna.model.methods.base import Method, Phase
from emodna.pipeline import plugins
from emodna.pipeline.errors import PluginError


@dataclasses.dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method that can be used."""

    method: str
    summary: str
    reference: str
    our_reading: bool
    """True if its layers are our reading of a paper that leaves them open."""
    oracle: bool
    """True if it learns from the target's labels: a bound, nothing to compare with."""
    add: list[str]
    """Terms that `--add` can add to it."""
    package: Mapping[str, str]
    """The other package that brings it, with its version; empty for a method of this one."""
    settings: Mapping[str, Any]
    """Its keys of `--set`, with their defaults."""


def describe_methods() -> dict[str, MethodInfo | PluginError]:
    """Describe all methods by name; in place of one that cannot be used stands the reason."""
    found: dict[str, MethodInfo | PluginError] = {}
    for name, kind in load_methods().items():
        try:
            found[name] = (
                kind
                if isinstance(kind, PluginError)
                else MethodInfo(
                    method=name,
                    summary=kind.summary,
                    reference=kind.reference,
                    our_reading=kind.our_reading,
                    oracle=_learns_from_target(name, kind),
                    add=list_additions(kind),
                    package=find_package(name),
                    settings=as_settings(kind.defaults),
                )
            )
        except PluginError as error:
            found[name] = error
    return found


def load_plugin_method(entry: EntryPoint) -> type[Method]:
    """Import the method of an entry point; a `PluginError` names the distribution of one that cannot be used."""
    kind = plugins.load(entry, Method)  # type: ignore[type-abstract]
    for name, says, holds in _ATTRIBUTES:
        if not hasattr(kind, name):
            raise plugins.make_plugin_error(entry, f"{entry.value} has no `{name}`, {says}")
        if not holds(value := getattr(kind, name)):
            raise plugins.make_plugin_error(entry, f"{entry.value} has the `{name}` {value!r:.60}: must be {says}")
    try:
        check_keys(kind.defaults, TrainConfig(), RecordConfig())
    except ConfigError as error:
        raise plugins.make_plugin_error(entry, f"{entry.value}: defaults: {error}") from error
    return kind


def _learns_from_target(name: str, kind: type[Method]) -> bool:
    """Tell if it learns from the target's labels by default."""
    if kind.supervision is Method.supervision:
        return False
    # That depends on the configuration, so it is asked of a method, which takes no memory here.
    with wrap_plugin_errors(name, "()"), torch.device("meta"):
        return kind(kind.min_dim, kind.defaults, 0).supervision != "source"


def _is_line_of_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_frozen_dataclass(value: Any) -> bool:
    made = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return made and bool(value.__dataclass_params__.frozen)


def _are_phases(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, Phase) for each in value)


#: Class attributes of a method, and the condition on each.
_ATTRIBUTES: Final[Sequence[tuple[str, str, Callable[[Any], bool]]]] = (
    ("reference", "a line of text", _is_line_of_text),
    ("summary", "a line of text", _is_line_of_text),
    ("our_reading", "True or False", lambda value: isinstance(value, bool)),
    ("min_dim", "a whole number, at least 1", _is_count),
    ("min_frames", "a whole number, at least 1", _is_count),
    ("phases", "some `Phase`", _are_phases),
    ("defaults", "a frozen dataclass, made", _is_frozen_dataclass),
)
