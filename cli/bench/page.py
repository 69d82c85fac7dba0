"""The page of an experiment: tables, figures and all cells as one HTML file that loads nothing."""

import base64
import hashlib
import itertools
import math
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from emodna.cli.bench.compare import (
    HEADINGS,
    choose_methods,
    format_comparison_rows,
    format_comparison_title,
    format_remarks,
)
from emodna.cli.bench.draw import render_svg
from emodna.cli.bench.formats import (
    count_known_pairs,
    describe_hidden_columns,
    format_heading,
    format_our_number,
    format_paper_number,
    format_signed,
)
from emodna.cli.bench.notes import caption, missing, notes
from emodna.model.bench import figures
from emodna.model.bench.compare import compare, match_scores
from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, Panel
from emodna.model.bench.paper import PAPER_TABLES
from emodna.model.bench.results import CONSTANTS, RunResult, Scores, collect_results, read_run_results, select_scores
from emodna.model.bench.spec import Experiment, note_shared_recordings
from emodna.model.bench.tables import DIFFERENCE, TABLE_NAMES, Block, Cell, CellPosition, Table, make_table
from emodna.model.errors import BenchError, RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import read_json
from emodna.pipeline.emotions import CLASS_NAMES, TASKS, Task
from emodna.pipeline.errors import EmodnaError

MISSING: Final = "–"  # noqa: RUF001 - a dash as wide as a digit
_HERE: Final = Path(__file__).parent
#: The one score in which no constant predictor looks good.
_METRIC: Final = "uar"
_LOOKS: Final = {"done": "", "failed": "bad"}


# Parts of the page, which page.html lays out


class PageCell(NamedTuple):
    """A cell of a table."""

    text: str
    number: float | None = None
    """Sort key; None comes last."""
    look: str = ""
    """Class of page.css."""


def make_cell(value: PageCell | str | float | None, digits: int = 1) -> PageCell:
    """Return a cell with a text or a number, a whole one without decimals; what is missing is a dash."""
    match value:
        case PageCell():
            return value
        case str():
            return PageCell(value)
        case int():
            return PageCell(str(value), float(value))
        case float() if math.isfinite(value):
            return PageCell(f"{value:.{digits}f}", value)
    return PageCell(MISSING)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table that can be sorted; its first column names the rows."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[PageCell]]
    groups: Sequence[tuple[str, int]] = ()
    """Headings above the columns, each with the number of columns that it spans."""
    whole_names: Sequence[str] = ()
    """Names of the columns in a file, or read out, if those above them do not say enough."""
    filtered: Sequence[str] = ()
    """Columns whose values can be chosen from a list, if there are many rows."""

    @property
    def numeric(self) -> list[bool]:
        """True of columns with numbers, or with nothing."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return [all(each.text == MISSING or each.number is not None for each in column) for column in columns]


class PageFigure(NamedTuple):
    """A picture, and its numbers as tables if they are few."""

    id: str
    title: str
    picture: FigureData
    numbers: Sequence[PageTable]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    lead: str = ""
    facts: Sequence[tuple[str, str]] = ()
    sheets: Sequence[PageTable] = ()
    figures: Sequence[PageFigure] = ()
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()
    """Parts that would stand here but are not there yet, and why."""
    parts: Sequence["Section"] = ()


class Page(NamedTuple):
    """The whole page."""

    experiment: Experiment
    outcomes: Sequence[RunResult]
    """Outcomes that the page shows."""
    sections: Sequence[Section]


def html(page: Page) -> str:
    """Return the page as one HTML document, which may load nothing and runs no script but its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # A browser hashes what lies between the tags, so nothing may be added to it there.
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    return environment.get_template("page.html").render(
        page=page,
        style=style,
        script=script,
        script_hash=digest,
        version=version("emodna"),
        svg=render_svg,
        words=_describe_panel,
    )


