"""Classes that other packages add by entry points. Each is imported only when it is asked for, or all are listed."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeVar

from emodna.pipeline.errors import EmodnaError, PluginError

Kind = TypeVar("Kind")

#: Names that are a folder's on any system.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def is_valid_name(name: str) -> bool:
    """Return True if a corpus, feature set or method may have this name: not `all`, by which a command takes each."""
    return _NAME.fullmatch(name) is not None and name != "all"


def find_entry_points(group: str) -> Mapping[str, EntryPoint]:
    """Return a group's entry points in order of name, the first on the path of each; imports none of them."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


def load(entry: EntryPoint, base: type[Kind]) -> type[Kind]:
    """Import the subclass of `base` that an entry point names, with its `name`, or raise a `PluginError`."""
    if not is_valid_name(entry.name):
        raise make_plugin_error(entry, "not a valid name: only lower-case letters, digits, - and _ are, and not `all`")
    try:
        kind = entry.load()
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise make_plugin_error(entry, f"cannot import {entry.value}: {_describe_error(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise make_plugin_error(entry, f"{entry.value} is not a subclass of {base.__name__}")
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        raise make_plugin_error(entry, f"{entry.value} does not define {missing}")
    if (name := getattr(kind, "name", None)) != entry.name:
        raise make_plugin_error(
            entry, f"{entry.value} calls itself {name!r}, its entry point {entry.name!r}: make them the same"
        )
    return kind


@contextmanager
def wrap_plugin_errors(entry: EntryPoint, what: str) -> Iterator[None]:
    """Call an entry point's class in here; a failure is a `PluginError`, but a user's mistake stays as it is."""
    try:
        yield
    except EmodnaError:
        raise
    except Exception as error:
        raise make_plugin_error(entry, f"{what} fails: {_describe_error(error)}") from error


def make_plugin_error(entry: EntryPoint, reason: str) -> PluginError:
    """Return what is wrong with an entry point, beside the distribution that is to blame."""
    brought = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return PluginError(f"{entry.name}: the plug-in{brought} is broken: {reason}")


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
