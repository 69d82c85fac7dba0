"""The HTML page of an experiment: tables, figures and all runs in one self-contained file."""

import base64
import hashlib
import itertools
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from emodna.cli.bench import formats
from emodna.cli.bench.compare import (
    HEADINGS,
    choose_methods,
    format_comparison_notes,
    format_comparison_rows,
    format_comparison_title,
)
from emodna.cli.bench.draw import render_svg
from emodna.cli.bench.notes import describe_names, describe_steps, format_caption, format_gaps, format_notes
from emodna.cli.bench.page_parts import MISSING, Page, PageCell, PageFigure, PageTable, Section, make_cell
from emodna.cli.wording import word_error
from emodna.model.bench import figures
from emodna.model.bench.compare import compare, match_scores
from emodna.model.bench.figure_data import DotMark, HeatmapMark, Panel
from emodna.model.bench.paper import PAPER_TABLES
from emodna.model.bench.results import CONSTANTS, RunResult, Scores, collect_results, read_run_results, select_scores
from emodna.model.bench.spec import CorpusSummary, Experiment, note_shared_recordings
from emodna.model.bench.table_data import DIFFERENCE, Block, Cell, CellPosition, Table
from emodna.model.bench.tables import TABLE_NAMES, make_table
from emodna.model.errors import BenchError, RunError
from emodna.model.label import combine_exposures, merge_exposures, note_exposure, read_exposure
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import read_json
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.errors import EmodnaError

_FOLDER: Final = Path(__file__).parent
#: Metric of the comparison; all constant predictors of a task have the same in it.
_METRIC: Final = "uar"
#: State -> CSS class of its cell; others are muted.
_CSS_CLASSES: Final = {"done": "", "failed": "bad"}


