"""Tests of the HTML page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emodna.cli.bench.page import MISSING
from emodna.model.bench import figures
from tests.cli.bench.examples import HOSTILE, make_experiment, make_figures
from tests.cli.running import Command

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'emodna[browser]'")

CELLS = "#all-runs"


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
class Visit:
    """An open page and the problems that it reported."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def column(self, number: int, *, shown: bool = True) -> list[str]:
        rows = f"{CELLS} tbody tr{':not([hidden])' if shown else ''}"
        cells: list[str] = self.page.eval_on_selector_all(
            rows, f"rows => rows.map(row => row.cells[{number}].textContent)"
        )
        return cells

    def heading(self, name: str) -> Any:
        return self.page.locator(f"{CELLS} thead button", has_text=name).first


@pytest.fixture
def visit(
    browser: Any, emodna_bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """Open a page with all kinds of figures in a window of this width and theme; fail if it reports a problem."""
    width, theme = getattr(request, "param", (1280, "light"))
    examples = {figure.name: figure for figure in make_figures()}
    monkeypatch.setattr(figures, "FIGURES", dict.fromkeys(examples, figures.FIGURES["ranks"]))
    monkeypatch.setattr(figures, "make_figure", lambda name, _bench, _choice: examples[name])
    make_experiment(tmp_path / "bench")
    assert emodna_bench("report", "--task", "arousal").code == 0
    opened = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    visited = Visit(opened.new_page())
    file = (tmp_path / "bench" / "report.html").as_uri()

    def only_the_file(route: Any) -> None:
        if route.request.url.split("#")[0] == file:
            route.continue_()
        else:
            visited.problems.append(f"request: {route.request.url}")
            route.abort()

    visited.page.route("**/*", only_the_file)
    visited.page.on("console", lambda message: visited.problems.append(f"console: {message.text}"))
    visited.page.on("pageerror", lambda error: visited.problems.append(f"error: {error}"))
    visited.page.on("dialog", lambda dialog: visited.problems.append(f"dialog: {dialog.message}"))
    visited.page.goto(file)
    yield visited
    visited.page.wait_for_timeout(100)
    opened.close()
    assert visited.problems == []


def test_heading_sorts_numbers_with_missing_values_last(visit: Visit) -> None:
    uar = visit.heading("UAR")
    uar.click()
    rising = visit.column(6)
    known = [float(value) for value in rising[:-2]]
    assert rising[-2:] == [MISSING, MISSING]
    assert known == sorted(known)
    assert {len(str(int(value))) for value in known} == {1, 2}  # text order would differ
    assert uar.evaluate("button => button.parentElement.ariaSort") == "ascending"
    uar.press("Enter")
    falling = visit.column(6)
    assert [float(value) for value in falling[:-2]] == known[::-1]
    assert falling[-2:] == [MISSING, MISSING]
    assert uar.evaluate("button => button.parentElement.ariaSort") == "descending"
    visit.heading("source").click()
    assert visit.column(0) == sorted(visit.column(0), key=lambda name: name != HOSTILE)
    assert visit.page.locator(f"{CELLS} th[aria-sort]").count() == 1
    uar.click()
    before = visit.column(6)
    visit.heading("method").click()
    both = list(zip(visit.column(3), visit.column(6), strict=True))
    assert both == sorted(both, key=lambda row: (row[0], before.index(row[1])))  # the sort is stable


def test_filters_hide_rows_and_update_the_count(visit: Visit) -> None:
    count = visit.page.locator(f"{CELLS} output")
    assert count.text_content() == "16 of 16 rows"
    visit.page.fill(f"{CELLS} input", "ONERROR fixed")
    assert count.text_content() == "4 of 16 rows"
    assert set(visit.column(3)) == {"emo-dna (threshold=fixed:0.9)"}
    visit.page.select_option(f"{CELLS} select[data-column='0']", label="emodb")
    assert count.text_content() == "2 of 16 rows"
    visit.page.fill(f"{CELLS} input", "no such words")
    assert count.text_content() == "0 of 16 rows"
    visit.page.fill(f"{CELLS} input", "")
    visit.page.select_option(f"{CELLS} select[data-column='0']", "")
    visit.page.select_option(f"{CELLS} select[data-column='4']", label="1")
    assert visit.column(4) == ["1"] * 8
    assert len(visit.column(4, shown=False)) == 16


def test_visible_rows_are_copied_as_csv(visit: Visit) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.fill(f"{CELLS} input", "dan")
    visit.page.click(f"{CELLS} .copy")
    visit.page.wait_for_function("document.querySelector('#all-runs .copy').textContent === 'Copied'")
    head, *lines = visit.page.evaluate("navigator.clipboard.readText()").split("\n")
    assert head.strip().startswith("source,target,task,method,seed,state,UAR,WAR")
    assert len([line for line in lines if line]) == int(visit.page.text_content(f"{CELLS} output").split()[0])


def test_theme_button_changes_page_and_plots(visit: Visit) -> None:
    def colours() -> list[str]:
        found: list[str] = visit.page.evaluate(
            """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                getComputedStyle(document.querySelector('#figure-curves-arousal text')).fill,
                getComputedStyle(document.querySelector('#figure-curves-arousal g:not(defs) > path[style*=series]'))
                  .stroke]"""
        )
        return found

    light = colours()
    visit.page.click("#theme")
    dark = colours()
    assert not set(light) & set(dark)
    assert dark[1] == dark[2]
    visit.page.reload()
    assert colours() == dark
    visit.page.emulate_media(media="print")
    assert colours() == light
    visit.page.emulate_media(media="screen")
    visit.page.click("#theme")
    assert colours() == light


@pytest.mark.parametrize(
    "visit", [(width, theme) for width in (1280, 390) for theme in ("light", "dark")], indirect=True
)
def test_page_fits_the_window_and_its_text_is_readable(visit: Visit, tmp_path: Path) -> None:
    for details in visit.page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    faint = visit.page.evaluate(
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
    visit.page.screenshot(path=screenshot, full_page=True)
    assert screenshot.stat().st_size > 10_000


@pytest.mark.parametrize("visit", [(390, "light")], indirect=True)
def test_wide_table_scrolls_beside_its_first_column(visit: Visit) -> None:
    box = visit.page.locator(f"{CELLS} .box")
    before = box.locator("tbody th").first.bounding_box()["x"]
    box.evaluate("each => each.scrollLeft = 300")
    assert box.evaluate("each => each.scrollLeft") == 300
    assert abs(box.locator("tbody th").first.bounding_box()["x"] - before) <= 1
