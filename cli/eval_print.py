"""An evaluation on the screen."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.table import Table

from emodna.cli import common
from emodna.cli.scores import cells, score_table, table
from emodna.model.label import SCORE_NAMES
from emodna.pipeline.emotions import CLASS_NAMES

#: Speakers that a screen shows; all of them are in the JSON.
_SPEAKERS: Final = 12
#: Over fewer speakers, an interval is markedly too narrow: docs/EVALUATION.md has the figures.
_FEW: Final = 20


def print_evaluation(document: Mapping[str, Any], *, first: bool) -> None:
    """Print scores, breakdown and calibration of a corpus, away from those of another before it."""
    if not first:
        common.out.print()
    corpus, count, labelled = document["corpus"], document["utterances"], document["labelled"]
    trained = (
        f"{document['src']} -> {document['tgt']}, {document['task']}, {document['label']}, seed {document['seed']}"
    )
    scored = f"{count} utterances" if labelled == count else f"{labelled} labelled of {count} utterances"
    common.out.print(f"[bold]{common.safe(corpus)}[/bold], {scored}, by {common.safe(trained)}")
    if document["normalisation"] == "per-corpus":
        common.out.print("normalised by its own statistics, as the run's corpora were")
    if labelled:
        _print_scores(document)
        _print_breakdown(document["breakdown"], CLASS_NAMES[document["task"]])
        _print_calibration(document["calibration"], CLASS_NAMES[document["task"]][1])
    else:
        common.out.print(f"no labels of {document['task']}: nothing to score")
    if document["predictions"] is not None:
        common.out.print(f"\n{count} predictions: {common.safe(document['predictions'])}")


def _print_scores(document: Mapping[str, Any]) -> None:
    _show(score_table(document))
    for unit in ("utterances", "speakers"):
        why = document["intervals"][unit]["why"]
        if why is not None:
            common.out.print(f"  over {unit}: {common.safe(why)}")
    over_speakers = document["intervals"]["speakers"]
    if over_speakers["war"] is not None and over_speakers["n"] < _FEW:
        common.out.print(f"  {over_speakers['n']} speakers are few: the interval over them is too narrow")


def _print_breakdown(breakdown: Mapping[str, Any], classes: tuple[str, str]) -> None:
    emotions = table("emotion", "is", "utterances", f"called {classes[1]} %", "recall %")
    for name, row in breakdown["emotion"].items():
        label, recall = row["label"], row["recall"]
        figures = (str(row["count"]), f"{row['called_high']:.1f}", "-" if recall is None else f"{recall:.1f}")
        emotions.add_row(common.safe(name), "both" if label is None else classes[label], *figures)
    _show(emotions)
    for column in ("gender", "language"):
        if len(breakdown[column]) > 1:
            _show(_groups(column, breakdown[column].items(), classes))
    speakers = sorted(breakdown["speaker"].items(), key=lambda pair: (pair[1]["war"], pair[0]))
    if len(speakers) > 1:
        _show(_groups("speaker", speakers[:_SPEAKERS], classes))
        if len(speakers) > _SPEAKERS:
            common.out.print(f"  {len(speakers) - _SPEAKERS} more speakers, whose WAR is no lower: --json has all")


def _groups(name: str, groups: Iterable[tuple[str, Mapping[str, Any]]], classes: tuple[str, str]) -> Table:
    found = table(name, "utterances", f"{classes[1]} %", *SCORE_NAMES.values())
    for group, row in groups:
        found.add_row(common.safe(group), str(row["count"]), f"{100 * row['high'] / row['count']:.1f}", *cells(row))
    return found


def _print_calibration(found: Mapping[str, Any], positive: str) -> None:
    common.out.print(
        f"\n[bold]calibration[/bold]  ECE {found['ece']:.3f}, MCE {found['mce']:.3f} ({found['bins']} bins), "
        f"Brier {found['brier']:.3f}, NLL {found['nll']:.3f}"
    )
    curve = table(f"p({positive})", "utterances", "mean p", f"{positive}, share")
    for row in found["probability"]:
        if row["count"]:
            figures = (str(row["count"]), f"{row['mean']:.3f}", f"{row['share']:.3f}")
            curve.add_row(f"{row['from']:.2f} to {row['to']:.2f}", *figures)
    _show(curve)


def _show(part: Table) -> None:
    common.out.print()
    common.out.print(part)
