"""A user's own recordings: what their corpora share, and a folder of them without labels."""

import re
from pathlib import Path, PurePosixPath

from emodna.pipeline.archives import ARCHIVE_SUFFIXES
from emodna.pipeline.audio import AUDIO_SUFFIXES
from emodna.pipeline.corpora.base import Corpus, CorpusFacts, PathCorpus, Skip, Utterance
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.plugins import is_valid_name


class Own(Corpus):
    """Recordings that no publication describes. Raises `CorpusError`: a name that no corpus may have."""

    def __init__(self, name: str, *, title: str, layout: str) -> None:
        if not is_valid_name(name):
            raise CorpusError(f"--name {name}: only lower-case letters, digits, - and _ are valid, and not `all`")
        self.name = name
        emotions = {emotion: emotion for emotion in EMOTIONS}
        self.facts = CorpusFacts(title=title, licence="the user's own", layout=layout, emotions=emotions)


class Recordings(Own, PathCorpus):
    """Every recording below a folder or in an archive, unlabelled; a recording's id is its path."""

    suffixes = AUDIO_SUFFIXES

    def __init__(self, place: Path, name: str) -> None:
        super().__init__(name, title=f"own recordings in {place.name}", layout="recordings in any folders")

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Take any recording."""
        return Utterance(id=str(path), path=str(path))


def default_name(place: Path) -> str:
    """Name a corpus after its table's, folder's or archive's file name."""
    name = place.resolve().name.lower()
    ending = next((each for each in ARCHIVE_SUFFIXES if name.endswith(each)), place.suffix.lower())
    stem = name if place.is_dir() else name.removesuffix(ending)
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "own"
