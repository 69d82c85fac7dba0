"""Errors that a user can fix: what is wrong, where, and what is valid or what to do."""

import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Final


class Action:
    """Something that fixes an error when it is run; each subclass says what with its fields."""


@dataclass(frozen=True)
class PrepareCorpus(Action):
    """Prepare a corpus."""

    corpus: str | None = None
    """Name of the corpus's store; None: any corpus."""
    cache: Path | None = None
    """Cache folder; None: the default one."""
    feature_set: str | None = None
    """None: the default one."""
    reread: bool = False
    """Read all recordings again, also those that look unchanged."""

    @classmethod
    def of_store(cls, store: Path, *, reread: bool = False) -> "PrepareCorpus":
        """Return the action that makes the store of this path again."""
        return cls(store.parent.name, store.parent.parent, store.name, reread=reread)


@dataclass(frozen=True)
class Remedy:
    """What to do about an error: a clause whose {names} stand for parameters, and the action it describes, if any.

    A name in braces is a parameter of the Python API, with or without a value: "set {resume=True} to continue". The
    command line words it as its option. The text is a literal: names of files never come into it.
    """

    text: str
    action: Action | None = None


def _name_parameter(field: str, value: object) -> str:
    """Return a parameter with its value, in Python's words."""
    return field if value is None else f"{field}={value}"


class EmodnaError(Exception):
    """One problem that a user can fix. Its text is one line: where, what is wrong, what is valid, what to do.

    Parameters
    ----------
    problem
        What is wrong, as a clause.
    where
        Path, row, corpus, worker or package that has the problem.
    field, value
        Parameter of the Python API that caused it, and its value; the command line names its option instead.
    valid
        Values that the parameter takes.
    remedy
        What to do: plain text, or a `Remedy` if it names parameters or an action.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: object = None,
        field: str | None = None,
        value: object = None,
        valid: Collection[object] = (),
        remedy: Remedy | str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.field = field
        self.value = value
        self.valid = tuple(map(str, valid))
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the error in the words of the Python API."""
        return self.word(_name_parameter, lambda _action: None)

    def word(
        self,
        name_parameter: Callable[[str, object], str],
        word_action: Callable[[Action], str | None],
    ) -> str:
        """Return the error as one line, with parameters and actions in the words of these functions."""
        place = [] if self.where is None else [str(self.where)]
        if self.field is not None:
            place.append(name_parameter(self.field, self.value))
        parts = [": ".join([*place, self.problem])]
        wrong = self.where if self.value is None else self.value
        if isinstance(wrong, str) and (near := get_close_matches(wrong.lower(), self.valid, 1)):
            parts.append(f"did you mean {near[0]}?")
        if self.valid:
            parts.append(f"valid: {', '.join(self.valid)}")
        if isinstance(self.remedy, str):
            parts.append(self.remedy)
        elif self.remedy is not None:
            text = "".join(
                literal + ("" if name is None else name_parameter(*_split(name)))
                for literal, name, _format, _conversion in Formatter().parse(self.remedy.text)
            )
            command = None if self.remedy.action is None else word_action(self.remedy.action)
            parts.append(text if command is None else f"{text}: {command}")
        return "; ".join(parts)


def _split(name: str) -> tuple[str, str | None]:
    """Return the name and the value of "name=value"."""
    field, equals, value = name.partition("=")
    return field, value if equals else None


class AudioError(EmodnaError):
    """One recording cannot be used; the others can. Its text becomes the reason in the list of rejected files."""


#: What reading one recording raises if that recording cannot be used.
RECORDING_ERRORS: Final = (AudioError, OSError, ValueError)


def rejection(error: AudioError | OSError | ValueError) -> str:
    """Return why a recording cannot be used, for the list of rejected files; a ValueError is of an impossible path."""
    if isinstance(error, AudioError):
        return str(error)
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of errors, those that this system knows."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_NETWORK_NAMES: Final = (
    *("ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNRESET"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
)
_MACHINE: Final = _numbers(
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "ENOLCK", "ENOSPC", "EDQUOT", "ENODEV"), *_NETWORK_NAMES
)
_NO_FILE: Final = _numbers("ENOENT", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENXIO")

_ADVICE: Final = {
    "free some space or choose another place": _numbers("ENOSPC", "EDQUOT", "EFBIG"),
    "raise the limit of open files (ulimit -n)": _numbers("EMFILE", "ENFILE"),
    "free some memory or use fewer workers": _numbers("ENOMEM"),
    "make it writable or choose another place": _numbers("EROFS"),
    "check its permissions": _numbers("EACCES", "EPERM"),
    "check the disk": _numbers("EIO", "EBADMSG", "EUCLEAN"),
    "check the network and its mounts": _numbers(*_NETWORK_NAMES),
}


def is_system_error(error: Exception) -> bool:
    """Return True if an error tells of the machine at this moment, such as no memory, and not of the file it met."""
    return isinstance(error, OSError) and error.errno in _MACHINE


def is_read_error(error: Exception) -> bool:
    """Return True if an error tells of a file that is there, but cannot be read."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE


def explain_os_error(error: OSError) -> str:
    """Return what the system says, and what a user can do about it."""
    advice = next((what for what, numbers in _ADVICE.items() if error.errno in numbers), None)
    return ": ".join(filter(None, [error.strerror or str(error), advice]))


class CorpusError(EmodnaError):
    """A root, a manifest or a corpus name that cannot be used."""


class PluginError(EmodnaError):
    """Something that another package adds cannot be used; its text names that package."""


class DownloadError(EmodnaError):
    """A published corpus that could not be got."""


class StoreError(EmodnaError):
    """A feature store that is missing, damaged or locked."""


class UnreadableStoreError(StoreError):
    """A store that cannot be read at the moment; nothing says that it is damaged."""


class ForeignStoreError(StoreError):
    """A sound store that is not the one asked for: of another format version, corpus or configuration."""


class ExportError(EmodnaError):
    """A place where no export can be written."""


class WorkerError(EmodnaError):
    """Workers that cannot be used, here or in a cluster, or a cluster that is not there."""
