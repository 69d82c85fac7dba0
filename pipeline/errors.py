"""What goes wrong for a reason that a user can mend. The commands print each as one line, without a traceback."""


class EmodnaError(Exception):
    """One clear line: which file or option, what is wrong with it, what is valid."""


class AudioError(EmodnaError):
    """One recording cannot be used; the others can. Its text becomes the reason in the list of rejected files."""


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