def render_page(page: Page) -> str:
    """Return the page as an HTML document; its policy forbids loading files and running other scripts."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(_FOLDER)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # Browsers hash the text between the script tags, so the template must not add anything to it.
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    texts = {"style": style, "script": script, "script_hash": digest, "version": version("emodna")}
    return environment.get_template("page.html").render(
        texts, page=page, render_svg=render_svg, describe_panel=_describe_panel
    )


def _describe_panel(panel: Panel) -> str:
    axes = " by ".join(filter(None, [panel.y_label, panel.x_label]))
    marks = ("heatmap" if isinstance(mark, HeatmapMark) else f"{mark.kind} {mark.name}".strip() for mark in panel.marks)
    return ". ".join(filter(None, [panel.title, axes, ", ".join(marks)]))


def build_page(
    experiment: Experiment, tasks: Sequence[str], progress: Callable[[str], None], *, features: bool
) -> Page:
    """Return the page of an experiment for some of its tasks, or for all if `tasks` is empty.

    `progress` receives a message before each slow computation. Without `features`, the page has no figures that need
    the trained models.
    """
    tasks = tasks or experiment.tasks
    all_results = read_run_results(experiment)
    scores = collect_results(experiment, all_results, with_class_1_share=True)
    results = [result for result in all_results if result.run.task in tasks]
    sections = [
        build_overview(experiment, results, tasks),
        _build_paper_tables(experiment, scores, tasks),
        _build_comparison(experiment, scores, tasks),
        _build_figures(experiment, tasks, progress, features=features),
        _build_runs(_select_tasks(scores, tasks)),
    ]
    return Page(experiment, results, sections)


def _select_tasks(scores: pa.Table, tasks: Sequence[str]) -> pa.Table:
    return scores.filter(pc.field("task").isin(list(tasks)))


def build_overview(experiment: Experiment, results: Sequence[RunResult], tasks: Sequence[str]) -> Section:
    """Return the section on corpora, methods, conditions and states."""
    conditions, pairs = experiment.conditions, {result.run.pair for result in results}
    states, names = Counter(result.state for result in results), experiment.feature_sets
    settings = ", ".join(f"{key}={value}" for key, value in conditions.settings.items())
    facts = {
        "tasks": ", ".join(tasks),
        "ordered pairs": str(len(pairs)),
        "seeds": ", ".join(map(str, sorted({result.run.seed for result in results}))),
        "training steps": describe_steps(conditions, experiment.feature_sets),
        "settings for all": settings or "the defaults",
        "feature set" + "s" * (len(names) > 1): ", ".join(describe_names(experiment)),
        "device": conditions.device,
        "runs": ", ".join(f"{count} {state}" for state, count in states.most_common()) or "none",
        "training time of all runs": _format_duration(sum(result.seconds or 0.0 for result in results)),
        "versions": _format_versions(experiment, results),
    }
    shared_recordings = {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}
    tables = [_tabulate_corpora(experiment, tasks), _tabulate_methods(experiment, results)]
    done = [result for result in results if result.result is not None]
    exposures = merge_exposures({each.run.tgt: read_exposure(each.result or {}, each.run.tgt)} for each in done)
    notes = [f"{note}." for note in (*note_shared_recordings(shared_recordings), *note_exposure(exposures))]
    return Section("about", "Overview", facts=list(facts.items()), tables=tables, notes=notes)


def _tabulate_corpora(experiment: Experiment, tasks: Sequence[str]) -> PageTable:
    columns = ["corpus", "languages", "utterances"]
    for task in tasks:
        names = list(_name_classes(experiment, task))
        columns += [*(f"{task} {name}" for name in names), *[f"{task} % {names[-1]}"] * (len(names) == 2)]
    rows = []
    for corpus in experiment.corpora.values():
        row: list[str | float | None] = [corpus.name, corpus.language or "unknown", corpus.utterances]
        for task in tasks:
            counts = _count_classes(experiment, corpus, task)
            row += counts.values()
            if len(counts) == 2:
                low, high = counts.values()
                total = (low or 0) + (high or 0)
                row.append(100 * (high or 0) / total if total else None)
        rows.append(list(map(make_cell, row)))
    return PageTable("corpora", "Corpora", columns, rows)


def _name_classes(experiment: Experiment, task: str) -> Sequence[str]:
    """Return the classes of a task; all emotions if its classes depend on the pair."""
    found = experiment.find_task(task)
    return EMOTIONS if found is None else found.classes


def _count_classes(experiment: Experiment, corpus: CorpusSummary, task: str) -> dict[str, int | None]:
    """Return the utterances of each class; None if the corpus was planned before the task was defined."""
    names, counts = _name_classes(experiment, task), corpus.classes.get(task, ())
    known = dict(zip(names if len(counts) == len(names) else EMOTIONS, counts, strict=False))
    return {name: known.get(name) for name in names}


def _tabulate_methods(experiment: Experiment, results: Sequence[RunResult]) -> PageTable:
    several = len(experiment.feature_sets) > 1
    columns = ["method", "method spec", *["feature set"] * several, "uses target labels", "exposure", "our reading"]
    columns += ["runs done", "runs", "seconds per run"]
    rows = []
    for method, info in experiment.methods.items():
        method_results = [result for result in results if result.run.method == method]
        seconds = [result.seconds or 0.0 for result in method_results if result.state == "done"]
        oracle = PageCell("yes", css_class="bad") if info.oracle else "some" if info.uses_target_labels else "no"
        names = [info.label, str(method), *[experiment.name_feature_set(method)] * several]
        exposures = [read_exposure(each.result, each.run.tgt) for each in method_results if each.result is not None]
        marks = [oracle, _make_exposure_cell(combine_exposures(exposures)), "yes" if info.our_reading else "no"]
        numbers = [len(seconds), len(method_results), sum(seconds) / len(seconds) if seconds else None]
        rows.append(list(map(make_cell, [*names, *marks, *numbers])))
    return PageTable("methods", "Methods", columns, rows)


def _make_exposure_cell(exposure: Exposure | None) -> PageCell:
    return PageCell(exposure or MISSING, css_class="" if exposure in (None, "no") else "bad")


def _format_duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def _format_versions(experiment: Experiment, results: Sequence[RunResult]) -> str:
    packages: set[str] = set()
    for result in results:
        if result.state == "done":
            try:
                versions = read_json(experiment.run_folder(result.run).config).get("versions", {})
            except RunError:
                continue
            packages |= {f"{package} {version}" for package, version in versions.items()}
    return ", ".join([*sorted(packages), f"page made with Python {platform.python_version()}"])


def _build_paper_tables(experiment: Experiment, scores: pa.Table, tasks: Sequence[str]) -> Section:
    """Return the section of all tables that have at least one of our scores."""
    parts: list[Section] = []
    empty: list[str] = []
    for name in TABLE_NAMES:
        of_paper = name in PAPER_TABLES
        if of_paper and not set(PAPER_TABLES[name].tasks) & set(tasks):
            continue
        table = make_table(experiment, name, scores)
        rows = [row for row in table.select_rows("entry") if any(each.mean is not None for each in row.cells.values())]
        if len(rows) < (1 if of_paper else 2):  # a study of settings needs two
            empty.append(f"{format_caption(table)} Too few of its runs are done.")
            continue
        identity = f"table-{name}"
        title, lead = (f"Table {name}: {table.title}", format_caption(table)) if of_paper else (table.title, "")
        tables = [_tabulate_block(f"{identity}-{index}", table, block) for index, block in enumerate(table.blocks)]
        notes = [*formats.note_hidden_columns(table), *format_notes(table)]
        parts.append(Section(identity, title, lead, tables=tables, notes=notes, missing=list(format_gaps(table))))
    return Section("tables", "The paper's tables", missing=empty, parts=parts)


def _tabulate_block(identity: str, table: Table, block: Block) -> PageTable:
    """Return a table with our numbers and the paper's in separate columns, so that both can be sorted."""
    columns, groups, full_names, filters = ["method"], [("", 1)], [""], []
    classes = ["" if row.kind == "entry" else "muted" for row in table.rows]
    labels = [formats.format_row_label(table, row) for row in table.rows]
    rows = [[PageCell(label, css_class=css_class)] for label, css_class in zip(labels, classes, strict=True)]
    if len(table.feature_sets) > 1:
        columns, groups, full_names, filters = ["method", "feature set"], [("", 2)], ["", ""], ["feature set"]
        names = [row.feature_set or MISSING for row in table.rows]
        for row, name, css_class in zip(rows, names, classes, strict=True):
            row.append(PageCell(name, css_class=css_class))
    for task, column in block.columns:
        if not formats.count_existing_pairs(table, column):
            continue
        group, first_column = formats.format_heading(table, block, task, column), len(columns)
        for score, heading in zip(block.scores, block.headings, strict=True):
            for name, full_name, cells in _make_columns(table, (task, column, score), heading):
                columns.append(name)
                full_names.append(f"{group} {full_name}")
                for row, cell in zip(rows, cells, strict=True):
                    row.append(cell)
        groups.append((group, len(columns) - first_column))
    return PageTable(identity, block.title, columns, rows, groups, full_names, filters)


