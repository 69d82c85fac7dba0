"""Tests of emodna-bench figure and of the drawing of figures."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from emodna.cli.bench import command as bench_command
from emodna.cli.bench.draw import COLOURS, draw_figure, render_file, render_svg
from emodna.model.bench import figures
from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Mark, Panel, ScatterMark
from emodna.model.bench.figures import FigureOptions, NoFigureDataError
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from tests.cli.bench.examples import make_experiment, make_figures
from tests.model.small import assert_one_line_error, run_command

#: An invalid formula, a terminal escape, XML, and a character missing in the font.
HOSTILE = "$\\frac{$ [red] & <b>\x1b[31m \u202e \u4e2d ]]> _"


def draw_axes(*marks: Mark, **options: Any) -> Axes:
    return draw_figure(FigureData("x", "", [Panel("", marks, **options)])).axes[0]


class TestDrawing:
    @pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
    def test_renders_png_svg_and_pdf(self, format: str, start: bytes) -> None:
        found = render_file(make_figures()[1], format)
        assert found.startswith(start)
        assert len(found) < 300_000

    def test_hostile_texts_are_escaped(self) -> None:
        marks = [
            ScatterMark(HOSTILE, [0, 1, math.nan], [0, math.inf, 1], texts=[HOSTILE] * 3),
            LineMark(f"{HOSTILE} 2", [0, 1], [1, math.nan], [0, 0], [1, 2]),
        ]
        panels = [
            Panel(HOSTILE, marks, HOSTILE, HOSTILE, references=[(HOSTILE, 0.5), ("none", math.nan)]),
            Panel(HOSTILE, [HeatmapMark([HOSTILE, "a"], [HOSTILE], [[math.nan], [1.0]], 0, 0)]),
            Panel(HOSTILE, [DotMark(HOSTILE, [HOSTILE], [math.inf], [None], [1.0])]),
        ]
        drawings = [render_file(FigureData("x", HOSTILE * 5, panels, HOSTILE * 9), "svg").decode()]
        drawings += [render_svg(panel, "x") for panel in panels]
        for svg in drawings:
            ET.fromstring(svg)  # well-formed
            assert not any(text in svg for text in ("\x1b", "\u202e", "<b>"))

    @pytest.mark.parametrize("data", make_figures(), ids=lambda data: data.name)
    def test_page_svg_uses_theme_colours_and_unique_ids(self, data: FigureData) -> None:
        svg = render_svg(data.panels[0], "one")
        assert svg.startswith("<svg")
        assert svg == render_svg(data.panels[0], "one")
        ids, others = (set(re.findall('id="([^"]*)"', each)) for each in (svg, render_svg(data.panels[0], "two")))
        assert not ids & others
        assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", svg)) == ids
        assert not re.search(r"https?:|<style|<metadata", svg)
        assert not set(re.findall("#[0-9a-f]{6}", svg)) & {colour.lower() for colour in COLOURS}
        assert "var(--" in svg

    def test_an_empty_panel_is_drawn(self) -> None:
        for mark in (ScatterMark("", [], []), LineMark("", [], []), DotMark("", [], []), HeatmapMark([], [], [], 0, 1)):
            assert render_file(FigureData("x", "", [Panel("", [mark])]), "png")

    def test_legend_lists_each_series_once(self) -> None:
        panel = Panel(
            "", [ScatterMark("low", [0], [0]), ScatterMark("high", [0], [0], colour=1)], references=[("chance", 50)]
        )
        figure = draw_figure(FigureData("x", "", [panel, panel]))
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["low", "high", "chance"]

    def test_twelve_series_look_different(self) -> None:
        lines = [LineMark(str(number), [0, 1], [0, number], colour=number) for number in range(12)]
        styles = {(line.get_color(), line.get_linestyle()) for line in draw_axes(*lines).get_lines()}
        assert len(styles) == 12
        assert len(COLOURS) == len(set(COLOURS))

    def test_dots_are_in_their_category_with_the_first_on_top(self) -> None:
        axes = draw_axes(DotMark("one", ["a", "b", "c"], [1, None, 3]), DotMark("other", ["c", "d"], [5, 6], colour=1))
        assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c", "d"]
        assert axes.yaxis_inverted()
        first, second = axes.get_lines()
        assert [round(float(place)) for place in first.get_ydata()] == [0, 1, 2]
        assert [round(float(place)) for place in second.get_ydata()] == [2, 3]
        assert first.get_ydata()[2] < second.get_ydata()[0]

    def test_joined_dots_form_a_bar_at_the_centre_of_their_categories(self) -> None:
        marks = [DotMark("rank", ["a", "b", "c"], [1, 2, 3]), DotMark("alike", ["b", "c"], [3.3, 3.3], joined=True)]
        dots, bar = draw_axes(*marks).lines
        assert (list(dots.get_ydata()), dots.get_linestyle()) == ([0, 1, 2], "None")
        assert (list(bar.get_ydata()), bar.get_linestyle(), bar.get_marker()) == ([1, 2], "-", "None")

    def test_the_middle_of_a_diverging_scale_is_pale(self) -> None:
        matrix = HeatmapMark(["a"], ["b"], [[0.0]], -5, 5, diverging=True)
        (cells, *_) = draw_axes(matrix).collections
        assert min(cells.cmap(cells.norm(0.0))[:3]) > 0.9
        assert cells.cmap(cells.norm(-5.0)) != cells.cmap(cells.norm(5.0))

    def test_reference_is_vertical_for_dots_and_horizontal_for_lines(self) -> None:
        references = [("chance", 50.0)]
        vertical = draw_axes(DotMark("a", ["r"], [60.0]), references=references).get_lines()[1]
        horizontal = draw_axes(LineMark("a", [0, 1], [60, 61]), references=references).get_lines()[1]
        assert list(vertical.get_xdata()) == [50, 50]
        assert list(horizontal.get_ydata()) == [50, 50]

    def test_small_differences_do_not_look_large(self) -> None:
        dots = draw_axes(DotMark("a", ["r", "s"], [60.0, 60.08]), references=[("r", 60.0)], least_width=2.0)
        line = draw_axes(LineMark("a", [0, 1], [60, 60.08]), least_width=2.0)
        wide = draw_axes(DotMark("a", ["r", "s"], [60.0, 60.08], [58.0, None], [61.0, None]), least_width=2.0)
        assert dots.get_xlim() == pytest.approx((59.04, 61.04))
        assert line.get_ylim() == pytest.approx((59.04, 61.04))
        assert wide.get_xlim()[0] < 58

    def test_title_does_not_break_between_seed_and_its_number(self) -> None:
        figure = draw_figure(FigureData("x", "x" * 49 + " seed 0", [Panel("", [LineMark("", [0], [0])])]))
        assert figure.legends[0].get_title().get_text().splitlines()[1] == "seed 0"

    def test_heatmap_shows_its_values_with_the_first_row_on_top(self) -> None:
        matrix = HeatmapMark(["a", "b"], ["c", "d"], [[1.26, None], [3.0, 4.0]], 0, 5)
        axes = draw_axes(matrix)
        assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
            ((0.5, 0.5), "1.3"),
            ((1.5, 0.5), "\u2013"),
            ((0.5, 1.5), "3.0"),
            ((1.5, 1.5), "4.0"),
        }
        assert axes.yaxis_inverted()


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Write an experiment, and replace the figures: two can be drawn, one has no data, one fails."""

    def make_figure(name: str, experiment: Experiment, options: FigureOptions) -> FigureData:
        if name == "ranks":
            raise NoFigureDataError("no finished run of dan")
        if name == "distances":
            raise BenchError("UMAP: needs umap-learn")
        line = LineMark("UAR", [0, 1], [0.5, math.nan])
        return FigureData(name, f"{len(experiment.runs)} runs", [Panel("", [line])], facts=asdict(options))

    entries = dict.fromkeys(("pairs", "ranks", "steps", "distances"), figures.FIGURES["ranks"])
    monkeypatch.setattr(figures, "FIGURES", entries)
    monkeypatch.setattr(figures, "make_figure", make_figure)
    return make_experiment(tmp_path / "bench", ("emodb", "ravdess"), seeds=1)


