"""UMAP of the emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2)."""

from typing import Final

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.feature_panels import feature_panels
from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment, MethodSpec

_NAME: Final = "features-methods"
_PANELS: Final = {
    MethodSpec("cdan"): "CDAN",
    MethodSpec("addi"): "ADDi (our reading)",
    MethodSpec("difl"): "DIFL (our reading)",
    MethodSpec("emo-dna"): "Emo-DNA",
}


def picture(bench: Experiment, choice: Choice) -> Picture:
    """The figure; raises as `feature_panels`."""
    return feature_panels(_NAME, "Emotion features by method", bench, choice, _PANELS)
