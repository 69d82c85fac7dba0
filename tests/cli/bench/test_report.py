"""Tests of the HTML page: complete, self-contained and safe."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from emodna.cli.bench.page import build_overview, build_page, render_page
from emodna.cli.bench.page_parts import MISSING, make_cell
from emodna.model.bench import figures
from emodna.model.bench.results import read_run_results
from emodna.model.errors import BenchError
from tests.cli.bench.examples import HOSTILE, HOSTILE_ERROR, make_experiment, make_figures
from tests.cli.running import Command


class ParsedPage(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


@contextmanager
def replace_figures() -> Iterator[None]:
    """Replace the figures by examples of all marks, one without data, and one with damaged files."""
    examples = {figure.name: figure for figure in make_figures()}

    def make_figure(name: str, _experiment: object, options: figures.FigureOptions) -> Any:
        if name == "empty":
            raise figures.NoFigureDataError("no finished run of emo-dna")
        if name == "damaged" or options.task == "valence":
            raise BenchError(f"damaged: {HOSTILE_ERROR}")
        return examples[name]

    with pytest.MonkeyPatch.context() as patch:
        names = [*examples, "empty", "damaged"]
        kept_figures = {"features-parts": figures.FIGURES["features-parts"]}
        patch.setattr(figures, "FIGURES", {**dict.fromkeys(names, figures.FIGURES["ranks"]), **kept_figures})
        patch.setattr(figures, "make_figure", make_figure)
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> ParsedPage:
    with replace_figures():
        experiment = make_experiment(tmp_path_factory.mktemp("bench"))
        return ParsedPage(render_page(build_page(experiment, [], print, features=False)))


def test_page_loads_no_files_and_allows_only_its_own_script(page: ParsedPage) -> None:
    assert [*page.attributes("src"), *page.attributes("srcset"), *page.attributes("action")] == []
    assert all(href.startswith(("#", "data:")) for href in page.attributes("href"))
    assert not {"img", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    (policy,) = (text for text in page.attributes("content") if "default-src" in text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    ((_, code),) = page.scripts
    assert rules["script-src"] == "'sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() + "'"


def test_hostile_strings_are_escaped(page: ParsedPage) -> None:
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert [HOSTILE, "de", "100", "40", "60", "60.0", "70", "30", "30.0"] in page.rows
    assert any(row[-1] == f"no such thing: {HOSTILE_ERROR}" for row in page.rows if row)


def test_panels_are_drawn_and_small_ones_have_tables(page: ParsedPage) -> None:
    plots = [attrs["aria-label"] for _, attrs in page.tags if attrs.get("class") == "plot"]
    assert len(plots) == [tag for tag, _ in page.tags].count("svg") == sum(len(each.panels) for each in make_figures())
    assert plots[0] == f"threshold. share by step. line dan, line {HOSTILE}"
    assert ["emodb", MISSING, "61.2", "70.0"] in page.rows
    assert ["source-only", "arousal", "61.00", "58.00", "64.00"] in page.rows


def test_page_has_all_sections_and_runs(page: ParsedPage) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    expected = "about tables table-2 comparison figures cells corpora methods unfinished all-runs figure-matrix-arousal"
    assert set(expected.split()) <= set(ids)
    runs = [row for row in page.rows if len(row) == 14][1:]
    assert len(runs) == 32
    assert runs[0][:6] == ["emodb", HOSTILE, "valence", "source-only (steps=60, frames=32)", "0", "done"]
    # Constant predictors of 70 negative and 30 positive utterances, seconds, exposure.
    assert runs[0][10:] == ["70.0", "46.2", "5.0", "no"]
    assert [row[5] for row in runs[-2:]] == ["waiting", "failed"]
    assert [row[5] for row in page.rows if len(row) == 7][-2:] == ["waiting", "failed"]


def test_overview_notes_shared_recordings(tmp_path: Path) -> None:
    experiment = replace(make_experiment(tmp_path, seeds=1), shared_recordings={("emodb", HOSTILE): 107})
    about = build_overview(experiment, read_run_results(experiment), ["arousal"])
    assert about.notes == [
        f"emodb -> {HOSTILE}: the source contains 107 labelled recordings of the target; its scores overestimate those "
        "on unseen speech."
    ]


def test_page_of_a_task_without_runs_has_no_runs(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, seeds=1)
    experiment = replace(experiment, runs=tuple(run for run in experiment.runs if run.task == "arousal"))
    page = ParsedPage(render_page(build_page(experiment, ["valence"], print, features=False)))
    assert [row for row in page.rows if len(row) == 14][1:] == []


def test_command_lists_missing_parts(emodna_bench: Command, tmp_path: Path) -> None:
    make_experiment(tmp_path / "bench")
    with replace_figures():
        result = emodna_bench("report", "--task", "arousal", "--no-features", "--to", "here.html", "--json")
    assert result.json["page"] == str(tmp_path / "here.html")
    assert result.json["bytes"] == (tmp_path / "here.html").stat().st_size
    assert result.json["figures"] == [f"figure-{figure.name}-arousal" for figure in make_figures()]
    missing = result.json["missing"]
    assert "empty, arousal: no finished run of emo-dna" in missing
    assert "features-parts: left out by --no-features" in missing
    assert "valence" not in ParsedPage((tmp_path / "here.html").read_text()).rows[1]


def test_user_mistake_prints_one_line(emodna_bench: Command, tmp_path: Path) -> None:
    assert "contains no experiment" in emodna_bench("report", "--out", tmp_path / "none").error()
    make_experiment(tmp_path / "bench", seeds=1)
    result = emodna_bench("report", "--out", tmp_path / "bench", "--to", tmp_path / "gone" / "x.html")
    assert result.error().endswith(f"gone/x.html: folder {tmp_path}/gone not found")


@pytest.mark.parametrize(("value", "text"), [(12.345, "12.3"), (None, MISSING), (float("nan"), MISSING)])
def test_make_cell_shows_a_number_or_a_dash(value: float | None, text: str) -> None:
    assert make_cell(value).text == text
    assert (make_cell(value).number is None) == (text == MISSING)
