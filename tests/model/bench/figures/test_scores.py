"""Tests of figures of scores: ranks, pairs, languages, sensitivity; and of all figures without finished runs."""

from pathlib import Path

import pytest

from emodna.model.bench.figure_data import DotMark, HeatmapMark, LineMark
from emodna.model.bench.figures import FIGURES, FigureOptions, NoFigureDataError, make_figure
from emodna.model.bench.method_spec import MethodSpec
from tests.model.bench.builders import RunKey, fake_experiment, repeat_uars

PAIRS = [("ravdess", "savee"), ("savee", "ravdess"), ("ravdess", "emodb"), ("emodb", "ravdess")]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_without_finished_runs_raises_an_error(name: str, tmp_path: Path) -> None:
    experiment = fake_experiment(tmp_path, {("ravdess", "emodb", "arousal", "emo-dna", 0): None})
    with pytest.raises(NoFigureDataError, match=r"no finished run .*\(arousal"):
        make_figure(name, experiment, FigureOptions())


class TestRanks:
    def test_ranks_of_one_and_both_tasks_with_bars_without_difference(self, tmp_path: Path) -> None:
        uars = repeat_uars({"emo-dna": 70.0, "dan": 60.0}, PAIRS, ("arousal", "valence"))
        experiment = fake_experiment(tmp_path, {**uars, ("emodb", "ravdess", "arousal", "dan", 0): 80.0})
        figure = make_figure("ranks", experiment, FigureOptions())
        arousal, both = figure.panels
        ranks, bar = arousal.marks
        assert isinstance(ranks, DotMark)
        assert isinstance(bar, DotMark)
        # dan wins one of four scenarios. CD = 1.960 sqrt(2 * 3 / (6 * 4)) = 0.980, and 1.75 - 1.25 is less.
        assert (ranks.categories, ranks.values) == (["emo-dna", "dan"], [1.25, 1.75])
        assert arousal.title == "arousal: 4 scenarios, critical difference 0.98"
        assert (bar.categories, bar.joined) == (["emo-dna", "dan"], True)
        # Eight scenarios: CD 0.693 is less than 1.875 - 1.125.
        (ranks,) = both.marks
        assert isinstance(ranks, DotMark)
        assert ranks.values == [1.125, 1.875]
        assert both.title == "arousal and valence: 8 scenarios, critical difference 0.69"
        assert [each["groups"] for each in figure.facts["panels"]] == [[["emo-dna", "dan"]], []]

    def test_ranks_exclude_oracles_by_default(self, tmp_path: Path) -> None:
        rows = {"emo-dna": 70.0, "dan": 60.0, "upper-bound": 90.0}
        experiment = fake_experiment(tmp_path, repeat_uars(rows, [("emodb", "ravdess")]))
        chosen = FigureOptions(methods=(MethodSpec("upper-bound"), MethodSpec("dan")))
        for choice, methods in ((FigureOptions(), ["emo-dna", "dan"]), (chosen, ["upper-bound", "dan"])):
            (ranks, *_) = make_figure("ranks", experiment, choice).panels[0].marks
            assert isinstance(ranks, DotMark)
            assert ranks.categories == methods

    def test_ranks_of_one_method_raise_an_error(self, tmp_path: Path) -> None:
        experiment = fake_experiment(tmp_path, repeat_uars({"emo-dna": 70.0}, PAIRS))
        with pytest.raises(NoFigureDataError, match="only emo-dna has finished runs of arousal"):
            make_figure("ranks", experiment, FigureOptions())


def make_uars(
    uar_by_seed: dict[str, list[float | None]], pair: tuple[str, str] = ("ravdess", "emodb")
) -> dict[RunKey, float | None]:
    return {(*pair, "arousal", row, seed): uar for row, uars in uar_by_seed.items() for seed, uar in enumerate(uars)}


class TestPairs:
    def test_pairs_are_means_over_seeds_and_gains_over_common_seeds(self, tmp_path: Path) -> None:
        uars = make_uars({"dan": [58.0], "emo-dna": [60.0, 70.0], "source-only": [50.0, None]})
        experiment = fake_experiment(tmp_path, uars, languages={"ravdess": "en", "emodb": "de"})
        figure = make_figure("pairs", experiment, FigureOptions())
        titles = [panel.title for panel in figure.panels]
        assert titles == [
            *("source-only: UAR", "emo-dna: UAR", "dan: UAR"),
            *("emo-dna: gain over source-only", "dan: gain over source-only"),
        ]
        found = [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, HeatmapMark)]
        assert [matrix.values for matrix in found] == [
            [[None, uar], [None, None]] for uar in (50.0, 65.0, 58.0, 10.0, 8.0)
        ]
        assert {(matrix.low, matrix.high) for matrix in found[:3]} == {(35.0, 65.0)}
        assert {(matrix.low, matrix.high) for matrix in found[3:]} == {(-10.0, 10.0)}
        assert found[0].rows == found[0].columns == ["ravdess", "emodb"]
        assert figure.facts["missing"]["dan"] == ["emodb -> ravdess"]
        assert "dan: 1 of 2 pairs missing" in figure.note

    def test_pairs_show_four_methods_by_default(self, tmp_path: Path) -> None:
        rows = dict.fromkeys(("dan", "dann", "cdan", "jan", "emo-dna"), 60.0)
        experiment = fake_experiment(tmp_path, repeat_uars(rows, PAIRS))
        figure = make_figure("pairs", experiment, FigureOptions())
        assert [panel.title for panel in figure.panels] == ["emo-dna: UAR", "dan: UAR", "dann: UAR", "cdan: UAR"]
        assert "Not shown: jan." in figure.note
        figure = make_figure("pairs", experiment, FigureOptions(methods=(MethodSpec("jan"), MethodSpec("bsp"))))
        assert [panel.title for panel in figure.panels] == ["jan: UAR"]
        assert "Not finished: bsp." in figure.note


