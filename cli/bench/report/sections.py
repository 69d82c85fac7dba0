"""Sections of the page of an experiment."""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final

from emodna.cli.bench.compare import HEADINGS, chosen, comparison_rows, remarks
from emodna.cli.bench.draw import page_svg
from emodna.cli.bench.formats import heading, known_pairs, our_number, paper_number, signed
from emodna.cli.bench.notes import caption, missing, notes
from emodna.cli.bench.report.page import MISSING, Figure, Item, Page, Plot, Section, Sheet, number
from emodna.model.bench import figures
from emodna.model.bench.compare import compare, match
from emodna.model.bench.paper import PRESETS
from emodna.model.bench.pictures import Dots, Matrix, Panel, Picture
from emodna.model.bench.results import CONSTANTS, Outcome, Scores, read_outcomes, results, scored
from emodna.model.bench.spec import Experiment, shared_notes
from emodna.model.bench.tables import DIFFERENCE, TABLE_NAMES, Block, Cell, Table, table
from emodna.model.errors import BenchError, RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import read_json
from emodna.pipeline.emotions import CLASS_NAMES, TASKS, Task
from emodna.pipeline.errors import EmodnaError

#: The one score in which no constant predictor looks good.
_METRIC: Final = "uar"
_LOOKS: Final = {"done": "", "failed": "bad"}
_ABOUT: Final = (
    "Each cell is one run: trained on all labelled utterances of a source corpus and all utterances of a "
    "target corpus without their labels, and scored on the target. All scores are in percent. UAR is the mean "
    "recall of the two classes, 50 for every constant answer; WAR is accuracy; F1 is that of the class high "
    "or positive; macro-F1 is the mean over both classes. WAR and F1 of a constant answer can be high, so the "
    "best constant stands beside them."
)
_COMPARISON: Final = (
    "A scenario is an ordered pair of corpora in one task, with the mean over its seeds as its score. The "
    "interval is that of a paired bootstrap over scenarios; Wilcoxon's signed-rank test is corrected after "
    "Holm for the number of methods; mean ranks are compared after Friedman and Nemenyi."
)


def build_page(
    experiment: Experiment, tasks: Sequence[Task], progress: Callable[[str], None], *, features: bool
) -> Page:
    """Make the page of an experiment.

    Parameters
    ----------
    tasks
        Tasks to show; empty: all that the experiment has.
    progress
        Called with what is being computed, where that takes long.
    features
        False leaves out what has to be computed from the trained models.
    """
    wanted = [task for task in TASKS if task in (tasks or experiment.tasks)]
    outcomes = read_outcomes(experiment, [run for run in experiment.runs if run.task in wanted])
    done = sum(outcome.state == "done" for outcome in outcomes)
    return Page(
        f"Benchmark {experiment.out.absolute().name}",
        f"Cross-corpus speech emotion recognition: {len(experiment.corpora)} corpora, {len(experiment.methods)} "
        f"methods, {done} of {len(outcomes)} cells done.",
        [
            overview(experiment, outcomes, wanted),
            paper_tables(experiment, wanted),
            comparison(experiment, outcomes, wanted),
            pictures(experiment, wanted, progress, features=features),
            cells(experiment, outcomes),
        ],
        f"Made by emodna {version('emodna')}, emodna-bench report. This page loads nothing from anywhere.",
    )