def _describe_panel(panel: Panel) -> str:
    """Return the content of a panel, to be read out."""
    axes = " by ".join(filter(None, [panel.y_label, panel.x_label]))
    marks = ("matrix" if isinstance(mark, HeatmapMark) else f"{mark.kind} {mark.name}".strip() for mark in panel.marks)
    return ". ".join(filter(None, [panel.title, axes, ", ".join(marks)]))


# The content


def build_page(
    experiment: Experiment, tasks: Sequence[Task], progress: Callable[[str], None], *, features: bool
) -> Page:
    """Make the page of an experiment, of some of its tasks or, if none are named, of all.

    `progress` is told what is being computed where that takes long; without `features`, what has to be computed from
    the trained models is left out.
    """
    wanted = [task for task in TASKS if task in (tasks or experiment.tasks)]
    every = read_run_results(experiment)
    found = collect_results(experiment, every, with_class_1_share=True)
    outcomes = [outcome for outcome in every if outcome.run.task in wanted]
    sections = [
        build_overview(experiment, outcomes, wanted),
        _build_paper_tables(experiment, found, wanted),
        _build_comparison(experiment, found, wanted),
        _build_figures(experiment, wanted, progress, features=features),
        _build_runs(_select_tasks(found, wanted)),
    ]
    return Page(experiment, outcomes, sections)


def _select_tasks(found: pa.Table, tasks: Sequence[Task]) -> pa.Table:
    return found.filter(pc.field("task").isin(list(tasks)))


def build_overview(experiment: Experiment, outcomes: Sequence[RunResult], tasks: Sequence[Task]) -> Section:
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
        "training time of all cells": _format_duration(sum(outcome.seconds or 0.0 for outcome in outcomes)),
        "versions": _format_versions(experiment, outcomes),
    }
    shared_recordings = {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}
    return Section(
        "about",
        "What this is",
        facts=list(facts.items()),
        sheets=[_tabulate_corpora(experiment, tasks), _tabulate_methods(experiment, outcomes)],
        notes=[f"{note}." for note in note_shared_recordings(shared_recordings)],
    )


def _tabulate_corpora(experiment: Experiment, tasks: Sequence[Task]) -> PageTable:
    columns = ["corpus", "languages", "utterances"]
    for task in tasks:
        low, high = CLASS_NAMES[task]
        columns += [f"{task} {low}", f"{task} {high}", f"{task} % {high}"]
    rows = []
    for corpus in experiment.corpora.values():
        row: list[str | float | None] = [corpus.name, corpus.language or "unknown", corpus.utterances]
        for task in tasks:
            of_low, of_high = corpus.classes[task]
            row += [of_low, of_high, 100 * of_high / (of_low + of_high) if of_low + of_high else None]
        rows.append(list(map(make_cell, row)))
    return PageTable("corpora", "Corpora", columns, rows)


def _tabulate_methods(experiment: Experiment, outcomes: Sequence[RunResult]) -> PageTable:
    columns = ["method", "as --methods spells it", "uses target labels", "our reading"]
    columns += ["cells done", "cells", "seconds per cell"]
    rows = []
    for method, info in experiment.methods.items():
        own = [outcome for outcome in outcomes if outcome.run.method == method]
        seconds = [outcome.seconds or 0.0 for outcome in own if outcome.state == "done"]
        oracle = PageCell("yes", look="bad") if info.oracle else "no"
        row = [info.label, str(method), oracle, "yes" if info.our_reading else "no", len(seconds), len(own)]
        rows.append(list(map(make_cell, [*row, sum(seconds) / len(seconds) if seconds else None])))
    return PageTable("methods", "Methods", columns, rows)


def _format_duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def _format_versions(experiment: Experiment, outcomes: Sequence[RunResult]) -> str:
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


