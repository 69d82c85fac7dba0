"""How the prototypes of Emo-DNA lie to each other while it is trained."""

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.steps import over_steps
from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment


def picture(bench: Experiment, choice: Choice) -> Picture:
    """Cosines of the prototypes of Eq. 4 that stand in Eq. 5."""
    return over_steps(
        bench,
        choice,
        "prototypes",
        "Prototypes over the steps",
        {
            "prototypes_emotion": "emotion of source and target",
            "prototypes_source": "emotion and corpus of the source",
            "prototypes_target": "emotion and corpus of the target",
        },
        y_label="cosine",
        note=(
            "Of unit vectors at a cosine of c the distance is sqrt(2 - 2c). L_decouple pulls the first up and pushes "
            "the others down; it is all but 0 once they are a few tau_p (0.01 by default) apart."
        ),
    )
