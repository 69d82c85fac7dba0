"""The page: one file with everything on it, and nothing in it that runs or loads."""

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

from emodna.cli.bench.page import MISSING, build_overview, build_page, html, make_cell
from emodna.model.bench import figures
from emodna.model.bench.results import read_run_results
from emodna.model.errors import BenchError
from tests.cli.bench.examples import HOSTILE, NASTY, make_experiment, pictures
from tests.cli.running import Command


class Read(HTMLParser):
    """What a browser would make of a page: its elements, and the text of scripts and of table rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)
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
    """Figures of every mark, one that has nothing to show, and one whose files are damaged."""
    made = {picture.name: picture for picture in pictures()}

    def figure(name: str, _bench: object, choice: figures.FigureOptions) -> Any:
        if name == "empty":
            raise figures.NoFigureDataError("no finished cell of emo-dna")
        if name == "damaged" or choice.task == "valence":
            raise BenchError(f"damaged: {NASTY}")
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        names = [*made, "empty", "damaged"]
        kept = {"features-parts": figures.FIGURES["features-parts"]}
        patch.setattr(figures, "FIGURES", {**dict.fromkeys(names, figures.FIGURES["ranks"]), **kept})
        patch.setattr(figures, "make_figure", figure)
        yield


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The page, made once: it is large."""
    with replace_figures():
        return Read(html(build_page(make_experiment(tmp_path_factory.mktemp("bench")), [], print, features=False)))


def test_the_page_loads_nothing_and_its_policy_lets_only_its_own_script_run(read: Read) -> None:
    assert [*read.attributes("src"), *read.attributes("srcset"), *read.attributes("action")] == []
    assert all(href.startswith(("#", "data:")) for href in read.attributes("href"))
    assert not {"img", "iframe", "object", "embed", "form"} & {tag for tag, _ in read.tags}
    (policy,) = (text for text in read.attributes("content") if "default-src" in text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    ((_, code),) = read.scripts
    assert rules["script-src"] == "'sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() + "'"


def test_strings_from_outside_are_text(read: Read) -> None:
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    assert [HOSTILE, "de", "100", "40", "60", "60.0", "70", "30", "30.0"] in read.rows
    assert any(row[-1] == f"no such thing: {NASTY}" for row in read.rows if row)


def test_every_panel_is_drawn_and_few_numbers_are_tables(read: Read) -> None:
    plots = [attrs["aria-label"] for _, attrs in read.tags if attrs.get("class") == "plot"]
    assert len(plots) == [tag for tag, _ in read.tags].count("svg") == sum(len(each.panels) for each in pictures())
    assert plots[0] == f"threshold. share by step. line dan, line {HOSTILE}"
    assert ["emodb", MISSING, "61.2", "70.0"] in read.rows
    assert ["source-only", "arousal", "61.00", "58.00", "64.00"] in read.rows


def test_all_sections_cells_and_gaps_are_there(read: Read) -> None:
    ids = read.attributes("id")
    assert len(ids) == len(set(ids))
    wanted = "about tables table-2 comparison figures cells corpora methods undone all-cells figure-matrix-arousal"
    assert set(wanted.split()) <= set(ids)
    cells = [row for row in read.rows if len(row) == 13][1:]
    assert len(cells) == 32
    assert cells[0][:6] == ["emodb", HOSTILE, "valence", "source-only", "0", "done"]
    assert cells[0][10:] == ["70.0", "46.2", "5.0"]  # constants of 70 negative and 30 positive utterances
    assert [row[5] for row in cells[-2:]] == ["waiting", "failed"]
    assert [row[5] for row in read.rows if len(row) == 7][-2:] == ["waiting", "failed"]


def test_recordings_that_a_source_shares_with_its_target_are_told_at_the_top(tmp_path: Path) -> None:
    bench = replace(make_experiment(tmp_path, seeds=1), shared_recordings={("emodb", HOSTILE): 107})
    about = build_overview(bench, read_run_results(bench), ["arousal"])
    assert about.notes == [
        f"emodb -> {HOSTILE}: the source contains 107 labelled recordings of the target; its scores overestimate those "
        "on unseen speech."
    ]


def test_of_a_task_without_runs_there_is_a_page(tmp_path: Path) -> None:
    bench = make_experiment(tmp_path, seeds=1)
    bench = replace(bench, runs=tuple(run for run in bench.runs if run.task == "arousal"))
    read = Read(html(build_page(bench, ["valence"], print, features=False)))
    assert [row for row in read.rows if len(row) == 13][1:] == []


def test_what_is_missing_is_told(emodna_bench: Command, tmp_path: Path) -> None:
    make_experiment(tmp_path / "bench")
    with replace_figures():
        ran = emodna_bench("report", "--task", "arousal", "--no-features", "--to", "here.html", "--json")
    assert ran.json["page"] == str(tmp_path / "here.html")
    assert ran.json["bytes"] == (tmp_path / "here.html").stat().st_size
    assert ran.json["figures"] == [f"figure-{picture.name}-arousal" for picture in pictures()]
    missing = ran.json["missing"]
    assert "empty, arousal: no finished cell of emo-dna" in missing
    assert "features-parts: left out by --no-features" in missing
    assert "valence" not in Read((tmp_path / "here.html").read_text()).rows[1]


def test_errors_are_one_line_and_nothing_is_worked_out(emodna_bench: Command, tmp_path: Path) -> None:
    assert "contains no experiment" in emodna_bench("report", "--out", tmp_path / "none").error()
    make_experiment(tmp_path / "bench", seeds=1)
    ran = emodna_bench("report", "--out", tmp_path / "bench", "--to", tmp_path / "gone" / "x.html")
    assert ran.error().endswith(f"gone/x.html: there is no folder {tmp_path}/gone")


@pytest.mark.parametrize(("value", "shown"), [(12.345, "12.3"), (None, MISSING), (float("nan"), MISSING)])
def test_a_number_or_a_dash(value: float | None, shown: str) -> None:
    assert make_cell(value).text == shown
    assert (make_cell(value).number is None) == (shown == MISSING)