def _build_paper_tables(experiment: Experiment, found: pa.Table, tasks: Sequence[Task]) -> Section:
    """Show all tables in which at least one of our numbers stands."""
    parts: list[Section] = []
    empty: list[str] = []
    for name in TABLE_NAMES:
        of_paper = name in PAPER_TABLES
        if of_paper and not set(PAPER_TABLES[name].tasks) & set(tasks):
            continue
        made = make_table(experiment, name, found)
        there = [
            line for line in made.select_rows("entry") if any(each.mean is not None for each in line.cells.values())
        ]
        if len(there) < (1 if of_paper else 2):  # one setting alone is no study of settings
            empty.append(f"{caption(made)} Too few of its cells are done.")
            continue
        parts.append(
            Section(
                f"table-{name}",
                f"Table {name}: {made.title}" if of_paper else made.title,
                caption(made) if of_paper else "",
                sheets=[
                    _tabulate_block(f"table-{name}-{place}", made, block) for place, block in enumerate(made.blocks)
                ],
                notes=[*describe_hidden_columns(made), *notes(made)],
                missing=list(missing(made)),
            )
        )
    return Section("tables", "The paper's tables", missing=empty, parts=parts)


def _tabulate_block(identity: str, made: Table, block: Block) -> PageTable:
    """Show our numbers in a column and the paper's in one beside it, so that both can be sorted."""
    columns, groups, whole_names = ["method"], [("", 1)], [""]
    rows = [[PageCell(line.label, look="" if line.kind == "entry" else "muted")] for line in made.rows]
    for task, column in block.columns:
        if not count_known_pairs(made, column):
            continue
        name, before = format_heading(made, block, task, column), len(columns)
        for score, head in zip(block.scores, block.headings, strict=True):
            for short, whole, items in _make_columns(made, (task, column, score), head):
                columns.append(short)
                whole_names.append(f"{name} {whole}")
                for row, each in zip(rows, items, strict=True):
                    row.append(each)
        groups.append((name, len(columns) - before))
    return PageTable(identity, block.title, columns, rows, groups, whole_names)


def _make_columns(made: Table, spot: CellPosition, head: str) -> Iterator[tuple[str, str, list[PageCell]]]:
    """Yield heading, whole heading and cells of each column: ours, the paper's, and their difference."""
    cells, nothing = [line.cells.get(spot, Cell()) for line in made.rows], PageCell(MISSING)
    ours = [format_our_number(made, line, spot).written({}) for line in made.rows]
    items = [
        nothing if cell.mean is None else PageCell(text, cell.mean, "best" * cell.best)
        for cell, text in zip(cells, ours, strict=True)
    ]
    yield head, head, items
    if any(cell.paper_score for cell in cells):
        items = [
            PageCell(format_paper_number(cell).written({}), cell.paper_score.mean, f"muted{' best' * cell.paper_best}")
            if cell.paper_score
            else nothing
            for cell in cells
        ]
        yield "paper", f"{head} of the paper", items
    if any(cell.comparable for cell in cells):
        differences = [cell.difference for cell in cells]
        items = [nothing if each is None else PageCell(format_signed(each), each, "muted") for each in differences]
        yield DIFFERENCE, f"{head} {DIFFERENCE} to the paper", items


def _build_comparison(experiment: Experiment, found: pa.Table, tasks: Sequence[Task]) -> Section:
    """Compare methods over the scenarios of all tasks, and of each."""
    parts: list[Section] = []
    lacking: list[str] = []
    for some in [tuple(tasks)] * (len(tasks) > 1) + [(task,) for task in tasks]:
        name = " and ".join(some)
        identity = f"comparison-{name.replace(' ', '-')}"
        try:
            scores = Scores.from_table(select_scores(_select_tasks(found, some)), _METRIC)
            reference, methods = choose_methods(experiment, scores, [], None)
            made = compare(match_scores(scores, methods), reference)
        except BenchError as error:
            lacking.append(f"{name}: {error}")
            continue
        lines = [
            [PageCell(MISSING if words in ("", "-") else words, value) for words, value in line]
            for line in format_comparison_rows(made, experiment)
        ]
        title, columns = (
            format_comparison_title(made, experiment, _METRIC),
            [SCORE_NAMES[_METRIC], *HEADINGS, "mean rank"],
        )
        sheet = PageTable(f"{identity}-table", title, ["method", *columns], lines)
        parts.append(Section(identity, name.capitalize(), sheets=[sheet], notes=[*format_remarks(made, experiment)]))
    return Section("comparison", "Comparison of methods", missing=lacking, parts=parts)


