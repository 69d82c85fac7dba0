"""Tables and a figure of the scores of runs and evaluations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table

from emodna.cli import common
from emodna.model.label import EXPOSURE_MARKS, SCORE_NAMES, mark_exposure, mark_supervision, name_constant, name_scores
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emodna.pipeline.encoders.known import Exposure

#: Greatest number of speakers in a printed table; the JSON lists all.
_MAX_SPEAKERS: Final = 12
#: Greatest number of values without a class in the text.
_MAX_VALUES: Final = 10
#: Width of a column of class names that does not fold.
_MAX_NAME: Final = 20
#: Breakdowns by scores, not by recalls.
_GROUP_COLUMNS: Final = ("speaker", "gender", "language")
#: With fewer speakers, intervals over speakers are too narrow (docs/EVALUATION.md).
_MIN_SPEAKERS: Final = 20


def make_score_table(result: Mapping[str, Any], exposure: "Exposure") -> Table:
    """Return a table of a run's scores, their intervals, and the scores of constant predictors.

    `exposure` is that of the scored corpus.
    """
    names = _name_scores(result)
    scores = _make_table("percent", *names.values())
    label = result.get("label") or mark_supervision(result["method"], result.get("supervision"))
    scores.add_row(common.escape(mark_exposure(label, exposure)), *format_scores(result, names), style="bold")
    intervals = result.get("intervals", {})  # earlier versions wrote none
    for unit in ("utterances", "speakers") if intervals else ():
        bounds = intervals[unit]
        ranges = ["-" if bounds[key] is None else "{:.1f}-{:.1f}".format(*bounds[key]) for key in names]
        scores.add_row(f"{intervals['level']:g} %, {format_count(bounds['n'], unit[:-1])}", *ranges)
    for name, row in result["constant"].items():
        scores.add_row(name_constant(name, result["task"]), *format_scores(row, names))
    return scores


def make_confusion_table(result: Mapping[str, Any], width: int) -> Table:
    """Return a table of a run's confusions: a row per true class with its recall, a column per predicted class.

    Headings fold if the table would exceed the `width` in characters, as with more than 8 emotions in 80 characters.
    """
    classes, confusion = result["classes"], result["confusion"]
    table = _make_table("true class", *classes, "recall %")
    table.padding = (0, 0)
    names = table.columns[0]
    names.max_width = min(max(map(len, (str(names.header), *classes))), _MAX_NAME)
    room = width - names.max_width - len("recall %") - len(classes) - 1  # one character between columns
    digits = max(len(str(count)) for row in confusion for count in row)
    widths = [max(len(name), digits) for name in classes]
    widest = max(widths)
    while widest > digits and sum(min(each, widest) for each in widths) > room:
        widest -= 1
    for column in table.columns[1:-1]:
        column.no_wrap, column.overflow, column.max_width = False, "fold", widest
    for name, counts, percent in zip(classes, confusion, result["recalls"].values(), strict=True):
        table.add_row(common.escape(name), *map(str, counts), format_percent(percent))
    return table


def format_scores(row: Mapping[str, Any], names: Iterable[str] = SCORE_NAMES) -> Sequence[str]:
    """Return the named scores of a row as text."""
    return [format_percent(row[key]) for key in names]


def count_scored(labelled: int, utterances: int) -> str:
    """Return the number of scored utterances as text."""
    return f"{f'{labelled} labelled of ' if labelled < utterances else ''}{format_count(utterances, 'utterance')}"


def list_counts(counts: Mapping[str, int]) -> str:
    """Return counts of values as text, such as "calm (192), surprise (192)"; only the first of many."""
    listed = [f"{name} ({count})" for name, count in list(counts.items())[:_MAX_VALUES]]
    if (more := len(counts) - _MAX_VALUES) > 0:
        listed.append(format_count(more, "other value"))
    return ", ".join(listed)


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
    if document["left_out"]:
        left_out = f"{sum(document['left_out'].values())} not scored: {list_counts(document['left_out'])}"
        common.out.print(common.escape(left_out))
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
            _print_table(_make_group_table("audio", groups.items(), document))
        _print_breakdown(document)
        _print_calibration(document)
    else:
        common.out.print(f"no {document['task']} labels: nothing to score")
    if document["predictions"] is not None:
        common.out.print(f"\n{format_count(count, 'prediction')}: {common.escape(document['predictions'])}")


def draw_reliability(documents: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw a reliability curve and a histogram of its probabilities, one column per corpus.

    The probabilities are those of class 1 of two classes, else those of the predicted class.
    """
    from emodna.cli.plotting import Figure
    from emodna.cli.store_figures import NEUTRAL_COLOUR, STORE_COLOURS

    figure = Figure(figsize=(1 + 3.4 * len(documents), 4.6), layout="constrained")
    axes = figure.subplots(2, len(documents), sharex=True, squeeze=False, height_ratios=[3, 1])
    for number, (document, curve, histogram) in enumerate(zip(documents, *axes, strict=True)):
        rows, positive = _choose_reliability(document)
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
        of_positive = f"probability of {positive} {document['task']}"
        histogram.set(xlabel=f"confidence, {document['task']}" if positive is None else of_positive)
        if number == 0:
            curve.set(ylabel="share that is correct" if positive is None else f"share that is {positive}")
            histogram.set(ylabel="utterances")
    return figure


