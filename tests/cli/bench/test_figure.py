"""emodna-bench figure, and how pictures are drawn."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import pytest

from emodna.cli.bench import command as bench_command
from emodna.cli.bench.draw import COLOURS, draw, render_file, render_svg
from emodna.model.bench import figures
from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Panel, ScatterMark
from emodna.model.bench.figures import FigureOptions, NoFigureDataError
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from tests.cli.bench.examples import make_experiment, pictures
from tests.model.small import assert_one_line_error, run_command

ALL = pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.name)
#: A formula that is none, a terminal's escape, XML, and a letter that the font lacks.
HOSTILE = "$\\frac{$ [red] & <b>\x1b[31m \u202e \u4e2d ]]> _"


class TestDrawing:
    @pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
    def test_every_format(self, format: str, start: bytes) -> None:
        found = render_file(pictures()[1], format)
        assert found.startswith(start)
        assert len(found) < 300_000

    def test_texts_from_outside_are_texts(self) -> None:
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
            assert "\x1b" not in svg
            assert "\u202e" not in svg
            assert "<b>" not in svg

    @ALL
    def test_of_a_page_it_has_the_colours_of_the_theme_and_ids_of_its_own(self, picture: FigureData) -> None:
        svg = render_svg(picture.panels[0], "one")
        assert svg.startswith("<svg")
        assert svg == render_svg(picture.panels[0], "one")
        ids, others = (set(re.findall('id="([^"]*)"', each)) for each in (svg, render_svg(picture.panels[0], "two")))
        assert not ids & others
        assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", svg)) == ids
        assert not re.search(r"https?:|<style|<metadata", svg)
        assert not set(re.findall("#[0-9a-f]{6}", svg)) & {colour.lower() for colour in COLOURS}
        assert "var(--" in svg

    def test_an_empty_panel_is_drawn(self) -> None:
        empty = [ScatterMark("", [], []), LineMark("", [], []), DotMark("", [], []), HeatmapMark([], [], [], 0, 1)]
        for mark in empty:
            assert render_file(FigureData("x", "", [Panel("", [mark])]), "png")

    def test_the_legend_names_what_looks_alike_once(self) -> None:
        panel = Panel(
            "", [ScatterMark("low", [0], [0]), ScatterMark("high", [0], [0], colour=1)], references=[("chance", 50)]
        )
        figure = draw(FigureData("x", "", [panel, panel]))
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["low", "high", "chance"]

    def test_twelve_series_are_told_apart(self) -> None:
        lines = [LineMark(str(number), [0, 1], [0, number], colour=number) for number in range(12)]
        axes = draw(FigureData("x", "", [Panel("", lines)])).axes[0]
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
        assert len(looks) == 12
        assert len(COLOURS) == len(set(COLOURS))

    def test_dots_stand_in_their_category_the_first_on_top(self) -> None:
        marks = [DotMark("one", ["a", "b", "c"], [1, None, 3]), DotMark("other", ["c", "d"], [5, 6], colour=1)]
        axes = draw(FigureData("x", "", [Panel("", marks)])).axes[0]
        assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c", "d"]
        assert axes.yaxis_inverted()
        first, second = axes.get_lines()
        assert [round(float(place)) for place in first.get_ydata()] == [0, 1, 2]
        assert [round(float(place)) for place in second.get_ydata()] == [2, 3]
        assert first.get_ydata()[2] < second.get_ydata()[0]

    def test_joined_dots_are_a_bar_down_the_middle_of_their_categories(self) -> None:
        marks = [DotMark("rank", ["a", "b", "c"], [1, 2, 3]), DotMark("alike", ["b", "c"], [3.3, 3.3], joined=True)]
        dots, bar = draw(FigureData("x", "", [Panel("", marks)])).axes[0].lines
        assert (list(dots.get_ydata()), dots.get_linestyle()) == ([0, 1, 2], "None")
        assert (list(bar.get_ydata()), bar.get_linestyle(), bar.get_marker()) == ([1, 2], "-", "None")

    def test_the_middle_of_a_diverging_scale_is_pale(self) -> None:
        matrix = HeatmapMark(["a"], ["b"], [[0.0]], -5, 5, diverging=True)
        (cells, *_) = draw(FigureData("x", "", [Panel("", [matrix])])).axes[0].collections
        assert min(cells.cmap(cells.norm(0.0))[:3]) > 0.9
        assert cells.cmap(cells.norm(-5.0)) != cells.cmap(cells.norm(5.0))

    def test_a_reference_lies_across_dots_and_along_lines(self) -> None:
        references = [("chance", 50.0)]
        across = draw(FigureData("x", "", [Panel("", [DotMark("a", ["r"], [60.0])], references=references)])).axes[0]
        along = draw(FigureData("x", "", [Panel("", [LineMark("a", [0, 1], [60, 61])], references=references)])).axes[0]
        assert list(across.get_lines()[1].get_xdata()) == [50, 50]
        assert list(along.get_lines()[1].get_ydata()) == [50, 50]

    def test_small_differences_do_not_look_large(self) -> None:
        dots = Panel("", [DotMark("a", ["r", "s"], [60.0, 60.08])], references=[("r", 60.0)], least_width=2.0)
        line = Panel("", [LineMark("a", [0, 1], [60, 60.08])], least_width=2.0)
        wide = Panel("", [DotMark("a", ["r", "s"], [60.0, 60.08], [58.0, None], [61.0, None])], least_width=2.0)
        assert draw(FigureData("x", "", [dots])).axes[0].get_xlim() == pytest.approx((59.04, 61.04))
        assert draw(FigureData("x", "", [line])).axes[0].get_ylim() == pytest.approx((59.04, 61.04))
        assert draw(FigureData("x", "", [wide])).axes[0].get_xlim()[0] < 58

    def test_no_line_of_a_title_ends_between_seed_and_its_number(self) -> None:
        figure = draw(FigureData("x", "x" * 49 + " seed 0", [Panel("", [LineMark("", [0], [0])])]))
        assert figure.legends[0].get_title().get_text().splitlines()[1] == "seed 0"

    def test_a_matrix_says_its_values_the_first_row_on_top(self) -> None:
        matrix = HeatmapMark(["a", "b"], ["c", "d"], [[1.26, None], [3.0, 4.0]], 0, 5)
        axes = draw(FigureData("x", "", [Panel("", [matrix])])).axes[0]
        assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
            ((0.5, 0.5), "1.3"),
            ((1.5, 0.5), "\u2013"),
            ((0.5, 1.5), "3.0"),
            ((1.5, 1.5), "4.0"),
        }
        assert axes.yaxis_inverted()


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A benchmark, and figures by which nothing is worked out: two can be made, one has nothing, one fails."""

    def figure(name: str, bench: Experiment, choice: FigureOptions) -> FigureData:
        if name == "ranks":
            raise NoFigureDataError("no finished cell of dan")
        if name == "distances":
            raise BenchError("UMAP: needs umap-learn")
        line = LineMark("UAR", [0, 1], [0.5, math.nan])
        return FigureData(name, f"{len(bench.runs)} cells", [Panel("", [line])], facts=asdict(choice))

    shown = dict.fromkeys(("pairs", "ranks", "steps", "distances"), figures.FIGURES["ranks"])
    monkeypatch.setattr(figures, "FIGURES", shown)
    monkeypatch.setattr(figures, "make_figure", figure)
    return make_experiment(tmp_path / "bench", ("emodb", "ravdess"), seeds=1)


