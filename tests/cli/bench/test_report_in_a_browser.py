"""Tests of the HTML page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emodna.cli.bench.page_parts import MISSING
from emodna.model.bench import figures
from tests.cli.bench.examples import HOSTILE, make_experiment, make_figures
from tests.cli.running import Command

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'emodna[browser]'")

TABLE = "#all-runs"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        places = [*map(shutil.which, names), started.chromium.executable_path]
        found = next((place for place in places if place and Path(place).exists()), None)
        if found is None:
            pytest.skip("needs Chromium: install it, or run `playwright install chromium`")
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class OpenPage:
    """An open page and the problems that it reported."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def column(self, number: int, *, visible: bool = True) -> list[str]:
        rows = f"{TABLE} tbody tr{':not([hidden])' if visible else ''}"
        read_cells = f"rows => rows.map(row => row.cells[{number}].textContent)"
        return list(self.page.eval_on_selector_all(rows, read_cells))

    def heading(self, name: str) -> Any:
        return self.page.locator(f"{TABLE} thead button", has_text=name).first


@pytest.fixture
def open_page(
    browser: Any, emodna_bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[OpenPage]:
    """Open a page with all kinds of figures in a window of this width and theme. Fail if the page reports a problem."""
    width, theme = getattr(request, "param", (1280, "light"))
    examples = {figure.name: figure for figure in make_figures()}
    monkeypatch.setattr(figures, "FIGURES", dict.fromkeys(examples, figures.FIGURES["ranks"]))
    monkeypatch.setattr(figures, "make_figure", lambda name, _bench, _choice: examples[name])
    make_experiment(tmp_path / "bench")
    assert emodna_bench("report", "--task", "arousal").code == 0
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    open_page = OpenPage(context.new_page())
    file = (tmp_path / "bench" / "report.html").as_uri()

    def block_other_requests(route: Any) -> None:
        if route.request.url.split("#")[0] == file:
            route.continue_()
        else:
            open_page.problems.append(f"request: {route.request.url}")
            route.abort()

    open_page.page.route("**/*", block_other_requests)
    open_page.page.on("console", lambda message: open_page.problems.append(f"console: {message.text}"))
    open_page.page.on("pageerror", lambda error: open_page.problems.append(f"error: {error}"))
    open_page.page.on("dialog", lambda dialog: open_page.problems.append(f"dialog: {dialog.message}"))
    open_page.page.goto(file)
    yield open_page
    open_page.page.wait_for_timeout(100)
    context.close()
    assert open_page.problems == []


def test_heading_sorts_numbers_with_missing_values_last(open_page: OpenPage) -> None:
    uar = open_page.heading("UAR")
    uar.click()
    rising = open_page.column(6)
    known = [float(value) for value in rising[:-2]]
    assert rising[-2:] == [MISSING, MISSING]
    assert known == sorted(known)
    assert {len(str(int(value))) for value in known} == {1, 2}  # text order would differ
    assert uar.evaluate("button => button.parentElement.ariaSort") == "ascending"
    uar.press("Enter")
    falling = open_page.column(6)
    assert [float(value) for value in falling[:-2]] == known[::-1]
    assert falling[-2:] == [MISSING, MISSING]
    assert uar.evaluate("button => button.parentElement.ariaSort") == "descending"
    open_page.heading("source").click()
    assert open_page.column(0) == sorted(open_page.column(0), key=lambda name: name != HOSTILE)
    assert open_page.page.locator(f"{TABLE} th[aria-sort]").count() == 1
    uar.click()
    before = open_page.column(6)
    open_page.heading("method").click()
    both = list(zip(open_page.column(3), open_page.column(6), strict=True))
    assert both == sorted(both, key=lambda row: (row[0], before.index(row[1])))  # the sort is stable


def test_filters_hide_rows_and_update_the_count(open_page: OpenPage) -> None:
    count = open_page.page.locator(f"{TABLE} output")
    assert count.text_content() == "16 of 16 rows"
    open_page.page.fill(f"{TABLE} input", "ONERROR fixed")
    assert count.text_content() == "4 of 16 rows"
    assert set(open_page.column(3)) == {"emo-dna (threshold=fixed:0.9, steps=60, frames=32)"}
    open_page.page.select_option(f"{TABLE} select[data-column='0']", label="emodb")
    assert count.text_content() == "2 of 16 rows"
    open_page.page.fill(f"{TABLE} input", "no such words")
    assert count.text_content() == "0 of 16 rows"
    open_page.page.fill(f"{TABLE} input", "")
    open_page.page.select_option(f"{TABLE} select[data-column='0']", "")
    open_page.page.select_option(f"{TABLE} select[data-column='4']", label="1")
    assert open_page.column(4) == ["1"] * 8
    assert len(open_page.column(4, visible=False)) == 16


def test_visible_rows_are_copied_as_csv(open_page: OpenPage) -> None:
    open_page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_page.page.fill(f"{TABLE} input", "dan")
    open_page.page.click(f"{TABLE} .copy")
    open_page.page.wait_for_function("document.querySelector('#all-runs .copy').textContent === 'Copied'")
    head, *lines = open_page.page.evaluate("navigator.clipboard.readText()").split("\n")
    assert head.strip().startswith("source,target,task,method,seed,state,UAR,WAR")
    assert len([line for line in lines if line]) == int(open_page.page.text_content(f"{TABLE} output").split()[0])


def test_theme_button_changes_page_and_plots(open_page: OpenPage) -> None:
    def read_colours() -> Any:
        return open_page.page.evaluate(
            """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                getComputedStyle(document.querySelector('#figure-curves-arousal text')).fill,
                getComputedStyle(document.querySelector('#figure-curves-arousal g:not(defs) > path[style*=series]'))
                  .stroke]"""
        )

    light = read_colours()
    open_page.page.click("#theme")
    dark = read_colours()
    assert not set(light) & set(dark)
    assert dark[1] == dark[2]
    open_page.page.reload()
    assert read_colours() == dark
    open_page.page.emulate_media(media="print")
    assert read_colours() == light
    open_page.page.emulate_media(media="screen")
    open_page.page.click("#theme")
    assert read_colours() == light


@pytest.mark.parametrize(
    "open_page", [(width, theme) for width in (1280, 390) for theme in ("light", "dark")], indirect=True
)
def test_page_fits_the_window_and_its_text_is_readable(open_page: OpenPage, tmp_path: Path) -> None:
    for details in open_page.page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    assert open_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    faint = open_page.page.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map((c) => c / 255)
              .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (each) => {
            const found = getComputedStyle(each).backgroundColor;
            return /, 0\\)$/.test(found) && each.parentElement ? behind(each.parentElement) : found;
          };
          const contrast = (each) => {
            const [a, b] = [light(getComputedStyle(each).color), light(behind(each))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
          };
          return [...document.querySelectorAll("body *:not(script, svg *)")].filter((each) => each.checkVisibility())
            .filter((each) => contrast(each) < 4.5).map((each) => each.outerHTML.slice(0, 80));
        }"""
    )
    assert faint == []
    screenshot = tmp_path / "page.png"
    open_page.page.screenshot(path=screenshot, full_page=True)
    assert screenshot.stat().st_size > 10_000


@pytest.mark.parametrize("open_page", [(390, "light")], indirect=True)
def test_first_column_stays_when_a_wide_table_scrolls(open_page: OpenPage) -> None:
    box = open_page.page.locator(f"{TABLE} .box")
    before = box.locator("tbody th").first.bounding_box()["x"]
    box.evaluate("each => each.scrollLeft = 300")
    assert box.evaluate("each => each.scrollLeft") == 300
    assert abs(box.locator("tbody th").first.bounding_box()["x"] - before) <= 1
