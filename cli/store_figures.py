"""Draw figures with matplotlib: the features of an utterance, a store, the shift between two stores."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from emodna.cli.charts import compute_envelope
from emodna.cli.plotting import Axes, Figure, rc_context
from emodna.pipeline.errors import format_count
from emodna.pipeline.features import FeatureSet, rebuild_feature_set
from emodna.pipeline.inspect import balance, survey
from emodna.pipeline.inspect.anomalies import is_silent
from emodna.pipeline.inspect.spectra import has_spectrum
from emodna.pipeline.inspect.survey import Moments
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS, Task

#: Colours of two stores and two classes, and a neutral one, from the palette of Okabe & Ito for the colour-blind.
STORE_COLOURS: Final = ("#0072B2", "#D55E00")
_CLASS_COLOURS: Final = ("#56B4E9", "#E69F00")
NEUTRAL_COLOUR: Final = "#999999"
#: Markers of classes, in turn.
_MARKERS: Final = "o^sDvP*<>"
_BINS: Final = 40
#: Least range of a histogram in s or dB: nearly equal values share a bin.
_MIN_RANGE: Final = 1.0
#: Largest number of speakers with a bar of their own.
_MAX_SPEAKERS: Final = 30
#: Number of columns of a long waveform: more than a figure has pixels.
_MAX_COLUMNS: Final = 2000
#: Largest number of values of a frame that are drawn one by one, with their names.
_MAX_NAMED: Final = 40
#: Decorator that keeps matplotlib from reading names as formulas.
_no_formulas: Final = rc_context({"text.parse_math": False})


@_no_formulas
def draw_features_over_time(
    features: NDArray[np.float32], feature_set: FeatureSet, title: str, duration: float | None = None
) -> Figure:
    """Draw features (frames, dim) over time in s: as a curve, a heat map, or both.

    Features without a spectrum are drawn as deviations from their means, a single frame of them as a curve. `duration`
    is that of all frames in s; by default it follows from the frame rate.
    """
    seconds = len(features) * feature_set.hop_length / feature_set.sample_rate if duration is None else duration
    figure = Figure(figsize=(8, 4), layout="constrained")
    if not has_spectrum(feature_set):
        _draw_values(figure.add_subplot(title=title), features, feature_set, seconds)
        return figure
    # c0 has its own scale: like a waveform, it is drawn as a curve. Other values are a heat map.
    curves = 1 if features.shape[1] == 1 or not feature_set.has_one_scale else 0
    maps = int(features.shape[1] > curves)
    axes = figure.subplots(curves + maps, 1, sharex=True, squeeze=False, height_ratios=[1] * curves + [3] * maps)[:, 0]
    if curves:
        axes[0].plot(*_thin_curve(features[:, 0], seconds), linewidth=1)
        axes[0].set(ylabel="c0" if maps else feature_set.value)
    if maps:
        extent = (0, seconds, curves - 0.5, features.shape[1] - 0.5)
        image = axes[-1].imshow(features[:, curves:].T, origin="lower", aspect="auto", extent=extent)
        axes[-1].set(ylabel=feature_set.value)
        figure.colorbar(image, ax=axes[-1], label=feature_set.unit)
    axes[0].set_title(title)
    axes[-1].set(xlabel="time (s)")
    return figure


def _draw_values(axes: Axes, features: NDArray[np.float32], feature_set: FeatureSet, seconds: float) -> None:
    """Draw the deviations of each value from its mean over time, or the values of a single frame."""
    dim = features.shape[1]
    if len(features) == 1:
        axes.plot(np.arange(dim), features[0], linewidth=1, marker="o" * (dim <= _MAX_NAMED), markersize=3)
        axes.set(xlabel=feature_set.value, ylabel="value")
        _name_values(axes, feature_set, "x")
        return
    scores = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    extent = (0, seconds, -0.5, dim - 0.5)
    image = axes.imshow(scores.T, origin="lower", aspect="auto", extent=extent, vmin=-3, vmax=3, cmap="RdBu_r")
    axes.set(xlabel="time (s)", ylabel=feature_set.value)
    _name_values(axes, feature_set, "y")
    axes.figure.colorbar(image, ax=axes, label="deviations from the mean over time")


def _name_values(axes: Axes, feature_set: FeatureSet, axis: Literal["x", "y"]) -> None:
    """Label an axis of values with their names, if they have some."""
    names = feature_set.value_names
    if 0 < len(names) <= _MAX_NAMED:
        ticks: Any = axes.xaxis if axis == "x" else axes.yaxis
        ticks.set_ticks(range(len(names)), names, fontsize=5, rotation=90 if axis == "x" else 0)


def save_figure(figure: Figure, path: Path | BinaryIO, format: str) -> None:
    """Write a figure to a file, without warnings of characters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(path, format=format, dpi=150)


