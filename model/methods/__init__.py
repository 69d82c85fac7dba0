"""The methods, by name. A new one is one file here and one line below, or comes with another package.

A method's module needs torch, so it is imported when the method is asked for; the names alone cost nothing.
"""

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emodna.model.errors import ConfigError, RunError
from emodna.pipeline import plugins
from emodna.pipeline.errors import PluginError

if TYPE_CHECKING:
    from emodna.model.methods.base import Method

_LOG: Final = logging.getLogger(__name__)

ENTRY_POINTS: Final = "emodna.methods"
"""Group of entry points by which other packages add theirs."""

_LOCATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "source-only": ("source_only", "SourceOnly"),
    "clstm": ("clstm", "Clstm"),
    "dann": ("dann", "Dann"),
    "dan": ("dan", "Dan"),
    "jan": ("jan", "Jan"),
    "cdan": ("cdan", "Cdan"),
    "cdan+e": ("cdan", "CdanE"),
    "bsp": ("bsp", "Bsp"),
    "addi": ("addi", "Addi"),
    "saddi": ("saddi", "Saddi"),
    "difl": ("difl", "Difl"),
    "caam": ("caam", "Caam"),
    "mdd": ("mdd", "Mdd"),
    "emo-dna": ("emo_dna", "EmoDna"),
    "v1": ("ablations", "V1"),
    "v2": ("ablations", "V2"),
    "v3": ("ablations", "V3"),
    "v4": ("ablations", "V4"),
    "v5": ("ablations", "V5"),
    "upper-bound": ("upper_bound", "UpperBound"),
}
"""Module and class of each, in the order in which they are listed."""


class _LazyMethods(Mapping[str, "type[Method]"]):
    """The table above, with each method imported at its first use."""

    def __getitem__(self, name: str) -> "type[Method]":
        module, kind = _LOCATIONS[name]
        found: type[Method] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _LOCATIONS

    def __iter__(self) -> Iterator[str]:
        return iter(_LOCATIONS)

    def __len__(self) -> int:
        return len(_LOCATIONS)


METHODS: Final[Mapping[str, "type[Method]"]] = _LazyMethods()
"""Those of this package. An entry point cannot replace one."""


def method(name: str) -> "type[Method]":
    """Import and return the method of this name; `ConfigError` if there is none, `PluginError` if it is unusable."""
    if name in METHODS:
        if hidden := plugins.find_entry_points(ENTRY_POINTS).get(name):
            _LOG.warning("%s: that of emodna, not of %s: a method of its own needs another name", name, hidden.value)
        return METHODS[name]
    check_method_name(name)
    from emodna.model.methods.catalog import load_plugin_method

    return load_plugin_method(plugins.find_entry_points(ENTRY_POINTS)[name])


def load_method_of_run(path: Path, name: object, package: object = None) -> "type[Method]":
    """Return the method that made a file or folder, of the package that it had then; else raise a `RunError`."""
    if not isinstance(name, str) or name not in list_method_names():
        brought = [" ".join(map(str, each)) for each in package.items()] if isinstance(package, dict) else []
        told = " of ".join(f"{each!a:.60}" for each in (name, *brought))
        raise RunError(f"{path}: made by the method {told}, which is not installed here")
    try:
        return method(name)
    except PluginError as error:
        raise RunError(f"{path}: {error}") from error


def find_package(name: str) -> dict[str, str]:
    """Return the other package that brings a method, with its version; empty for a method of this one."""
    entry = _find_entry_point(name)
    return {entry.dist.name: entry.dist.version} if entry and entry.dist else {}


def wrap_plugin_errors(name: str, what: str) -> AbstractContextManager[None]:
    """Turn every failure in here into a `PluginError` that names the package, if another one brings the method."""
    entry = _find_entry_point(name)
    return plugins.wrap_plugin_errors(entry, f"{entry.value} {what}") if entry else nullcontext()


def check_method_name(name: str, *, option: str = "--method", adding: str = "--method {} --add scl") -> None:
    """Refuse an unknown method name with a `ConfigError`, in a user's words for the option and for adding L_SCL."""
    if name not in (valid := list_method_names()):
        base, _, added = name.partition("+")
        near = get_close_matches(name.lower(), valid, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        if base in valid and added == "scl":
            hint = f"; did you mean {adding.format(base)}?"
        raise ConfigError(f"{option} {name}: unknown{hint}; valid: {', '.join(valid)}")


def list_method_names() -> list[str]:
    """Return the names of all methods, those of other packages last. Nothing is imported."""
    return [*METHODS, *(name for name in plugins.find_entry_points(ENTRY_POINTS) if name not in METHODS)]


def load_methods() -> "Mapping[str, type[Method] | PluginError]":
    """Import all methods, by name; in place of one that cannot be used stands the reason."""
    found: dict[str, type[Method] | PluginError] = {}
    for name in list_method_names():
        try:
            found[name] = method(name)
        except PluginError as error:
            found[name] = error
    return found


def _find_entry_point(name: str) -> EntryPoint | None:
    """Return the entry point of a method; None for those of this package."""
    return None if name in METHODS else plugins.find_entry_points(ENTRY_POINTS).get(name)
