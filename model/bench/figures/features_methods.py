"""UMAP of the emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2)."""

from typing import Final

from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.feature_panels import feature_panels
from emodna.model.bench.pictures import Picture
from emodna.model.bench.plan import Bench
from emodna.model.bench.rows import Row

_NAME: Final = "features-methods"
_PANELS: Final = {
    Row("cdan"): "CDAN",
    Row("addi"): "ADDi (our reading)",
    Row("difl"): "DIFL (our reading)",
    Row("emo-dna"): "Emo-DNA",
}


def picture(bench: Bench, choice: Choice) -> Picture:
    """The figure; raises as `feature_panels`."""
    return feature_panels(_NAME, "Emotion features by method", bench, choice, _PANELS)