class TestCommand:
    def test_writes_picture_and_numbers(self, shown: Experiment) -> None:
        answer = run_command(bench_command.main, "figure", "pairs", "--task", "arousal", "--out", shown.out, "--json")
        assert answer.code == 0
        (written,) = json.loads(answer.out)["written"]
        assert written["file"] == str(shown.out / "figures" / "pairs-arousal.png")
        assert Path(written["file"]).read_bytes().startswith(b"\x89PNG")
        numbers = json.loads(Path(written["numbers"]).read_text())
        assert numbers["panels"][0]["marks"][0]["y"] == [0.5, None]

    def test_all_makes_what_can_be_made_and_says_what_not(self, shown: Experiment) -> None:
        answer = run_command(bench_command.main, "figure", "all", "--out", shown.out)
        assert answer.code == 1  # one failed
        tasks = ("arousal", "valence")
        made = {f"{name}-{task}" for name in ("pairs", "steps") for task in tasks}
        assert {path.stem for path in (shown.out / "figures").iterdir()} == made
        for task in tasks:
            assert f"left out: ranks, {task}: no finished cell of dan" in answer.err
            assert f"left out: distances, {task}: UMAP: needs umap-learn" in answer.err
        assert "Traceback" not in answer.err

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nothing"], "figure nothing: unknown; valid: pairs, ranks, steps, distances"),
            (["distances"], "needs umap-learn"),
            (["pairs", "--methods", "dna"], "dna: unknown"),
            (["pairs", "--out", "nowhere"], "--out nowhere: contains no experiment"),
            (["pairs", "--to", "file/below"], "file"),
        ],
    )
    def test_a_mistake_is_one_line(
        self, shown: Experiment, arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").touch()
        place = ["--task", "arousal", *([] if "--out" in arguments else ["--out", str(shown.out)])]
        assert_one_line_error(run_command(bench_command.main, "figure", *arguments, *place), says)
        assert not (shown.out / "figures").exists()
