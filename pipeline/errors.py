"""What goes wrong for a reason that a user can mend. The commands print each as one line, without a traceback."""

from typing import Final


class EmodnaError(Exception):
    """One clear line: which file or option, what is wrong with it, what is valid."""


class AudioError(EmodnaError):
    """One recording cannot be used; the others can. Its text becomes the reason in the list of rejected files."""


#: What reading one recording raises if that recording cannot be used.
UNUSABLE: Final = (AudioError, OSError, ValueError)


def rejection(error: AudioError | OSError | ValueError) -> str:
    """Why a recording cannot be used, in the words of the list of rejected files.

    A ValueError is about a path that no file can have.
    """
    if isinstance(error, AudioError):
        return str(error)
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


class CorpusError(EmodnaError):
    """A root, a manifest or a corpus name that cannot be used."""


class PluginError(EmodnaError):
    """Something that another package adds cannot be used; its text names that package."""


class DownloadError(EmodnaError):
    """A published corpus that could not be got."""


class StoreError(EmodnaError):
    """A feature store that is missing, damaged or locked."""


class ForeignStoreError(StoreError):
    """A sound store that is not the one asked for: of another format version, corpus or configuration."""


class ClusterError(EmodnaError):
    """A cluster, or one of its workers, that cannot be used."""