def overview(experiment: Experiment, outcomes: Sequence[Outcome], tasks: Sequence[Task]) -> Section:
    """Show corpora, methods, conditions and states."""
    conditions, pairs = experiment.conditions, {outcome.run.pair for outcome in outcomes}
    states = Counter(outcome.state for outcome in outcomes)
    settings = ", ".join(f"{key}={value}" for key, value in conditions.settings.items())
    facts = {
        "tasks": ", ".join(tasks),
        "ordered pairs": str(len(pairs)),
        "seeds": ", ".join(map(str, sorted({outcome.run.seed for outcome in outcomes}))),
        "training steps": str(conditions.steps),
        "settings for all": settings or "the defaults",
        "feature set": conditions.feature_set,
        "device": conditions.device,
        "cells": ", ".join(f"{count} {state}" for state, count in states.most_common()) or "none",
        "training time of all cells": _duration(sum(outcome.seconds or 0.0 for outcome in outcomes)),
        "versions": _versions(experiment, outcomes),
    }
    shared = {pair: count for pair, count in experiment.shared.items() if pair in pairs}
    return Section(
        "about",
        "What this is",
        [_ABOUT],
        list(facts.items()),
        [_corpora(experiment, tasks), _methods(experiment, outcomes)],
        notes=[f"{note}." for note in shared_notes(shared)],
    )


def _corpora(experiment: Experiment, tasks: Sequence[Task]) -> Sheet:
    columns = ["corpus", "languages", "utterances"]
    for task in tasks:
        low, high = CLASS_NAMES[task]
        columns += [f"{task} {low}", f"{task} {high}", f"{task} % {high}"]
    rows = []
    for corpus in experiment.corpora.values():
        row = [Item(corpus.name), Item(corpus.language or "unknown"), number(corpus.utterances, 0)]
        for task in tasks:
            of_low, of_high = corpus.classes[task]
            share = 100 * of_high / (of_low + of_high) if of_low + of_high else None
            row += [number(of_low, 0), number(of_high, 0), number(share)]
        rows.append(row)
    return Sheet("corpora", "Corpora", columns, rows)


def _methods(experiment: Experiment, outcomes: Sequence[Outcome]) -> Sheet:
    rows = []
    for method, info in experiment.methods.items():
        own = [outcome for outcome in outcomes if outcome.run.method == method]
        done = [outcome.seconds or 0.0 for outcome in own if outcome.state == "done"]
        rows.append(
            [
                Item(info.label),
                Item(str(method)),
                Item("yes", look="bad") if info.oracle else Item("no"),
                Item("yes" if info.our_reading else "no"),
                number(len(done), 0),
                number(len(own), 0),
                number(sum(done) / len(done) if done else None),
            ]
        )
    columns = ["method", "as --methods spells it", "uses target labels", "our reading"]
    return Sheet("methods", "Methods", [*columns, "cells done", "cells", "seconds per cell"], rows)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def _versions(experiment: Experiment, outcomes: Sequence[Outcome]) -> str:
    """List the versions that runs were made with: more than one of a package is worth knowing."""
    seen: set[str] = set()
    for outcome in outcomes:
        if outcome.state == "done":
            try:
                versions = read_json(experiment.run_folder(outcome.run).config).get("versions", {})
            except RunError:
                continue
            seen |= {f"{package} {version}" for package, version in versions.items()}
    return ", ".join([*sorted(seen), f"page made with Python {platform.python_version()}"])


def paper_tables(experiment: Experiment, tasks: Sequence[Task]) -> Section:
    """Show all tables in which at least one of our numbers stands."""
    parts: list[Section] = []
    empty: list[str] = []
    for name in TABLE_NAMES:
        of_paper = name in PRESETS
        if of_paper and not set(PRESETS[name].tasks) & set(tasks):
            continue
        made = table(experiment, name)
        there = [line for line in made.of("entry") if any(each.mean is not None for each in line.cells.values())]
        if len(there) < (1 if of_paper else 2):  # one setting alone is no study of settings
            empty.append(f"{caption(made)} Too few of its cells are done.")
            continue
        hidden = {
            column.name: None for block in made.blocks for _, column in block.columns if not known_pairs(made, column)
        }
        left_out = [f"Columns without a pair here are left out: {', '.join(hidden)}."] if hidden else []
        parts.append(
            Section(
                f"table-{name}",
                f"Table {name}: {made.title}" if of_paper else made.title,
                [caption(made)] if of_paper else [],
                sheets=[_block(f"table-{name}-{place}", made, block) for place, block in enumerate(made.blocks)],
                notes=[*left_out, *notes(made)],
                missing=list(missing(made)),
            )
        )
    return Section("tables", "The paper's tables", missing=empty, parts=parts)


