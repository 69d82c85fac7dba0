"""What answers that look at nothing score, from the counts of the target's classes. It needs no torch."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np

from emodna.model.bench.scores import Scores
from emodna.model.metrics import SCORES, scores_of

CONSTANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "always_high": "always class 1",
        "always_low": "always class 0",
        "majority": "target majority (oracle)",
    }
)
"""Names, as in result.json -> in words. The majority knows the target's labels."""


@cache
def constant_scores(classes: tuple[int, int]) -> Mapping[str, Scores] | None:
    """Scores of each constant on a target with so many utterances of class 0 and of class 1; None if it has none."""
    low, high = classes
    if not low + high:
        return None
    # Confusions: class 0 called 0 and 1, then class 1 called 0 and 1.
    answers = {"always_high": [0, low, 0, high], "always_low": [low, 0, high, 0]}
    answers["majority"] = answers["always_high" if high >= low else "always_low"]
    found = scores_of(np.array(list(answers.values()))).tolist()
    return {name: dict(zip(SCORES, scores, strict=True)) for name, scores in zip(answers, found, strict=True)}