class TestCommand:
    def test_writes_figure_and_numbers(self, experiment: Experiment) -> None:
        options = ["--task", "arousal", "--out", experiment.out, "--json"]
        result = run_command(bench_command.main, "figure", "pairs", *options)
        assert result.code == 0
        (written,) = json.loads(result.out)["written"]
        assert written["file"] == str(experiment.out / "figures" / "pairs-arousal.png")
        assert Path(written["file"]).read_bytes().startswith(b"\x89PNG")
        numbers = json.loads(Path(written["numbers"]).read_text())
        assert numbers["panels"][0]["marks"][0]["y"] == [0.5, None]

    def test_all_draws_possible_figures_and_lists_the_others(self, experiment: Experiment) -> None:
        result = run_command(bench_command.main, "figure", "all", "--out", experiment.out)
        assert result.code == 1  # one failed
        tasks = ("arousal", "valence")
        made = {f"{name}-{task}" for name in ("pairs", "steps") for task in tasks}
        assert {path.stem for path in (experiment.out / "figures").iterdir()} == made
        for task in tasks:
            assert f"left out: ranks, {task}: no finished run of dan" in result.err
            assert f"left out: distances, {task}: UMAP: needs umap-learn" in result.err
        assert "Traceback" not in result.err

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["nothing"], "figure nothing: unknown; valid: pairs, ranks, steps, distances"),
            (["distances"], "needs umap-learn"),
            (["pairs", "--methods", "dna"], "dna: unknown"),
            (["pairs", "--out", "nowhere"], "--out nowhere: contains no experiment"),
            (["pairs", "--to", "file/below"], "file"),
        ],
    )
    def test_user_mistake_prints_one_line(
        self, experiment: Experiment, arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").touch()
        options = ["--task", "arousal", *([] if "--out" in arguments else ["--out", str(experiment.out)])]
        assert_one_line_error(run_command(bench_command.main, "figure", *arguments, *options), text)
        assert not (experiment.out / "figures").exists()