def _thin_curve(samples: NDArray[np.float32], seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    if len(samples) > 2 * _MAX_COLUMNS:  # keeps the envelope
        samples = np.stack(compute_envelope(samples, _MAX_COLUMNS), axis=1).reshape(-1)
    return np.linspace(0, seconds, len(samples)), samples


@_no_formulas
def draw_distributions(store: FeatureStore) -> tuple[Figure, dict[str, Any]]:
    """Draw labels, emotions, speakers, durations, peaks and features of a store; return figure and numbers."""
    moments = survey.compute_moments(store)
    features = rebuild_feature_set(store.snapshot.parameters)
    table = store.columns(["duration", "emotion"])
    labels, speakers = balance.count_labels(store), balance.count_speakers(store)
    emotions = balance.count_values(table["emotion"])
    durations = _count_bins([table["duration"].to_numpy()])
    peaks = _count_bins([store.peak_db[~is_silent(store)]])
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    counts = f"{format_count(len(store), 'utterance')}, {format_count(speakers['known'], 'speaker')}"
    figure.suptitle(f"{store.snapshot.corpus}: {counts}, {store.snapshot.feature_set}")
    _draw_labels(axes[0], [labels], [""])
    _draw_bars(axes[1], emotions, "emotions")
    _draw_speakers(axes[2], speakers)
    _draw_histogram(axes[3], durations, title="durations", xlabel="s", ylabel="utterances")
    _draw_histogram(axes[4], peaks, title="peaks", xlabel="dB", ylabel="utterances")
    _draw_moments(axes[5], [moments], [""], features)
    numbers = {
        "labels": labels,
        "emotions": emotions,
        "speakers": speakers,
        "durations": durations,
        "peak_db": peaks,
        "features": survey.list_moments(moments, features),
    }
    return figure, numbers


@_no_formulas
def draw_shift(store: FeatureStore, other: FeatureStore, task: Task) -> tuple[Figure, dict[str, Any]]:
    """Draw features, their difference, durations, labels and a projection of two stores; return figure and numbers."""
    stores = [store, other]
    names = [each.snapshot.corpus for each in stores]
    names = names if names[0] != names[1] else [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    features = rebuild_feature_set(store.snapshot.parameters)
    moments, utterances = zip(*map(survey.survey_store, stores), strict=True)
    difference = survey.standardise_difference(*moments)
    labels = [balance.count_labels(each) for each in stores]
    durations = _count_bins([each.columns(["duration"])["duration"].to_numpy() for each in stores], shares=True)
    rows, points, explained = survey.project_utterances(utterances)
    is_spectral = has_spectrum(features)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    figure.suptitle(f"{names[0]} and {names[1]}, {store.snapshot.feature_set}")
    _draw_moments(figure.add_subplot(grid[0, :2]), moments, names, features)
    _draw_labels(figure.add_subplot(grid[0, 2]), labels, names)
    axes = figure.add_subplot(grid[1, 0])
    is_wide = not is_spectral and len(difference) > _MAX_NAMED
    drawn, label = (np.sort(difference), f"{features.value}s, in order") if is_wide else (difference, features.value)
    if is_wide:
        axes.fill_between(np.arange(len(drawn)), drawn, color=NEUTRAL_COLOUR, linewidth=0)
    else:
        axes.bar(np.arange(len(drawn)), drawn, color=NEUTRAL_COLOUR, width=0.9)
        _name_values(axes, features, "x")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="standardised mean difference", xlabel=label, ylabel="deviations")
    note = f"above 0: {names[1]} is higher"
    axes.text(0.98, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=8)
    axes = figure.add_subplot(grid[1, 1])
    _draw_histogram(axes, durations, names, title="durations", xlabel="s", ylabel="share of the utterances")
    task_labels = [each.labels(task)[chosen] for each, chosen in zip(stores, rows, strict=True)]
    axes = figure.add_subplot(grid[1, 2])
    _draw_points(axes, points, task_labels, names, task, explained)
    axes.set(title=f"utterances by their mean {'c0 to c12' if is_spectral else 'features'}")
    numbers = {
        "against": str(other.path),
        "task": task.name,
        "classes": list(task.classes),
        "corpora": names,
        "features": [survey.list_moments(each, features) for each in moments],
        "mean_difference": difference.tolist(),
        "labels": labels,
        "durations": durations,
        "plane": {
            "explained": explained,
            "utterances": [survey.list_points(r, p, each.ids) for each, r, p in zip(stores, rows, points, strict=True)],
        },
    }
    return figure, numbers


def _count_bins(groups: Sequence[NDArray[Any]], *, shares: bool = False) -> dict[str, Any]:
    """Return the counts, or shares, of each group of values in common bins."""
    values = np.concatenate(groups)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = max(_MIN_RANGE - (high - low), 0) / 2
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    counts = [np.histogram(group, edges)[0] for group in groups]
    counts = [each / max(each.sum(), 1) for each in counts] if shares else counts
    return {"edges": edges.tolist(), "counts": [each.tolist() for each in counts]}


def _draw_histogram(axes: Axes, histogram: dict[str, Any], names: Sequence[str] = ("",), **labels: str) -> None:
    """Draw the histograms of `_count_bins`; `labels` are the title and axis labels."""
    axes.set(**labels)
    for counts, colour, name in zip(histogram["counts"], STORE_COLOURS, names, strict=False):
        axes.stairs(counts, histogram["edges"], fill=True, color=colour, alpha=0.35)
        axes.stairs(counts, histogram["edges"], color=colour, label=name or None)
    if any(names):
        axes.legend(fontsize=8)


def _shorten(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}\u2026"


def _draw_labels(axes: Axes, labels: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Draw the class shares of each task as a stacked bar per store."""
    bars = [(task, each[task], name) for task in TASKS for each, name in zip(labels, names, strict=True)]
    bottom = np.zeros(len(bars))
    classes = {"0": "low / negative", "1": "high / positive", "unlabelled": "unlabelled"}
    totals = np.array([sum(entry[key] for key in classes) for _, entry, _ in bars])
    for (key, name), colour in zip(classes.items(), (*_CLASS_COLOURS, NEUTRAL_COLOUR), strict=True):
        counts = np.array([entry[key] for _, entry, _ in bars])
        if not counts.any():
            continue
        shares = counts / totals
        boxes = axes.bar(range(len(bars)), shares, bottom=bottom, color=colour, label=name, width=0.7)
        texts = [str(count) if share > 0.06 else "" for count, share in zip(counts, shares, strict=True)]
        axes.bar_label(boxes, texts, label_type="center", fontsize=8)
        bottom += shares
    tick_labels = [f"{task}\n{_shorten(name)}" if name else task for task, _, name in bars]
    axes.set_xticks(range(len(bars)), tick_labels, fontsize=8)
    axes.set(title="labels", ylabel="share of the utterances", ylim=(0, 1.22))
    axes.set_yticks([0, 0.5, 1])
    axes.legend(fontsize=8, loc="upper center", ncols=3, columnspacing=1, handlelength=1)


def _draw_bars(axes: Axes, counts: dict[str, int], title: str) -> None:
    axes.bar(range(len(counts)), list(counts.values()), color=STORE_COLOURS[0])
    style: dict[str, Any] = {"rotation": 40, "ha": "right"} if max(map(len, counts)) > 2 or len(counts) > 12 else {}
    axes.set_xticks(range(len(counts)), [_shorten(name) for name in counts], rotation_mode="anchor", **style)
    axes.set(title=title, ylabel="utterances")


def _draw_speakers(axes: Axes, speakers: dict[str, Any]) -> None:
    """Draw a bar per speaker; for many speakers, a histogram of their numbers of utterances."""
    each = {name: speaker["utterances"] for name, speaker in speakers["each"].items()}
    if len(each) > _MAX_SPEAKERS:
        counts, title = _count_bins([np.array(list(each.values()))]), f"{len(each)} speakers"
        _draw_histogram(axes, counts, title=title, xlabel="utterances of a speaker", ylabel="speakers")
    elif each:
        _draw_bars(axes, dict(sorted(each.items())), "speakers")
        axes.tick_params(axis="x", labelsize=8)
    else:
        axes.text(0.5, 0.5, "no known speakers", ha="center", va="center", transform=axes.transAxes)
        axes.set(title="speakers", xticks=[], yticks=[])


def _draw_moments(axes: Axes, moments: Sequence[Moments], names: Sequence[str], features: FeatureSet) -> None:
    """Draw mean and deviation of each value of a frame; c0 has its own axis.

    Values that have neither an order nor one scale are ordered by their means, and drawn on a logarithmic axis.
    """
    dim = len(moments[0].mean)
    is_spectral = has_spectrum(features)
    first = 1 if is_spectral and not features.has_one_scale and dim > 1 else 0
    is_wide = not is_spectral and dim > _MAX_NAMED
    order = np.argsort(moments[0].mean, kind="stable") if is_wide else np.arange(dim)
    spread = 0.18 if dim <= 64 else 0.0
    twin = axes.twinx() if first else None
    for number, (each, name) in enumerate(zip(moments, names, strict=True)):
        colour, shift = STORE_COLOURS[number], spread * (2 * number - len(moments) + 1)
        x, mean, std = np.arange(first, dim) + shift, each.mean[order][first:], each.std[order][first:]
        if dim > 64 or is_wide:  # too many for error bars
            axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
            axes.plot(x, mean, color=colour, label=name or None)
        else:
            axes.errorbar(x, mean, std, fmt="o", markersize=3, linewidth=1, color=colour, label=name or None)
        if twin is not None:
            twin.errorbar([shift], each.mean[:1], each.std[:1], fmt="s", markersize=5, linewidth=1.5, color=colour)
    if twin is not None:
        twin.set_ylabel("c0 (squares)")
        axes.axvline(0.5, color=NEUTRAL_COLOUR, linewidth=0.8, linestyle=":")
    unit = f" ({features.unit})" if features.unit else ""
    label = f"{features.value}s, by their mean{f' in {names[0]}' if any(names) else ''}" if is_wide else features.value
    axes.set(title="features: mean and standard deviation", xlabel=label, ylabel=f"value{unit}")
    if not (is_spectral or features.has_one_scale):
        axes.set_yscale("symlog", linthresh=max(float(np.median(moments[0].std)), 1e-6))
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")  # its own writes formulas
    if not is_spectral:
        _name_values(axes, features, "x")
    if dim == 1:
        axes.set(xticks=[], xlabel="")
    if any(names):
        axes.legend(fontsize=8)


def _draw_points(
    axes: Axes,
    points: Sequence[NDArray[np.float64]],
    labels: Sequence[NDArray[np.int8]],
    names: Sequence[str],
    task: Task,
    explained: Sequence[float],
) -> None:
    """Draw utterances with a colour per store and a marker per class."""
    kinds = [(label, _MARKERS[label % len(_MARKERS)], name) for label, name in enumerate(task.classes)]
    kinds.append((-1, "x", "unlabelled" if task.is_built_in else "no class"))
    for store_points, label, name, colour in zip(points, labels, names, STORE_COLOURS, strict=True):
        for value, marker, class_name in kinds:
            x, y = store_points[label == value].T
            if len(x):
                style: dict[str, Any] = {"s": 9, "marker": marker, "color": colour, "alpha": 0.5, "linewidths": 0.5}
                axes.scatter(x, y, **style, label=f"{name}, {class_name}")
    axes.set(
        xlabel=f"first principal axis ({100 * explained[0]:.0f} % of the variance)",
        ylabel=f"second principal axis ({100 * explained[1]:.0f} %)",
    )
    few = len(kinds) <= 4
    axes.legend(fontsize=8 if few else 6, ncols=1 if few else 2)