class TestLanguages:
    def test_languages_are_means_over_each_group(self, tmp_path: Path) -> None:
        uars: dict[RunKey, float | None] = {}
        for number, pair in enumerate(PAIRS):  # two pairs of English, two of English and German
            uars |= make_uars({"source-only": [50.0], "dan": [60.0 + number]}, pair)
        figure = make_figure("languages", fake_experiment(tmp_path, uars), FigureOptions())
        dots = [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, DotMark)]
        assert [mark.name for mark in dots] == ["same language", "different languages"] * 2
        assert [mark.values for mark in dots] == [[50.0, 60.5], [50.0, 62.5], [10.5], [12.5]]
        assert {mark.low for mark in dots[2:]} == {(None,)}  # two pairs have no interval

    def test_missing_group_is_noted(self, tmp_path: Path) -> None:
        experiment = fake_experiment(tmp_path, make_uars({"dan": [60.0]}))
        figure = make_figure("languages", experiment, FigureOptions())
        (panel,) = figure.panels
        (dots,) = panel.marks
        assert isinstance(dots, DotMark)
        assert (dots.name, dots.values, dots.low) == ("different languages", [60.0], (None,))
        assert "No pair is of one language." in figure.note

    def test_several_languages_are_equal_only_if_all_are(self, tmp_path: Path) -> None:
        languages = {"ravdess": "en+de", "emodb": "en"}
        experiment = fake_experiment(tmp_path, make_uars({"dan": [60.0]}), languages=languages)
        assert make_figure("languages", experiment, FigureOptions()).facts["groups"]["same language"] == []

    def test_pairs_of_unknown_language_are_left_out(self, tmp_path: Path) -> None:
        pairs = [("ravdess", "emodb"), ("own", "emodb"), ("own", "calls")]
        uars = {key: uar for pair in pairs for key, uar in make_uars({"dan": [60.0]}, pair).items()}
        languages = {"ravdess": "en", "emodb": "de", "own": None, "calls": None}
        experiment = fake_experiment(tmp_path / "some", uars, languages=languages)
        figure = make_figure("languages", experiment, FigureOptions())
        assert figure.facts["groups"] == {"same language": [], "different languages": ["ravdess -> emodb"]}
        assert "unknown language: calls, own." in figure.note
        none = fake_experiment(tmp_path / "none", uars, languages={**languages, "emodb": None})
        with pytest.raises(NoFigureDataError, match="unknown: calls, emodb, own"):
            make_figure("languages", none, FigureOptions())


class TestSensitivity:
    ROWS = ("emo-dna", "emo-dna:threshold_momentum=0.9", "emo-dna:threshold_momentum=0.999", "emo-dna:padding=mask")

    def make_figure(self, out: Path, *more: str, seeds: int = 2):  # type: ignore[no-untyped-def]
        uars = {
            (*pair, "arousal", row, seed): 50.0 + 10 * number + 4 * seed + 2 * (pair == PAIRS[0])
            for number, row in enumerate((*self.ROWS, *more))
            for pair in PAIRS[:2]
            for seed in range(seeds)
        }
        return make_figure("sensitivity", fake_experiment(out, uars), FigureOptions())

    def test_sensitivity_shows_one_changed_setting_and_the_defaults(self, tmp_path: Path) -> None:
        figure = self.make_figure(tmp_path, "emo-dna:padding=mask,threshold_momentum=0.9", "dan", "dan:add=scl")
        (dots,) = figure.panels[0].marks
        assert dots.categories == ["defaults", "threshold_momentum=0.9", "threshold_momentum=0.999", "padding=mask"]
        # Mean over two pairs (+1) and two seeds (+2); the seeds' own means are 2 below and above.
        assert list(dots.values) == [53.0, 63.0, 73.0, 83.0]
        assert list(dots.low) == [51.0, 61.0, 71.0, 81.0]
        assert list(dots.high) == [55.0, 65.0, 75.0, 85.0]
        assert figure.panels[0].references == [("defaults", 53.0)]
        assert "Bars: lowest to highest seed's mean" in figure.note

    def test_two_numeric_values_and_the_default_make_a_curve(self, tmp_path: Path) -> None:
        _, curve = self.make_figure(tmp_path).panels
        (line,) = curve.marks
        assert isinstance(line, LineMark)
        assert curve.title == "threshold_momentum"
        assert (list(line.x), list(line.y)) == ([0.9, 0.99, 0.999], [63.0, 53.0, 73.0])
        assert list(line.low or ()) == [61.0, 51.0, 71.0]

    def test_one_seed_has_no_interval(self, tmp_path: Path) -> None:
        figure = self.make_figure(tmp_path, seeds=1)
        assert "seed" not in figure.note
        panels = figure.panels
        assert set(panels[0].marks[0].low) == {None}
        assert panels[1].marks[0].low is None

    def test_sensitivity_without_a_changed_setting_raises_an_error(self, tmp_path: Path) -> None:
        experiment = fake_experiment(tmp_path, make_uars({"emo-dna": [60.0]}))
        with pytest.raises(NoFigureDataError, match="emo-dna with one setting changed, such as emo-dna:padding=mask"):
            make_figure("sensitivity", experiment, FigureOptions())
        with pytest.raises(NoFigureDataError, match="of dan with default settings"):
            make_figure("sensitivity", experiment, FigureOptions(methods=(MethodSpec("dan"),)))
        with pytest.raises(NoFigureDataError, match="must be a method without settings"):
            make_figure("sensitivity", experiment, FigureOptions(methods=(MethodSpec.parse("emo-dna:padding=mask"),)))
