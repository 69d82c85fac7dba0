"""Where the errors are: scores of each emotion, speaker, gender and language."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import SCORES, confusions, scores_of
from emodna.pipeline.inspect.balance import UNKNOWN, coded
from emodna.pipeline.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Groups:
    """Confusions of utterances, by what one column of the index says of them."""

    names: tuple[str, ...]
    """Sorted; `unknown` for those of which it says nothing."""
    confusions: NDArray[np.int64]
    """(names, 4)"""

    @classmethod
    def by(cls, column: str, store: FeatureStore, rows: NDArray[np.int64], truth: Any, predicted: Any) -> Self:
        """Group the utterances in some rows by a column, with truth and predictions (rows,)."""
        group, names = coded(store.columns([column])[column])
        counts = confusions(truth, predicted, group[rows], len(names))
        present = [place for place in np.argsort(names).tolist() if counts[place].any()]
        return cls(tuple(names[place] for place in present), counts[present])

    @property
    def unknown(self) -> int:
        """How many utterances the column says nothing of."""
        return int(self.confusions[self.names.index(UNKNOWN)].sum()) if UNKNOWN in self.names else 0

    def emotions(self) -> dict[str, Any]:
        """Of each emotion: `count`, `label`, and in percent `called_high` and `recall`.

        An emotion is of one class; where a corpus has it otherwise, label and recall are null.
        """
        found = {}
        for name, counts in zip(self.names, self.confusions, strict=True):
            mixed, label = counts[:2].any() and counts[2:].any(), int(counts[2:].any())
            called_high = 100 * float(counts[1] + counts[3]) / float(counts.sum())
            found[name] = {
                "count": int(counts.sum()),
                "label": None if mixed else label,
                "called_high": called_high,
                "recall": None if mixed else called_high if label else 100 - called_high,
            }
        return found

    def scores(self) -> dict[str, Any]:
        """Of each group: `count`, how many are `high`, and the scores in percent; null the UAR of a single class."""
        found = {}
        for name, counts, row in zip(self.names, self.confusions, scores_of(self.confusions).tolist(), strict=True):
            count, high = int(counts.sum()), int(counts[2:].sum())
            found[name] = {"count": count, "high": high, **dict(zip(SCORES, row, strict=True))}
            if high in (0, count):
                found[name]["uar"] = None
        return found
