"""Methods that other packages bring: looked at before they are used, so that what is wrong with one is told at once."""

import dataclasses
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Final

from emodna.model.config import RecordConfig, TrainConfig, check_keys
from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method, Phase
from emodna.pipeline import plugins


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_frozen(value: object) -> bool:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    parameters: Any = value.__dataclass_params__  # type: ignore[attr-defined]
    return bool(parameters.frozen)


def _are_phases(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, Phase) for each in value)


#: What each class attribute must be.
_ATTRIBUTES: Final[Sequence[tuple[str, str, Callable[[object], bool]]]] = (
    ("reference", "a line of text", _is_line),
    ("summary", "a line of text", _is_line),
    ("our_reading", "True or False", lambda value: isinstance(value, bool)),
    ("min_dim", "a whole number, at least 1", _is_count),
    ("min_frames", "a whole number, at least 1", _is_count),
    ("phases", "some `Phase`", _are_phases),
    ("defaults", "a frozen dataclass, made", _is_frozen),
)


def loaded(entry: EntryPoint) -> type[Method]:
    """Import the method that an entry point names.

    Raises
    ------
    PluginError
        It cannot be used; names the distribution that brought it.
    """
    kind = plugins.load(entry, Method)  # type: ignore[type-abstract]
    for name, says, holds in _ATTRIBUTES:
        if not hasattr(kind, name):
            raise plugins.broken(entry, f"{entry.value} has no `{name}`, {says}")
        if not holds(value := getattr(kind, name)):
            raise plugins.broken(entry, f"{entry.value} has the `{name}` {value!r:.60}: must be {says}")
    try:
        check_keys(kind.defaults, TrainConfig(), RecordConfig())
    except ConfigError as error:
        raise plugins.broken(entry, f"{entry.value}: defaults: {error}") from error
    return kind
