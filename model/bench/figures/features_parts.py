"""UMAP of the emotion features of Emo-DNA without some of its parts (the paper's Figure 3).

The panels are those of the figure's description: (c) is without L_decouple, which the paper's Table 4 calls V3 and its
text V4; (b) is without L_align, V4 in the table.
"""

from typing import Final

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.feature_panels import feature_panels
from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment, MethodSpec

_NAME: Final = "features-parts"
_PANELS: Final = {
    MethodSpec("v2"): "(a) without L_decouple and L_align (v2)",
    MethodSpec("v4"): "(b) without L_align (v4)",
    MethodSpec("v3"): "(c) without L_decouple (v3)",
    MethodSpec("emo-dna"): "(d) Emo-DNA",
}


def picture(bench: Experiment, choice: Choice) -> Picture:
    """The figure; raises as `feature_panels`."""
    return feature_panels(_NAME, "Emotion features by parts of Emo-DNA", bench, choice, _PANELS)
