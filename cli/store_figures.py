"""Pictures by matplotlib: features of an utterance, distributions of a store, and the shift between two."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emodna.cli.charts import envelope
from emodna.pipeline.emotions import CLASS_NAMES, TASKS
from emodna.pipeline.features import FeatureSet, rebuild_feature_set
from emodna.pipeline.inspect import balance
from emodna.pipeline.inspect.anomalies import is_silent
from emodna.pipeline.inspect.survey import Moments, described, mean_difference, overall, plane, survey
from emodna.pipeline.store import FeatureStore

#: Okabe & Ito's colours, told apart by everybody: two stores, two classes, and what has neither.
STORE_COLOURS: Final = ("#0072B2", "#D55E00")
_CLASSES: Final = ("#56B4E9", "#E69F00")
NEUTRAL_COLOUR: Final = "#999999"
_BINS: Final = 40
#: Least range of a histogram, in s or dB: what differs by less is alike.
_LEAST_RANGE: Final = 1.0
#: Speakers that a chart can name.
_NAMED: Final = 30
#: Points of a waveform: more than a picture has pixels, and no more than a line can have.
_COLUMNS: Final = 2000
#: Decorator that lets matplotlib take no text for a formula: names come from outside.
_no_formulas: Final = matplotlib.rc_context({"text.parse_math": False})


@_no_formulas
def features_figure(features: NDArray[np.float32], feature_set: FeatureSet, title: str) -> Figure:
    """Draw features [frames, dim] over time in s: as a curve, a heat map, or one below the other."""
    seconds = len(features) * feature_set.hop_length / feature_set.sample_rate
    figure = Figure(figsize=(8, 4), layout="constrained")
    # What has a scale of its own, c0 or a waveform, is a curve; the rest, if there is any, a heat map.
    curves = 1 if features.shape[1] == 1 or not feature_set.has_one_scale else 0
    maps = int(features.shape[1] > curves)
    axes = figure.subplots(curves + maps, 1, sharex=True, squeeze=False, height_ratios=[1] * curves + [3] * maps)[:, 0]
    if curves:
        axes[0].plot(*_thinned(features[:, 0], seconds), linewidth=1)
        axes[0].set(ylabel="c0" if maps else feature_set.value)
    if maps:
        extent = (0, seconds, curves - 0.5, features.shape[1] - 0.5)
        image = axes[-1].imshow(features[:, curves:].T, origin="lower", aspect="auto", extent=extent)
        axes[-1].set(ylabel=feature_set.value)
        figure.colorbar(image, ax=axes[-1], label=feature_set.unit)
    axes[0].set_title(title)
    axes[-1].set(xlabel="time (s)")
    return figure


def save_figure(figure: Figure, path: Path | BinaryIO, format: str) -> None:
    """Write a picture; whatever its names are written in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an id in a script that the font lacks
        figure.savefig(path, format=format, dpi=150)


