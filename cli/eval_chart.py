"""Reliability curves as a picture."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emodna.cli.picture import NEUTRAL, STORES
from emodna.pipeline.emotions import CLASS_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(documents: Sequence[Mapping[str, Any]]) -> "Figure":
    """Of each corpus: how often class 1 is true against its probability, and below it how many utterances that are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.4 * len(documents), 4.6), layout="constrained")
    axes = figure.subplots(2, len(documents), sharex=True, squeeze=False, height_ratios=[3, 1])
    for number, (document, curve, histogram) in enumerate(zip(documents, *axes, strict=True)):
        rows, name = document["calibration"]["probability"], CLASS_NAMES[document["task"]][1]
        filled = [row for row in rows if row["count"]]
        means, shares = ([row[key] for row in filled] for key in ("mean", "share"))
        curve.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle="--")
        curve.vlines(means, means, shares, color=STORES[1], linewidth=1.5, alpha=0.6)
        curve.plot(means, shares, marker="o", markersize=4, color=STORES[0])
        curve.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        seen = f" ({document['seen']})" if document["seen"] else ""
        curve.set_title(f"{document['corpus']}{seen}: ECE {document['calibration']['ece']:.3f}", parse_math=False)
        counts = [row["count"] for row in rows]
        histogram.stairs(counts, [rows[0]["from"], *(row["to"] for row in rows)], fill=True, color=STORES[0])
        histogram.set(xlabel=f"probability of {name} {document['task']}")
        if number == 0:
            curve.set(ylabel=f"share that is {name}")
            histogram.set(ylabel="utterances")
    return figure
