"""The adaptive threshold of the pseudo-labels, and how many pass it."""

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.steps import over_steps
from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment


def picture(bench: Experiment, choice: Choice) -> Picture:
    """Threshold (Eq. 6) and share of the target batch that reaches it (Eq. 7) over the steps."""
    return over_steps(
        bench,
        choice,
        "threshold",
        "Pseudo-labels over the steps",
        {"threshold": "threshold", "confident": "confident share"},
        y_label="confidence, share",
        note="The threshold follows the mean confidence (Eq. 6); the share is of one target batch, and so it is noisy.",
    )
