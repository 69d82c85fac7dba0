"""What answers that look at nothing score, from the counts of the target's classes. It needs no torch."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import numpy as np

from emodna.model.bench.scores import Scores
from emodna.model.bench.wording import class_name
from emodna.model.metrics import SCORES, scores_of
from emodna.pipeline.emotions import Task

CONSTANTS: Final = ("always_high", "always_low", "majority")
"""Names, as in result.json. The majority knows the target's labels."""


def constant_labels(tasks: Iterable[Task]) -> Mapping[str, str]:
    """The constants in the words of some tasks."""
    tasks = tuple(tasks)
    labels = (f"always {class_name(tasks, 1)}", f"always {class_name(tasks, 0)}", "target majority (oracle)")
    return dict(zip(CONSTANTS, labels, strict=True))


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