def _thinned(samples: NDArray[np.float32], seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return times and values of a curve that looks like all samples, however many there are."""
    if len(samples) > 2 * _COLUMNS:
        samples = np.stack(envelope(samples, _COLUMNS), axis=1).reshape(-1)
    return np.linspace(0, seconds, len(samples)), samples


@_no_formulas
def distributions_figure(store: FeatureStore) -> tuple[Figure, dict[str, Any]]:
    """Draw labels, emotions, speakers, durations, peaks and features of one store, and the numbers behind them."""
    moments = overall(store)
    features = rebuild_feature_set(store.snapshot.parameters)
    table = store.columns(["duration", "emotion"])
    labels, speakers = balance.labels(store), balance.speakers(store)
    emotions = balance.counts(table["emotion"])
    durations = _histogram([table["duration"].to_numpy()])
    peaks = _histogram([store.peak_db[~is_silent(store)]])
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    figure.suptitle(
        f"{store.snapshot.corpus}: {len(store)} utterances, {speakers['known']} speakers, {store.snapshot.feature_set}"
    )
    _label_bars(axes[0], [labels], [""])
    _bars(axes[1], emotions, "emotions")
    _speaker_bars(axes[2], speakers)
    _steps(axes[3], durations, title="durations", xlabel="s", ylabel="utterances")
    _steps(axes[4], peaks, title="peaks", xlabel="dB", ylabel="utterances")
    _coefficients(axes[5], [moments], [""], features)
    numbers = {
        "labels": labels,
        "emotions": emotions,
        "speakers": speakers,
        "durations": durations,
        "peak_db": peaks,
        "features": _numbers(moments, features),
    }
    return figure, numbers


@_no_formulas
def shift_figure(store: FeatureStore, other: FeatureStore, task: str) -> tuple[Figure, dict[str, Any]]:
    """Draw two stores side by side: features and their difference, durations, labels, and utterances in a plane."""
    stores = [store, other]
    names = [each.snapshot.corpus for each in stores]
    names = names if names[0] != names[1] else [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    features = rebuild_feature_set(store.snapshot.parameters)
    surveys = [survey(each) for each in stores]
    moments = [each for each, _ in surveys]
    difference = mean_difference(*moments)
    labels = [balance.labels(each) for each in stores]
    durations = _histogram([each.columns(["duration"])["duration"].to_numpy() for each in stores], shares=True)
    rows, points, explained = plane([found for _, found in surveys])
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    figure.suptitle(f"{names[0]} and {names[1]}, {store.snapshot.feature_set}")
    _coefficients(figure.add_subplot(grid[0, :2]), moments, names, features)
    _label_bars(figure.add_subplot(grid[0, 2]), labels, names)
    axes = figure.add_subplot(grid[1, 0])
    axes.bar(np.arange(len(difference)), difference, color=NEUTRAL_COLOUR, width=0.9)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="standardised mean difference", xlabel=features.value, ylabel="deviations")
    where: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "top"}
    axes.annotate(f"above 0: {names[1]} is higher", (0.98, 0.97), **where, fontsize=8)
    axes = figure.add_subplot(grid[1, 1])
    _steps(axes, durations, names, title="durations", xlabel="s", ylabel="share of the utterances")
    shown = [each.labels(task)[chosen] for each, chosen in zip(stores, rows, strict=True)]
    _scatter(figure.add_subplot(grid[1, 2]), points, shown, names, task, explained)
    numbers = {
        "against": str(other.path),
        "task": task,
        "corpora": names,
        "features": [_numbers(each, features) for each in moments],
        "mean_difference": difference.tolist(),
        "labels": labels,
        "durations": durations,
        "plane": {
            "explained": explained,
            "utterances": [described(r, p, each.ids) for each, r, p in zip(stores, rows, points, strict=True)],
        },
    }
    return figure, numbers


def _numbers(moments: Moments, features: FeatureSet) -> dict[str, Any]:
    return {
        "value": features.value,
        "unit": features.unit,
        "frames": moments.frames,
        "mean": moments.mean.tolist(),
        "std": moments.std.tolist(),
    }


def _histogram(groups: Sequence[NDArray[Any]], *, shares: bool = False) -> dict[str, Any]:
    """Return counts of some groups of values in the same bins, or their shares."""
    together = np.concatenate(groups)
    low, high = (float(together.min()), float(together.max())) if len(together) else (0.0, 1.0)
    spare = max(_LEAST_RANGE - (high - low), 0) / 2
    edges = np.linspace(low - spare, high + spare, _BINS + 1)
    counts = [np.histogram(group, edges)[0] for group in groups]
    divided = [(each / max(each.sum(), 1)) if shares else each for each in counts]
    return {"edges": edges.tolist(), "counts": [each.tolist() for each in divided]}


def _steps(axes: Axes, histogram: dict[str, Any], names: Sequence[str] = ("",), **labels: str) -> None:
    """Draw a histogram, with title and labels of the axes."""
    axes.set(**labels)
    for counts, colour, name in zip(histogram["counts"], STORE_COLOURS, names, strict=False):
        axes.stairs(counts, histogram["edges"], fill=True, color=colour, alpha=0.35)
        axes.stairs(counts, histogram["edges"], color=colour, label=name or None)
    if any(names):
        axes.legend(fontsize=8)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}\u2026"


def _label_bars(axes: Axes, labels: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Draw the shares of the classes of each task, a bar for each store."""
    bars = [(task, each[task], name) for task in TASKS for each, name in zip(labels, names, strict=True)]
    bottom = np.zeros(len(bars))
    words = {"0": "low / negative", "1": "high / positive", "unlabelled": "unlabelled"}
    for (key, word), colour in zip(words.items(), (*_CLASSES, NEUTRAL_COLOUR), strict=True):
        counts = np.array([entry[key] for _, entry, _ in bars])
        shares = counts / np.array([entry["0"] + entry["1"] + entry["unlabelled"] for _, entry, _ in bars])
        if not counts.any():
            continue
        drawn = axes.bar(range(len(bars)), shares, bottom=bottom, color=colour, label=word, width=0.7)
        texts = [str(count) if share > 0.06 else "" for count, share in zip(counts, shares, strict=True)]
        axes.bar_label(drawn, texts, label_type="center", fontsize=8)
        bottom += shares
    labels_below = [f"{task}\n{_short(name)}" if name else task for task, _, name in bars]
    axes.set_xticks(range(len(bars)), labels_below, fontsize=8)
    axes.set(title="labels", ylabel="share of the utterances", ylim=(0, 1.22))
    axes.set_yticks([0, 0.5, 1])
    axes.legend(fontsize=8, loc="upper center", ncols=3, columnspacing=1, handlelength=1)


def _bars(axes: Axes, counts: dict[str, int], title: str) -> None:
    axes.bar(range(len(counts)), list(counts.values()), color=STORE_COLOURS[0])
    turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if max(map(len, counts)) > 2 or len(counts) > 12 else {}
    axes.set_xticks(range(len(counts)), [_short(name) for name in counts], rotation_mode="anchor", **turned)
    axes.set(title=title, ylabel="utterances")


def _speaker_bars(axes: Axes, speakers: dict[str, Any]) -> None:
    """Draw a bar for each speaker; of many, how often each number of utterances occurs."""
    each = {name: speaker["utterances"] for name, speaker in speakers["each"].items()}
    if len(each) > _NAMED:
        counts = _histogram([np.array(list(each.values()))])
        _steps(axes, counts, title=f"{len(each)} speakers", xlabel="utterances of a speaker", ylabel="speakers")
    elif each:
        _bars(axes, dict(sorted(each.items())), "speakers")
        axes.tick_params(axis="x", labelsize=8)
    else:
        axes.text(0.5, 0.5, "no speaker is known", ha="center", va="center", transform=axes.transAxes)
        axes.set(title="speakers", xticks=[], yticks=[])


def _coefficients(axes: Axes, moments: Sequence[Moments], names: Sequence[str], features: FeatureSet) -> None:
    """Draw mean and deviation of each value of a frame; one with a scale of its own, c0, stands apart."""
    dim = len(moments[0].mean)
    apart = 1 if not features.has_one_scale and dim > 1 else 0
    spread = 0.18 if dim <= 64 else 0.0
    twin = axes.twinx() if apart else None
    for number, (each, name) in enumerate(zip(moments, names, strict=True)):
        colour, shift = STORE_COLOURS[number], spread * (2 * number - len(moments) + 1)
        place = np.arange(apart, dim)
        mean, std = each.mean[apart:], each.std[apart:]
        if dim > 64:  # a band for each of so many would be a carpet
            axes.fill_between(place, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
            axes.plot(place, mean, color=colour, label=name or None)
        else:
            axes.errorbar(
                place + shift, mean, std, fmt="o", markersize=3, linewidth=1, color=colour, label=name or None
            )
        if twin is not None:
            twin.errorbar([shift], each.mean[:1], each.std[:1], fmt="s", markersize=5, linewidth=1.5, color=colour)
    if twin is not None:
        twin.set_ylabel("c0 (squares)")
        axes.axvline(0.5, color=NEUTRAL_COLOUR, linewidth=0.8, linestyle=":")
    unit = f" ({features.unit})" if features.unit else ""
    axes.set(title="features: mean and standard deviation", xlabel=features.value, ylabel=f"value{unit}")
    if dim == 1:
        axes.set(xticks=[], xlabel="")
    if any(names):
        axes.legend(fontsize=8)


def _scatter(
    axes: Axes,
    points: Sequence[NDArray[np.float64]],
    labels: Sequence[NDArray[np.int8]],
    names: Sequence[str],
    task: str,
    explained: Sequence[float],
) -> None:
    """Draw utterances in their plane: a colour for each store, a mark for each class."""
    for place, label, name, colour in zip(points, labels, names, STORE_COLOURS, strict=True):
        words = (*CLASS_NAMES[task], "unlabelled")
        for value, marker, word in zip((0, 1, -1), "o^x", words, strict=True):
            chosen = place[label == value]
            if len(chosen):
                look: dict[str, Any] = {"s": 9, "marker": marker, "color": colour, "alpha": 0.5, "linewidths": 0.5}
                axes.scatter(chosen[:, 0], chosen[:, 1], **look, label=f"{name}, {word}")
    axes.set(
        title="utterances by their mean c0 to c12",
        xlabel=f"first principal axis ({100 * explained[0]:.0f} % of the variance)",
        ylabel=f"second principal axis ({100 * explained[1]:.0f} %)",
    )
    axes.legend(fontsize=8)