def _make_columns(table: Table, position: CellPosition, heading: str) -> Iterator[tuple[str, str, list[PageCell]]]:
    """Yield heading, full heading and cells of each column: ours, the paper's, and the difference."""
    cells, empty = [row.cells.get(position, Cell()) for row in table.rows], PageCell(MISSING)
    texts = [formats.format_our_number(table, row, position).format({}) for row in table.rows]
    page_cells = [
        empty if cell.mean is None else PageCell(text, cell.mean, "best" * cell.best)
        for cell, text in zip(cells, texts, strict=True)
    ]
    yield heading, heading, page_cells
    if any(cell.paper_score for cell in cells):
        page_cells = [empty] * len(cells)
        for index, cell in enumerate(cells):
            if cell.paper_score:
                text, css_class = formats.format_paper_number(cell).format({}), f"muted{' best' * cell.paper_best}"
                page_cells[index] = PageCell(text, cell.paper_score.mean, css_class)
        yield "paper", f"{heading} of the paper", page_cells
    if any(cell.comparable for cell in cells):
        differences = [cell.difference for cell in cells]
        page_cells = [
            empty if each is None else PageCell(formats.format_signed(each), each, "muted") for each in differences
        ]
        yield DIFFERENCE, f"{heading} {DIFFERENCE} to the paper", page_cells


def _build_comparison(experiment: Experiment, scores: pa.Table, tasks: Sequence[str]) -> Section:
    parts: list[Section] = []
    missing: list[str] = []
    for selection in [tuple(tasks)] * (len(tasks) > 1) + [(task,) for task in tasks]:
        name = " and ".join(selection)
        identity = f"comparison-{name.replace(' ', '-')}"
        try:
            matrix = Scores.from_table(select_scores(_select_tasks(scores, selection)), _METRIC)
            reference, methods = choose_methods(experiment, matrix, [], None)
            comparison = compare(match_scores(matrix, methods), reference)
        except BenchError as error:
            missing.append(f"{name}: {word_error(error)}")
            continue
        rows = [
            [PageCell(MISSING if text in ("", "-") else text, value) for text, value in row]
            for row in format_comparison_rows(comparison, experiment)
        ]
        title = format_comparison_title(comparison, experiment, _METRIC)
        columns = ["method", SCORE_NAMES[_METRIC], *HEADINGS, "mean rank"]
        tables = [PageTable(f"{identity}-table", title, columns, rows)]
        notes = list(format_comparison_notes(comparison, experiment))
        parts.append(Section(identity, name.capitalize(), tables=tables, notes=notes))
    return Section("comparison", "Comparison of methods", missing=missing, parts=parts)


