"""Tables and a figure of the scores of runs and evaluations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table

from emodna.cli import common
from emodna.model.label import EXPOSURE_MARKS, SCORE_NAMES, mark_exposure, mark_supervision, name_constant
from emodna.pipeline.errors import format_count
from emodna.pipeline.tasks import CLASS_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emodna.pipeline.encoders.known import Exposure

#: Greatest number of speakers in a printed table; the JSON lists all.
_MAX_SPEAKERS: Final = 12
#: With fewer speakers, intervals over speakers are too narrow (docs/EVALUATION.md).
_MIN_SPEAKERS: Final = 20


def make_score_table(result: Mapping[str, Any], exposure: "Exposure") -> Table:
    """Return a table of a run's scores, their intervals, and the scores of constant predictors.

    `exposure` is that of the scored corpus.
    """
    scores = _make_table("percent", *SCORE_NAMES.values())
    label = result.get("label") or mark_supervision(result["method"], result.get("supervision"))
    scores.add_row(common.escape(mark_exposure(label, exposure)), *format_scores(result), style="bold")
    intervals = result.get("intervals", {})  # earlier versions wrote none
    for unit in ("utterances", "speakers") if intervals else ():
        bounds = intervals[unit]
        ranges = ["-" if bounds[key] is None else "{:.1f}-{:.1f}".format(*bounds[key]) for key in SCORE_NAMES]
        scores.add_row(f"{intervals['level']:g} %, {format_count(bounds['n'], unit[:-1])}", *ranges)
    for name, row in result["constant"].items():
        scores.add_row(name_constant(name, result["task"]), *format_scores(row))
    return scores


def format_scores(row: Mapping[str, Any]) -> Sequence[str]:
    """Return the scores of a row as text, in the order of `SCORE_NAMES`."""
    return [format_percent(row[key]) for key in SCORE_NAMES]


def count_scored(labelled: int, utterances: int) -> str:
    """Return the number of scored utterances as text."""
    return f"{f'{labelled} labelled of ' if labelled < utterances else ''}{format_count(utterances, 'utterance')}"


def format_percent(value: float | None) -> str:
    """Return a percentage as text; "-" for None."""
    return "-" if value is None else f"{value:.1f}"


def print_evaluation(document: Mapping[str, Any], *, first: bool) -> None:
    """Print the scores, breakdown and calibration of a corpus; unless `first`, after an empty line."""
    if not first:
        common.out.print()
    corpus, count, labelled = document["corpus"], document["utterances"], document["labelled"]
    run = f"{document['src']} -> {document['tgt']}, {document['task']}, {document['label']}, seed {document['seed']}"
    scored = count_scored(labelled, count)
    common.out.print(f"[bold]{common.escape(corpus)}[/bold], {scored}, by {common.escape(run)}")
    from emodna.model.data.speakers import SpeakerCounts

    if document["normalisation"] == "per-corpus":
        common.out.print("normalised by its own statistics, like the corpora of the run")
    elif document["speakers"] is not None:
        remark = SpeakerCounts(**document["speakers"]).remark
        if not document["speakers"]["speakers"]:
            common.out.print(f"{remark}")
        else:
            common.out.print("each speaker normalised by its own statistics, like those of the run")
            if remark is not None:
                common.out.print(f"  {remark}")
    if labelled:
        _print_scores(document)
        if document["seen"] == "partly":
            groups = {name: row for name, row in document["audio"].items() if row["count"]}
            _print_table(_make_group_table("audio", groups.items(), CLASS_NAMES[document["task"]]))
        _print_breakdown(document["breakdown"], CLASS_NAMES[document["task"]])
        _print_calibration(document["calibration"], CLASS_NAMES[document["task"]][1])
    else:
        common.out.print(f"no {document['task']} labels: nothing to score")
    if document["predictions"] is not None:
        common.out.print(f"\n{format_count(count, 'prediction')}: {common.escape(document['predictions'])}")


def draw_reliability(documents: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the reliability curve of class 1 and a histogram of its probabilities, one column per corpus."""
    from emodna.cli.plotting import Figure
    from emodna.cli.store_figures import NEUTRAL_COLOUR, STORE_COLOURS

    figure = Figure(figsize=(1 + 3.4 * len(documents), 4.6), layout="constrained")
    axes = figure.subplots(2, len(documents), sharex=True, squeeze=False, height_ratios=[3, 1])
    for number, (document, curve, histogram) in enumerate(zip(documents, *axes, strict=True)):
        rows, name = document["calibration"]["probability"], CLASS_NAMES[document["task"]][1]
        filled = [row for row in rows if row["count"]]
        means, shares = ([row[key] for row in filled] for key in ("mean", "share"))
        curve.plot([0, 1], [0, 1], color=NEUTRAL_COLOUR, linewidth=1, linestyle="--")
        curve.vlines(means, means, shares, color=STORE_COLOURS[1], linewidth=1.5, alpha=0.6)
        curve.plot(means, shares, marker="o", markersize=4, color=STORE_COLOURS[0])
        curve.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        seen = {None: "", "partly": " (partly seen)"}.get(document["seen"], f" ({document['seen']})")
        exposed = f" ({mark})" if (mark := EXPOSURE_MARKS.get(document["exposure"])) else ""
        curve.set_title(
            f"{document['corpus']}{seen}{exposed}: ECE {document['calibration']['ece']:.3f}", parse_math=False
        )
        counts = [row["count"] for row in rows]
        histogram.stairs(counts, [rows[0]["from"], *(row["to"] for row in rows)], fill=True, color=STORE_COLOURS[0])
        histogram.set(xlabel=f"probability of {name} {document['task']}")
        if number == 0:
            curve.set(ylabel=f"share that is {name}")
            histogram.set(ylabel="utterances")
    return figure


