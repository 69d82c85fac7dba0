"""Errors that a user can mend. The commands print each as one line, without a traceback."""

import errno
from typing import Final


class EmodnaError(Exception):
    """One clear line: which file or option, what is wrong with it, what is valid."""


class AudioError(EmodnaError):
    """One recording cannot be used; the others can. Its text becomes the reason in the list of rejected files."""


#: What reading one recording raises if that recording cannot be used.
UNUSABLE: Final = (AudioError, OSError, ValueError)


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


def of_the_machine(error: Exception) -> bool:
    """Return True if an error tells of the machine at this moment, such as no memory, and not of the file it met."""
    return isinstance(error, OSError) and error.errno in _MACHINE


def of_an_existing_file(error: Exception) -> bool:
    """Return True if an error tells of a file that is there, but cannot be read."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE


def explained(error: OSError) -> str:
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