def _block(identity: str, made: Table, block: Block) -> Sheet:
    """Show our numbers in a column and the paper's in one beside it, so that both can be sorted."""
    columns, groups, whole_names = ["method"], [("", 1)], [""]
    rows = [[Item(line.label, look="" if line.kind == "entry" else "muted")] for line in made.lines]
    for task, column in block.columns:
        if not known_pairs(made, column):
            continue
        name, before = heading(made, block, task, column), len(columns)
        for score, head in zip(block.scores, block.headings, strict=True):
            spot = (task, column, score)
            own = [line.cells.get(spot, Cell()) for line in made.lines]
            ours = [our_number(made, line, spot).written({}) for line in made.lines]
            shown = [(head, "", list(map(_ours, own, ours)))]
            if any(cell.cited for cell in own):
                shown.append(("paper", " of the paper", list(map(_of_paper, own))))
            if any(cell.comparable for cell in own):
                shown.append((DIFFERENCE, f" {DIFFERENCE} to the paper", list(map(_difference, own))))
            for short, more, items in shown:
                columns.append(short)
                whole_names.append(f"{name} {head}{more}")
                for row, item in zip(rows, items, strict=True):
                    row.append(item)
        groups.append((name, len(columns) - before))
    return Sheet(identity, block.title, columns, rows, groups, whole_names)


def _ours(cell: Cell, text: str) -> Item:
    return Item(MISSING) if cell.mean is None else Item(text, cell.mean, "best" * cell.best)


def _of_paper(cell: Cell) -> Item:
    if cell.cited is None:
        return Item(MISSING)
    return Item(paper_number(cell).written({}), cell.cited.mean, f"muted{' best' * cell.cited_best}")


def _difference(cell: Cell) -> Item:
    return Item(MISSING) if cell.difference is None else Item(signed(cell.difference), cell.difference, "muted")


def comparison(experiment: Experiment, outcomes: Sequence[Outcome], tasks: Sequence[Task]) -> Section:
    """Compare methods over the scenarios of all tasks, and of each."""
    parts: list[Section] = []
    lacking: list[str] = []
    for some in [tuple(tasks)] * (len(tasks) > 1) + [(task,) for task in tasks]:
        name = " and ".join(some)
        identity = f"comparison-{name.replace(' ', '-')}"
        of_tasks = [outcome for outcome in outcomes if outcome.run.task in some]
        try:
            scores = Scores.of(scored(results(experiment, of_tasks)), _METRIC)
            reference, methods = chosen(experiment, scores, [], None)
            made = compare(match(scores, methods), reference)
        except BenchError as error:
            lacking.append(f"{name}: {error}")
            continue
        score, count = SCORE_NAMES[_METRIC], len(made.matched.scenarios)
        title = (
            f"{score} over {count} scenario{'s' * (count != 1)}; differences to "
            f"{experiment.methods[reference].label}, in points"
        )
        lines = [
            [Item(MISSING if words in ("", "-") else words, value) for words, value in line]
            for line in comparison_rows(made, experiment)
        ]
        sheet = Sheet(f"{identity}-table", title, ["method", score, *HEADINGS, "mean rank"], lines)
        parts.append(Section(identity, name.capitalize(), sheets=[sheet], notes=remarks(made, experiment)))
    return Section("comparison", "Comparison of methods", [_COMPARISON], missing=lacking, parts=parts)