def _build_figures(
    experiment: Experiment, tasks: Sequence[Task], progress: Callable[[str], None], *, features: bool
) -> Section:
    """Show all figures that the finished runs allow."""
    shown: list[PageFigure] = []
    lacking: list[str] = []
    for name, entry in figures.FIGURES.items():
        if entry.uses_models and not features:
            lacking.append(f"{name}: left out by --no-features")
            continue
        for task in tasks:
            if entry.uses_models:
                progress(f"{name}, {task}: computing features, minutes the first time (--no-features leaves them out)")
            try:
                picture = figures.make_figure(name, experiment, figures.FigureOptions(task=task))
            except EmodnaError as error:
                lacking.append(f"{name}, {task}: {error}")
                continue
            identity = f"figure-{name}-{task}"
            title = picture.title if task in picture.title.lower() else f"{picture.title}, {task}"
            numbers = [_tabulate_panel(f"{identity}-{place}", panel) for place, panel in enumerate(picture.panels)]
            shown.append(PageFigure(identity, title, picture, [sheet for sheet in numbers if sheet is not None]))
    return Section("figures", "Figures", figures=shown, missing=lacking)


def _tabulate_panel(identity: str, panel: Panel) -> PageTable | None:
    """Return the numbers of a panel that has few of them: a matrix, or dots."""
    match panel.marks:
        case [HeatmapMark() as matrix]:
            lines = zip(matrix.rows, matrix.values, strict=True)
            rows = [[PageCell(name), *(make_cell(value, matrix.digits) for value in values)] for name, values in lines]
            return PageTable(identity, panel.title, ["", *matrix.columns], rows)
        case [DotMark(), *_] as dots:
            rows = [
                [PageCell(name), PageCell(mark.name), *map(partial(make_cell, digits=2), values)]
                for mark in dots
                if isinstance(mark, DotMark)
                for name, *values in itertools.zip_longest(
                    mark.categories, mark.values, mark.low or (), mark.high or ()
                )
            ]
            return PageTable(identity, panel.title, ["", "series", "value", "from", "to"], rows) if rows else None
    return None


def _build_runs(found: pa.Table) -> Section:
    """Show all runs, and before them those that are missing or failed, with the reason."""
    described = ["source", "target", "task", "method", "seed", "state"]
    every, undone = [], []
    key = itemgetter("src", "tgt", "task", "label", "seed", "state")
    for (*names, state), rows in itertools.groupby(found.to_pylist(), key):
        by_metric: dict[str, dict[str, Any]] = {row["metric"]: row for row in rows}
        first = [*map(make_cell, names), PageCell(state, look=_LOOKS.get(state, "muted"))]
        values = [by_metric[metric]["value"] for metric in SCORE_NAMES]
        for metric in ("war", "f1"):
            constants = [by_metric[metric][name] for name in CONSTANTS]
            values.append(max(constants) if None not in constants else None)
        uar = by_metric[_METRIC]
        every.append([*first, *map(make_cell, [*values, uar["seconds"]])])
        if state != "done":
            undone.append([*first, PageCell(uar["error"] or MISSING, look="prose")])
    columns = [*described, *SCORE_NAMES.values(), "best constant WAR", "best constant F1", "seconds"]
    sheets = [PageTable("all-cells", "All cells", columns, every, filtered=described)]
    if undone:
        columns = [*described, "error"]
        sheets.insert(0, PageTable("undone", "Missing and failed cells", columns, undone, filtered=described))
    return Section("cells", "All cells", sheets=sheets)