def _print_scores(document: Mapping[str, Any]) -> None:
    _print_table(make_score_table(document, document["exposure"]))
    _print_intervals(document)
    common.out.print("\n[bold]confusion[/bold]  a row per true class, a column per predicted class")
    _print_table(make_confusion_table(document, common.out.width))


def _print_intervals(document: Mapping[str, Any]) -> None:
    for unit in ("utterances", "speakers"):
        if (why := document["intervals"][unit]["why"]) is not None:
            over = "over" if document["intervals"][unit]["war"] is not None else "no interval over"
            common.out.print(f"  {over} {unit}: {common.escape(why)}")
    over_speakers = document["intervals"]["speakers"]
    if over_speakers["war"] is not None and over_speakers["n"] < _MIN_SPEAKERS:
        common.out.print(f"  {over_speakers['n']} speakers are few: their interval is too narrow")


def _print_breakdown(document: Mapping[str, Any]) -> None:
    breakdown, classes = document["breakdown"], document["classes"]
    for column, values in breakdown.items():
        # Where each value is the class of its name, its row is that of the confusion matrix.
        if column not in _GROUP_COLUMNS and any(
            row["label"] is None or classes[row["label"]] != name for name, row in values.items()
        ):
            _print_table(_make_value_table(column, values, classes))
    for column in ("gender", "language"):
        if len(breakdown[column]) > 1:
            _print_table(_make_group_table(column, breakdown[column].items(), document))
    speakers = sorted(breakdown["speaker"].items(), key=lambda pair: (pair[1]["war"], pair[0]))
    if len(speakers) > 1:
        _print_table(_make_group_table("speaker", speakers[:_MAX_SPEAKERS], document))
        if len(speakers) > _MAX_SPEAKERS:
            more = format_count(len(speakers) - _MAX_SPEAKERS, "more speaker")
            common.out.print(f"  {more} with equal or higher WAR: see --json")


def _make_value_table(column: str, values: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> Table:
    """Return a table of the recall of each emotion, or value of another column."""
    called = {classes[1]: f"predicted {classes[1]} %"} if len(classes) == 2 else {}
    found = _make_table(column, "class", "utterances", *called.values(), "recall %")
    for name, row in values.items():
        label = "several" if row["label"] is None else classes[row["label"]]
        shares = map(format_percent, (*(row["shares"][each] for each in called), row["recall"]))
        found.add_row(common.escape(name), common.escape(label), str(row["count"]), *shares)
    return found


def _make_group_table(name: str, groups: Iterable[tuple[str, Mapping[str, Any]]], document: Mapping[str, Any]) -> Table:
    names, classes = _name_scores(document), document["classes"]
    positive = classes[1:] if len(classes) == 2 else ()
    found = _make_table(name, "utterances", *(f"{each} %" for each in positive), *names.values())
    for group, row in groups:
        shares = (format_percent(100 * row["classes"][each] / row["count"]) for each in positive)
        found.add_row(common.escape(group), str(row["count"]), *shares, *format_scores(row, names))
    return found


def _print_calibration(document: Mapping[str, Any]) -> None:
    found = document["calibration"]
    common.out.print(
        f"\n[bold]calibration[/bold]  ECE {found['ece']:.3f}, MCE {found['mce']:.3f} ({found['bins']} bins), "
        f"Brier {found['brier']:.3f}, NLL {found['nll']:.3f}"
    )
    rows, positive = _choose_reliability(document)
    headings = ("confidence", "mean", "correct, share")
    if positive is not None:
        headings = (f"p({positive})", "mean p", f"{positive}, share")
    curve = _make_table(headings[0], "utterances", *headings[1:])
    for row in rows:
        if row["count"]:
            numbers = (str(row["count"]), f"{row['mean']:.3f}", f"{row['share']:.3f}")
            curve.add_row(f"{row['from']:.2f} to {row['to']:.2f}", *numbers)
    _print_table(curve)


def _choose_reliability(document: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Return the bins of the probability of class 1 of two, with its name, else those of the confidence."""
    calibration, classes = document["calibration"], document["classes"]
    return (calibration["probability"], classes[1]) if len(classes) == 2 else (calibration["confidence"], None)


def _name_scores(document: Mapping[str, Any]) -> Mapping[str, str]:
    return name_scores(len(document.get("classes", ())) or 2)  # earlier versions had tasks of two classes only


def _make_table(*headings: str) -> Table:
    """Return an empty table: a column of names, which folds in a narrow terminal, and columns of numbers."""
    empty = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    empty.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        empty.add_column(common.escape(heading), justify="right", no_wrap=True)
    return empty


def _print_table(part: Table) -> None:
    common.out.print()
    common.out.print(part)
