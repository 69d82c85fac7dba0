"""Load plug-ins: classes that other packages announce by entry points."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeVar

from emodna.pipeline.errors import EmodnaError, PluginError

Kind = TypeVar("Kind")

#: Pattern of names that are valid folder names in any file system.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
#: Rule of `is_valid_name`, for error messages.
NAME_RULE: Final = "lower-case letters, digits, - and _, not start with - or _, and not be `all`"


def is_valid_name(name: str) -> bool:
    """Return True if a corpus, feature set or method may have this name. `all` is reserved."""
    return _NAME.fullmatch(name) is not None and name != "all"


def find_entry_points(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name, sorted; of equal names, the first on the path. Imports nothing."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        entries.setdefault(entry.name, entry)
    return dict(sorted(entries.items()))


def load(entry: EntryPoint, base: type[Kind], *, name_attribute: str = "name") -> type[Kind]:
    """Import and check the subclass of `base` that an entry point names. Raises `PluginError`.

    Its class attribute `name_attribute` must equal the name of the entry point.
    """
    if not is_valid_name(entry.name):
        raise make_plugin_error(entry, f"not a valid name: must consist of {NAME_RULE}")
    try:
        kind = entry.load()
    except (Exception, SystemExit) as error:  # an imported module may raise anything
        raise make_plugin_error(entry, f"cannot import {entry.value}: {describe_error(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise make_plugin_error(entry, f"{entry.value} is not a subclass of {base.__name__}")
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        raise make_plugin_error(entry, f"{entry.value} does not define {missing}")
    if (name := getattr(kind, name_attribute, None)) != entry.name:
        reason = f"{entry.value} has the {name_attribute} {name!r}, but its entry point {entry.name!r}"
        raise make_plugin_error(entry, reason)
    return kind


@contextmanager
def wrap_plugin_errors(entry: EntryPoint, call: str) -> Iterator[None]:
    """Raise errors of the plug-in code in this block as `PluginError`, except an `EmodnaError`."""
    try:
        yield
    except EmodnaError:
        raise
    except Exception as error:
        raise make_plugin_error(entry, f"{call} fails: {describe_error(error)}") from error


def make_plugin_error(entry: EntryPoint, reason: str) -> PluginError:
    """Return a `PluginError` that names the plug-in and its package."""
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return PluginError(f"plug-in{package} cannot be used: {reason}", where=entry.name)


def describe_error(error: BaseException) -> str:
    """Return kind and text of an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
