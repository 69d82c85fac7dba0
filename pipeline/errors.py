"""Errors that a user can fix, as data: problem, place, parameter, valid values and remedy."""

import errno
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Final


class Action:
    """A step that fixes an error. Subclasses are frozen dataclasses; their fields are the step's parameters."""


@dataclass(frozen=True)
class PrepareCorpus(Action):
    """Prepare a corpus."""

    corpus: str | None = None
    """Name of the corpus's store; None: any corpus."""
    cache: Path | None = None
    """Cache folder; None: the default one."""
    feature_set: str | None = None
    """Feature set; None: the default one."""
    reread: bool = False
    """True to read all recordings again, including those that look unchanged."""
    channel: int = 0
    """Channel of the recordings; by default that of the existing store, or in its name (calls-channel1)."""
    bandwidth: float | None = None
    """Frequency in Hz above which the audio is removed; by default that of the existing store, or in its name."""
    parameters: Mapping[str, object] | None = field(default=None, compare=False)
    """Parameters of the features; by default those of a store of this feature set in the cache."""
    location: str | None = field(default=None, compare=False)
    """Place of the weights or of the file that these features need."""

    @classmethod
    def of_store(cls, store: Path, *, reread: bool = False) -> "PrepareCorpus":
        """Return the action that rebuilds the store at this path."""
        return cls(store.parent.name, store.parent.parent, store.name, reread=reread)


@dataclass(frozen=True)
class Remedy:
    """Advice on an error: a clause with parameters in braces, and optionally the action that it describes.

    A name in braces is a parameter of the Python API, with or without a value: "set {resume=True} to continue". The
    command line replaces it with its option. The text is a literal, because file names may contain braces.
    """

    text: str
    action: Action | None = None


def _name_parameter(field: str, value: object) -> str:
    return field if value is None else f"{field}={value}"


#: Greatest number of valid values that an error lists besides a suggestion.
_MAX_VALID: Final = 25


def find_similar(name: str, valid: Collection[str], limit: int = 1, cutoff: float = 0.65) -> list[str]:
    """Return the valid names that are similar to a name in any case, the most similar first."""
    lowered = {each.lower(): each for each in valid}
    return [lowered[match] for match in get_close_matches(name.lower(), lowered, limit, cutoff)]


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural, such as "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class EmodnaError(Exception):
    """A problem that a user can fix. Its text is one line: place, problem, valid values, remedy.

    Parameters
    ----------
    problem
        The problem, as a clause.
    where
        Path, row, corpus, worker or package that has the problem.
    field, value
        Parameter of the Python API that caused the problem, and its value. The command line names its option instead.
    valid
        Valid values of the parameter.
    remedy
        Advice: plain text, or a `Remedy` if it names parameters or an action.
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
        """Return the error as one line that names parameters of the Python API."""
        return self.word(_name_parameter, lambda _action: None)

    def word(self, name_parameter: Callable[[str, object], str], word_action: Callable[[Action], str | None]) -> str:
        """Return the error as one line; the given functions word its parameters and actions."""
        place = [] if self.where is None else [str(self.where)]
        if self.field is not None:
            place.append(name_parameter(self.field, self.value))
        parts = [": ".join([*place, self.problem])]
        name = self.where if self.value is None else self.value
        if self.valid:
            similar = find_similar(name, self.valid) if isinstance(name, str) else []
            question = [f"did you mean {similar[0]}?"] if similar else []
            listed = [] if similar and len(self.valid) > _MAX_VALID else [f"valid: {', '.join(self.valid)}"]
            parts.append(" ".join(question + listed))
        if isinstance(self.remedy, str):
            parts.append(self.remedy)
        elif self.remedy is not None:
            text = ""
            for literal, parameter, _format, _conversion in Formatter().parse(self.remedy.text):
                text += literal
                if parameter is not None:
                    field, _equals, value = parameter.partition("=")
                    text += name_parameter(field, value or None)
            command = None if self.remedy.action is None else word_action(self.remedy.action)
            parts.append(text if command is None else f"{text}: {command}")
        return "; ".join(parts)


def check_list(field: str, values: object, *single: type) -> None:
    """Raise an EmodnaError if a parameter that takes several values has one.

    A text or bytes would be read as a list of letters. `single` are further types of one value.
    """
    if isinstance(values, (str, bytes, os.PathLike, *single)):
        raise EmodnaError("must be a list", field=field, value=values, remedy="put a single value into a list")


class AudioError(EmodnaError):
    """One unusable recording. Its text is the reason in the list of rejected files; other recordings go on."""


#: Errors that one unusable recording raises.
RECORDING_ERRORS: Final = (AudioError, OSError, ValueError)


def explain_rejection(error: AudioError | OSError | ValueError) -> str:
    """Return the reason for the list of rejected files. A ValueError means a path that no system can open."""
    if isinstance(error, AudioError):
        return str(error)
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _select_errnos(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_NETWORK_NAMES: Final = (
    *("ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNRESET"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
)
_SYSTEM_ERRNOS: Final = _select_errnos(
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "ENOLCK", "ENOSPC", "EDQUOT", "ENODEV"), *_NETWORK_NAMES
)
_NO_FILE_ERRNOS: Final = _select_errnos("ENOENT", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENXIO")

_ADVICE: Final = {
    "free some space or choose another place": _select_errnos("ENOSPC", "EDQUOT", "EFBIG"),
    "raise the limit of open files (ulimit -n)": _select_errnos("EMFILE", "ENFILE"),
    "free some memory or use fewer workers": _select_errnos("ENOMEM"),
    "make it writable or choose another place": _select_errnos("EROFS"),
    "check its permissions": _select_errnos("EACCES", "EPERM"),
    "check the disk": _select_errnos("EIO", "EBADMSG", "EUCLEAN"),
    "check the network and its mounts": _select_errnos(*_NETWORK_NAMES),
}


def is_system_error(error: Exception) -> bool:
    """Return True if the system failed for a passing reason, such as no memory: the file itself may be sound."""
    return isinstance(error, OSError) and error.errno in _SYSTEM_ERRNOS


def is_read_error(error: Exception) -> bool:
    """Return True if a file exists but cannot be read."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE_ERRNOS


def explain_os_error(error: OSError) -> str:
    """Return the system's message and, for known errors, advice."""
    advice = next((text for text, numbers in _ADVICE.items() if error.errno in numbers), None)
    return "; ".join(filter(None, [error.strerror or str(error), advice]))


class CorpusError(EmodnaError):
    """An unusable root, manifest or corpus name."""


class PluginError(EmodnaError):
    """An unusable plug-in of another package. The error names the package."""


class EncoderError(EmodnaError):
    """A missing or unusable speech encoder, or a hidden state that it does not have."""


class DownloadError(EmodnaError):
    """A failed download of a published corpus."""


class StoreError(EmodnaError):
    """A missing, damaged or locked feature store."""


class UnreadableStoreError(StoreError):
    """A store that the system cannot read at the moment. It may be intact."""


class ForeignStoreError(StoreError):
    """An intact store of another format version, corpus or configuration."""


class ExportError(EmodnaError):
    """An unusable place for an export."""


class WorkerError(EmodnaError):
    """A dead or unusable worker, or an unreachable cluster."""


class DeadWorkerError(WorkerError):
    """A worker that died during a task. Another worker may survive the task."""