def _print_scores(document: Mapping[str, Any]) -> None:
    _print_table(make_score_table(document, document["exposure"]))
    for unit in ("utterances", "speakers"):
        if (why := document["intervals"][unit]["why"]) is not None:
            over = "over" if document["intervals"][unit]["war"] is not None else "no interval over"
            common.out.print(f"  {over} {unit}: {common.escape(why)}")
    over_speakers = document["intervals"]["speakers"]
    if over_speakers["war"] is not None and over_speakers["n"] < _MIN_SPEAKERS:
        common.out.print(f"  {over_speakers['n']} speakers are few: their interval is too narrow")


def _print_breakdown(breakdown: Mapping[str, Any], classes: tuple[str, str]) -> None:
    emotions = _make_table("emotion", "class", "utterances", f"predicted {classes[1]} %", "recall %")
    for name, row in breakdown["emotion"].items():
        label = "both" if row["label"] is None else classes[row["label"]]
        shares = map(format_percent, (row["called_high"], row["recall"]))
        emotions.add_row(common.escape(name), label, str(row["count"]), *shares)
    _print_table(emotions)
    for column in ("gender", "language"):
        if len(breakdown[column]) > 1:
            _print_table(_make_group_table(column, breakdown[column].items(), classes))
    speakers = sorted(breakdown["speaker"].items(), key=lambda pair: (pair[1]["war"], pair[0]))
    if len(speakers) > 1:
        _print_table(_make_group_table("speaker", speakers[:_MAX_SPEAKERS], classes))
        if len(speakers) > _MAX_SPEAKERS:
            more = format_count(len(speakers) - _MAX_SPEAKERS, "more speaker")
            common.out.print(f"  {more} with equal or higher WAR: see --json")


def _make_group_table(name: str, groups: Iterable[tuple[str, Mapping[str, Any]]], classes: tuple[str, str]) -> Table:
    found = _make_table(name, "utterances", f"{classes[1]} %", *SCORE_NAMES.values())
    for group, row in groups:
        share = format_percent(100 * row["high"] / row["count"])
        found.add_row(common.escape(group), str(row["count"]), share, *format_scores(row))
    return found


def _print_calibration(found: Mapping[str, Any], positive: str) -> None:
    common.out.print(
        f"\n[bold]calibration[/bold]  ECE {found['ece']:.3f}, MCE {found['mce']:.3f} ({found['bins']} bins), "
        f"Brier {found['brier']:.3f}, NLL {found['nll']:.3f}"
    )
    curve = _make_table(f"p({positive})", "utterances", "mean p", f"{positive}, share")
    for row in found["probability"]:
        if row["count"]:
            numbers = (str(row["count"]), f"{row['mean']:.3f}", f"{row['share']:.3f}")
            curve.add_row(f"{row['from']:.2f} to {row['to']:.2f}", *numbers)
    _print_table(curve)


def _make_table(*headings: str) -> Table:
    """Return an empty table: a column of names, which folds in a narrow terminal, and columns of numbers."""
    empty = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    empty.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        empty.add_column(heading, justify="right", no_wrap=True)
    return empty


def _print_table(part: Table) -> None:
    common.out.print()
    common.out.print(part)
