"""Registry of the methods of emodna and of other packages. Listing their names does not import torch."""

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emodna.model.errors import ConfigError, RunError
from emodna.pipeline import plugins
from emodna.pipeline.errors import PluginError, Remedy

if TYPE_CHECKING:
    from emodna.model.methods.base import Method

_LOG: Final = logging.getLogger(__name__)

ENTRY_POINTS: Final = "emodna.methods"
"""Group of entry points through which other packages add methods."""

_LOCATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "source-only": ("source_only", "SourceOnly"),
    "svm": ("svm", "Svm"),
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
"""Module and class of each method, in the order of lists."""


class _LazyMethods(Mapping[str, "type[Method]"]):
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
"""Methods of emodna, each imported at its first use. An entry point cannot replace one."""


def get_method(name: str) -> "type[Method]":
    """Import and return a method. Raise a ConfigError if it is unknown, a PluginError if its package is broken."""
    if name in METHODS:
        if ignored := plugins.find_entry_points(ENTRY_POINTS).get(name):
            _LOG.warning("method %s: emodna has one; ignoring %s, give it another name", name, ignored.value)
        return METHODS[name]
    check_method_name(name)
    from emodna.model.methods.catalog import load_plugin_method

    return load_plugin_method(plugins.find_entry_points(ENTRY_POINTS)[name])


def load_method_of_run(path: Path, name: object, package: object = None) -> "type[Method]":
    """Return the method of a run's file. Raise a RunError with its `package` ({name: version}) if it is missing."""
    if not isinstance(name, str) or name not in list_method_names():
        packages = [" ".join(map(str, each)) for each in package.items()] if isinstance(package, dict) else []
        origin = " of ".join(f"{each!a:.60}" for each in (name, *packages))
        raise RunError(f"made by the method {origin}, which is not installed", where=path)
    try:
        return get_method(name)
    except PluginError as error:
        raise RunError(str(error), where=path) from error


def find_package(name: str) -> dict[str, str]:
    """Return name and version of the package that adds a method; empty for a method of emodna."""
    entry = _find_entry_point(name)
    return {entry.dist.name: entry.dist.version} if entry and entry.dist else {}


def wrap_plugin_errors(name: str, call: str) -> AbstractContextManager[None]:
    """Turn exceptions within the context into a PluginError if another package adds the method."""
    entry = _find_entry_point(name)
    return plugins.wrap_plugin_errors(entry, f"{entry.value} {call}") if entry else nullcontext()


def check_method_name(name: str, *, in_spec: bool = False) -> None:
    """Raise a ConfigError if the method is unknown. `in_spec`: the name is part of a method spec."""
    if name in (valid := list_method_names()):
        return
    field, (base, _, addition) = "methods" if in_spec else "method", name.partition("+")
    if base in valid and addition == "scl":
        suggestion = f"{base}:add=scl" if in_spec else f"{{method={base}}} {{add=scl}}"
        raise ConfigError("unknown", field=field, value=name, remedy=Remedy(f"did you mean {suggestion}?"))
    if ":" in name and not in_spec:
        remedy = Remedy("give only the method's name, set add with {add} and other keys with {settings}")
        raise ConfigError("a method spec", field=field, value=name, remedy=remedy)
    raise ConfigError("unknown", field=field, value=name, valid=valid)


def list_method_names() -> list[str]:
    """Return the names of all methods, those of other packages last. Imports nothing."""
    return [*METHODS, *(name for name in plugins.find_entry_points(ENTRY_POINTS) if name not in METHODS)]


def load_methods() -> "Mapping[str, type[Method] | PluginError]":
    """Import all methods. The value of a broken one is its error."""
    methods: dict[str, type[Method] | PluginError] = {}
    for name in list_method_names():
        try:
            methods[name] = get_method(name)
        except PluginError as error:
            methods[name] = error
    return methods


def _find_entry_point(name: str) -> EntryPoint | None:
    return None if name in METHODS else plugins.find_entry_points(ENTRY_POINTS).get(name)
