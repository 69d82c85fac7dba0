"""Versions of what shapes the bytes of a store."""

import importlib.metadata
import platform
from typing import Final

#: What shapes the features.
_OF_FEATURES: Final = ("emodna", "numpy", "scipy", "soundfile", "soxr", "torch", "librosa")
#: What writes them to disk.
_OF_FILES: Final = ("h5py", "pyarrow")


def feature_versions() -> dict[str, str]:
    """Of what shapes the features: two machines where these agree may work on one store."""
    import soundfile
    import soxr

    versions = {name: importlib.metadata.version(name) for name in _OF_FEATURES}
    # The packages bring these along, or use those of the system.
    versions |= {"libsndfile": soundfile.__libsndfile_version__, "libsoxr": soxr.__libsoxr_version__}
    return versions | {"machine": f"{platform.system()} {platform.machine()}"}


def library_versions() -> dict[str, str]:
    """Of all that shapes a store."""
    files = {name: importlib.metadata.version(name) for name in _OF_FILES}
    return feature_versions() | files | {"python": platform.python_version()}
