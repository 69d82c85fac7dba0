"""What the benchmarks of preparation share: one preparation in this process, whose libraries are loaded."""

from collections.abc import Sequence
from pathlib import Path

from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare import Report, prepare
from emodna.pipeline.prepare.executors import local_workers
from emodna.pipeline.prepare.extract import Extraction, Outcome


class Silent:
    """Watches, and says nothing."""

    def waiting(self, store: Path) -> None:
        """Nothing."""

    def planned(self, recordings: int) -> None:
        """Nothing."""

    def examined(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing."""


def prepared(corpus: Corpus, root: Path, cache: Path, workers: int) -> Report:
    """Prepare a corpus with the default features."""
    return prepare(corpus, root, cache, Extraction(MfccSet()), Silent(), workers=local_workers(workers))