def pictures(
    experiment: Experiment, tasks: Sequence[Task], progress: Callable[[str], None], *, features: bool
) -> Section:
    """Show all figures that the finished runs allow."""
    shown: list[Figure] = []
    lacking: list[str] = []
    for name, entry in figures.FIGURES.items():
        if entry.of_models and not features:
            lacking.append(f"{name}: left out by --no-features")
            continue
        for task in tasks:
            if entry.of_models:
                progress(f"{name}, {task}: computing features, minutes the first time (--no-features leaves them out)")
            try:
                picture = figures.make_figure(name, experiment, figures.Choice(task=task))
            except EmodnaError as error:
                lacking.append(f"{name}, {task}: {error}")
            else:
                shown.append(figure(f"figure-{name}-{task}", picture, task))
    return Section("figures", "Figures", figures=shown, missing=lacking)


def figure(identity: str, picture: Picture, task: Task) -> Figure:
    """Return a picture as a part of the page."""
    panels = {f"{identity}-{place}": panel for place, panel in enumerate(picture.panels)}
    return Figure(
        identity,
        picture.title if task in picture.title.lower() else f"{picture.title}, {task}",
        [Plot(panel.title, page_svg(panel, key), _words(panel)) for key, panel in panels.items()],
        picture.note,
        [sheet for key, panel in panels.items() for sheet in _numbers(key, panel)],
    )


def _words(panel: Panel) -> str:
    """Return the content of a panel, to be read out."""
    axes = " by ".join(filter(None, [panel.y_label, panel.x_label]))
    marks = ("matrix" if isinstance(mark, Matrix) else f"{mark.kind} {mark.name}".strip() for mark in panel.marks)
    return ". ".join(filter(None, [panel.title, axes, ", ".join(marks)]))


def _numbers(identity: str, panel: Panel) -> Iterator[Sheet]:
    """Yield the numbers of a panel that has few of them."""
    rows: list[list[Item]] = []
    for mark in panel.marks:
        if isinstance(mark, Matrix):
            lines = zip(mark.rows, mark.values, strict=True)
            of_rows = [[Item(name), *(number(value, mark.digits) for value in values)] for name, values in lines]
            yield Sheet(identity, panel.title, ["", *mark.columns], of_rows)
        elif isinstance(mark, Dots):
            nothing: list[float | None] = [None] * len(mark.categories)
            every = zip(mark.categories, mark.values, mark.low or nothing, mark.high or nothing, strict=True)
            rows += [[Item(name), Item(mark.name), *(number(each, 2) for each in values)] for name, *values in every]
    if rows:
        yield Sheet(identity, panel.title, ["", "series", "value", "from", "to"], rows)


def cells(experiment: Experiment, outcomes: Sequence[Outcome]) -> Section:
    """Show all runs, and before them those that are missing or failed, with the reason."""
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}  # first cells of a row -> metric -> result
    for row in results(experiment, outcomes).to_pylist():
        key = tuple(row[name] for name in ("src", "tgt", "task", "label", "seed", "state"))
        found.setdefault(key, {})[row["metric"]] = row
    described = ["source", "target", "task", "method", "seed", "state"]
    every, undone = [], []
    for (*names, seed, state), by_metric in found.items():
        uar = by_metric[_METRIC]
        first = [*map(Item, names), number(seed, 0), Item(state, look=_LOOKS.get(state, "muted"))]
        constants = [[by_metric[metric][name] for name in CONSTANTS] for metric in ("war", "f1")]
        values = [by_metric[metric]["value"] for metric in SCORE_NAMES]
        values += [max(each) if None not in each else None for each in constants]
        every.append([*first, *(number(value) for value in [*values, uar["seconds"]])])
        if state != "done":
            undone.append([*first, Item(uar["error"] or MISSING, look="prose")])
    columns = [*described, *SCORE_NAMES.values(), "best constant WAR", "best constant F1", "seconds"]
    sheets = [Sheet("all-cells", "All cells", columns, every, filtered=described)]
    if undone:
        columns = [*described, "error"]
        sheets.insert(0, Sheet("undone", "Missing and failed cells", columns, undone, filtered=described))
    return Section("cells", "All cells", sheets=sheets)
