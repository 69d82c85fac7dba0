"""The terms of the objective while a method is trained."""

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.steps import over_steps
from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment


def picture(bench: Experiment, choice: Choice) -> Picture:
    """Each term as it is weighted, and their total, over the steps."""
    return over_steps(
        bench,
        choice,
        "losses",
        "Terms of the loss over the steps",
        None,
        y_label="loss",
        note="Terms with their weights, each of one batch, and so they are noisy.",
    )