def _build_figures(
    experiment: Experiment, tasks: Sequence[str], progress: Callable[[str], None], *, features: bool
) -> Section:
    page_figures: list[PageFigure] = []
    missing: list[str] = []
    for name, entry in figures.FIGURES.items():
        if entry.uses_models and not features:
            missing.append(f"{name}: left out by --no-features")
            continue
        for task in tasks:
            if entry.uses_models:
                progress(f"{name}, {task}: computing features; takes minutes the first time (skip with --no-features)")
            try:
                data = figures.make_figure(name, experiment, figures.FigureOptions(task=task))
            except EmodnaError as error:
                missing.append(f"{name}, {task}: {word_error(error)}")
                continue
            identity = f"figure-{name}-{task}"
            title = data.title if task in data.title.lower() else f"{data.title}, {task}"
            tables = [_tabulate_panel(f"{identity}-{index}", panel) for index, panel in enumerate(data.panels)]
            page_figures.append(PageFigure(identity, title, data, [each for each in tables if each is not None]))
    return Section("figures", "Figures", figures=page_figures, missing=missing)


def _tabulate_panel(identity: str, panel: Panel) -> PageTable | None:
    """Return the numbers of a panel as a table; None unless it is a heatmap or a dot plot."""
    match panel.marks:
        case [HeatmapMark() as heatmap]:
            values = zip(heatmap.rows, heatmap.values, strict=True)
            rows = [[PageCell(name), *(make_cell(each, heatmap.digits) for each in row)] for name, row in values]
            return PageTable(identity, panel.title, ["", *heatmap.columns], rows)
        case [DotMark(), *_] as dots:
            rows = []
            for mark in (mark for mark in dots if isinstance(mark, DotMark)):
                points = itertools.zip_longest(mark.categories, mark.values, mark.low or (), mark.high or ())
                for name, *numbers in points:
                    rows.append([PageCell(name), PageCell(mark.name), *(make_cell(each, 2) for each in numbers)])
            return PageTable(identity, panel.title, ["", "series", "value", "from", "to"], rows) if rows else None
    return None


def _build_runs(scores: pa.Table) -> Section:
    """Return the section of all runs; unfinished and failed ones come first, with their errors."""
    several = pc.count_distinct(scores["feature_set"]).as_py() > 1
    key = ["src", "tgt", "task", "label", *["feature_set"] * several, "seed", "state"]
    run_columns = ["source", "target", "task", "method", *["feature set"] * several, "seed", "state"]
    run_rows, unfinished_rows = [], []
    last_columns = ["best constant WAR", "best constant F1", "seconds", "exposure"]
    for (*names, state), rows in itertools.groupby(scores.to_pylist(), itemgetter(*key)):
        by_metric: dict[str, dict[str, Any]] = {row["metric"]: row for row in rows}
        first = [*map(make_cell, names), PageCell(state, css_class=_CSS_CLASSES.get(state, "muted"))]
        values = [by_metric[metric]["value"] for metric in SCORE_NAMES]
        for metric in ("war", "f1"):
            constants = [by_metric[metric][name] for name in CONSTANTS]
            values.append(max((each for each in constants if each is not None), default=None))
        uar = by_metric[_METRIC]
        run_rows.append([*first, *map(make_cell, [*values, uar["seconds"], _make_exposure_cell(uar["exposure"])])])
        if state != "done":
            unfinished_rows.append([*first, PageCell(uar["error"] or MISSING, css_class="prose")])
    columns = [*run_columns, *SCORE_NAMES.values(), *last_columns]
    tables = [PageTable("all-runs", "All runs", columns, run_rows, filter_columns=run_columns)]
    if unfinished_rows:
        columns = [*run_columns, "error"]
        title = "Unfinished and failed runs"
        tables.insert(0, PageTable("unfinished", title, columns, unfinished_rows, filter_columns=run_columns))
    return Section("cells", "All runs", tables=tables)
