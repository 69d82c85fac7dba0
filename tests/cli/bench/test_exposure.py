"""Marks of scores on corpora that the features were trained on, or may have been: each output that marks oracles."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from emodna.cli.bench.page import build_page, render_page
from emodna.model.bench.figures import FigureOptions, make_figure
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.results import collect_results
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.bench.tables import make_table
from tests.cli.running import Command
from tests.model.bench.builders import write_experiment, write_run

CORPORA = ("emodb", "ravdess", "savee")
#: Method whose runs say that the training of their features contained ravdess, and savee perhaps.
TRAINED = "dan:add=scl"
SEEN = {"emodb": "no", "ravdess": "yes", "savee": "unknown"}
SIGNS = {"no": "", "yes": "*", "unknown": "?"}
NOTES = {
    "yes": "exposed: the model behind the features was trained on ravdess",
    "unknown": "exposure unknown: the model behind the features may have heard savee",
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Write an experiment in which one method has an exposed feature set, and the files of the others tell nothing."""
    methods = ["source-only", "dan", TRAINED, UPPER_BOUND]
    out = tmp_path_factory.mktemp("exposure")
    written = write_experiment(out, methods, corpora=CORPORA, tasks=["arousal"], seeds=1)
    for run in written.runs:
        scores = {key: 60.0 + len(str(run.method)) / 7 + len(run.tgt) for key in ("war", "f1", "uar", "macro_f1")}
        exposure = {"exposure": {name: SEEN[name] for name in run.pair}} if str(run.method) == TRAINED else {}
        write_run(written, run, {**scores, "wall_seconds": 1.0, **exposure})
    return written


def expect_exposure(run: RunSpec) -> str:
    return SEEN[run.tgt] if str(run.method) == TRAINED else "no"


def test_long_results_name_the_exposure_of_each_finished_run(experiment: Experiment) -> None:
    expected = {(str(run.method), run.src, run.tgt): expect_exposure(run) for run in experiment.runs}
    rows = collect_results(experiment).to_pylist()
    assert {(row["spec"], row["src"], row["tgt"]): row["exposure"] for row in rows} == expected


def test_a_mean_has_the_exposure_of_its_most_exposed_target(experiment: Experiment) -> None:
    table = make_table(experiment, "pairs")
    (row,) = (row for row in table.rows if row.name == TRAINED)
    for (_, column, _), cell in ((at, cell) for at, cell in row.cells.items() if cell.mean is not None):
        expected = "yes" if column.name == "average" else SEEN[column.name.rpartition(" ")[2]]
        assert cell.exposure == expected
    others = [cell.exposure for other in table.rows if other.name != TRAINED for cell in other.cells.values()]
    assert set(others) == {"no"}
    assert table.exposures == {"ravdess": "yes", "savee": "unknown"}


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_tables_of_each_format_mark_oracles_and_exposures(
    experiment: Experiment, form: str, emodna_bench: Command
) -> None:
    text = emodna_bench("table", "pairs", "--out", experiment.out, "--format", form).out
    assert "oracle" in text
    if form == "csv":
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["row"] == TRAINED]
        found = {(row["column"], row["exposure"]) for row in rows if row["mean"]}
        assert {("emodb -> ravdess", "yes"), ("emodb -> savee", "unknown"), ("average", "yes")} <= found
        assert len(found) == 7
    elif form == "json":
        cells = json.loads(text)["rows"][TRAINED]["cells"]["arousal"]
        assert {name: cell["uar"]["exposure"] for name, cell in cells.items() if name.startswith("emodb")} == {
            "emodb -> ravdess": "yes",
            "emodb -> savee": "unknown",
        }
    else:
        assert all(note in text for note in NOTES.values())
        signs = {"markdown": (r"\*", "?"), "latex": ("$^{*}$", "$^{?}$")}.get(form, ("*", "?"))
        for sign in signs:
            assert re.search(rf"[\d}}*]{re.escape(sign)}", text)  # behind a number, which may be bold


def test_a_table_without_exposures_has_no_room_for_marks(tmp_path: Path, emodna_bench: Command) -> None:
    written = write_experiment(tmp_path / "plain", ["source-only", "dan"], corpora=CORPORA[:2], seeds=1)
    for run in written.runs:
        write_run(written, run, dict.fromkeys(("war", "f1", "uar", "macro_f1"), 70.0))
    text = emodna_bench("table", "pairs", "--out", written.out).out
    assert "expos" not in text
    assert not re.search(r"\d[*?]", text)


def test_comparison_marks_methods(experiment: Experiment, emodna_bench: Command) -> None:
    text = emodna_bench("compare", "--out", experiment.out).out
    assert all(note in text for note in NOTES.values())
    assert text.count("(exposed)") == 1
    document = json.loads(emodna_bench("compare", "--out", experiment.out, "--json").out)
    found = {each["method"]: each["exposure"] for each in document["methods"]}
    assert found == {"source-only": {}, "dan": {}, TRAINED: {"ravdess": "yes", "savee": "unknown"}}


def test_page_marks_methods_runs_tables_and_figures(experiment: Experiment) -> None:
    page = render_page(build_page(experiment, [], lambda _: None, features=False))
    figures = page.count("<figcaption>")
    assert figures > 0
    # The notes of the overview, of each figure, and of the tables of pairs and of the comparison.
    for note in NOTES.values():
        assert page.lower().count(note) >= figures + 2
    assert len(re.findall(r"\d[*?]", page)) >= 8  # scores of two pairs, the average, in four metrics


@pytest.mark.parametrize("name", ["ranks", "pairs", "languages"])
def test_captions_of_figures_mark_exposures(experiment: Experiment, name: str) -> None:
    data = make_figure(name, experiment, FigureOptions("arousal"))
    assert all(note in data.note.lower() for note in NOTES.values())
    assert data.facts["exposure"] == SEEN
    own = make_figure(name, experiment, FigureOptions("arousal", tgt="emodb")) if name != "ranks" else None
    assert own is None or "expos" not in own.note.lower()
