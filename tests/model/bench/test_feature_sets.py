"""Tests of experiments on several feature sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.model.bench.feature_sets import FeatureSetSummary, find_short_name, make_short_name
from emodna.model.bench.figures import FigureOptions, make_figure
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import collect_results
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, RunSpec
from emodna.model.bench.tables import make_table
from emodna.model.data.pooling import UtteranceVectors
from emodna.model.errors import BenchError
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import finish_runs, write_experiment

MFCC40 = "mfcc40-22050hz-1d163ad7"
ENCODER = "encoder-tiny-l3-25hz-00000001"


def make_experiment(out: Path, methods: tuple[str, ...], default: str = MFCC40, other: str = ENCODER) -> Experiment:
    """Write an experiment of two corpora whose specs may name the other feature set."""
    name = make_short_name(other)
    plain = write_experiment(out, ["dan"], corpora=("emodb", "ravdess"), conditions=Conditions(None, default))
    corpora = {
        key: replace(each, others={other: replace(each, store=f"/stores/{key}/{other}", fingerprint=f"{key}-other")})
        for key, each in plain.corpora.items()
    }
    sets = {make_short_name(default): FeatureSetSummary.of(default), name: FeatureSetSummary.of(other)}
    specs = list(map(MethodSpec.parse_unchecked, methods))
    runs = tuple(replace(run, method=spec) for spec in specs for run in plain.runs)
    infos = {spec: replace(*plain.methods.values(), label=str(spec), short_label=str(spec.on(None))) for spec in specs}
    experiment = replace(plain, corpora=corpora, feature_sets=sets, runs=runs, methods=infos)
    experiment.write()
    return experiment


@pytest.fixture
def two_sets(tmp_path: Path) -> Experiment:
    methods = ("source-only", "dan", "dan:feature_set=encoder", "source-only:feature_set=encoder", "upper-bound")
    experiment = make_experiment(tmp_path, methods)
    finish_runs(experiment, lambda run: 50.0 + 20 * (run.method.feature_set is not None) + run.seed)
    return experiment


class TestNames:
    @pytest.mark.parametrize(
        ("folder", "taken", "name"),
        [
            (MFCC40, (), "mfcc40"),
            ("mfcc40-22050hz-2ef3942a", (), "mfcc40-22050hz"),  # mfcc40 is the default configuration
            (ENCODER, (), "encoder"),
            (ENCODER, ("encoder",), "encoder-tiny"),
            ("own", ("own",), "own"),
        ],
    )
    def test_short_name_is_the_shortest_free_beginning(self, folder: str, taken: tuple[str, ...], name: str) -> None:
        assert make_short_name(folder, taken) == name

    def test_a_name_is_found_by_its_beginning(self) -> None:
        sets = {"encoder": FeatureSetSummary(ENCODER), "big": FeatureSetSummary("encoder-big-l3")}
        assert find_short_name(sets, "encoder") == "encoder"
        assert find_short_name(sets, ENCODER) == "encoder"
        assert find_short_name(sets, "encoder-big") == "big"
        assert find_short_name(sets, "enc") is None
        with pytest.raises(BenchError, match="fits several"):
            find_short_name({"a": sets["encoder"], "big": sets["big"]}, "encoder")


@pytest.mark.parametrize("shared", [{}, {"network": "paper"}])
def test_tables_leave_out_methods_whose_settings_have_no_effect(shared: dict[str, str], tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, ("source-only", "emo-dna"), default=ENCODER, other=MFCC40)
    experiment = replace(experiment, conditions=replace(experiment.conditions, settings=shared))
    needs_windows = {"source-only:target_bn=true", "emo-dna:batch_norm=separate", "emo-dna:tcn_pooling=last"}
    defaults = {"emo-dna:normalisation=per-corpus", "emo-dna:padding=mask"}  # padding: only if windows are read
    left_out = defaults if shared else defaults | needs_windows
    for features, expected in ((ENCODER, left_out), (MFCC40, set())):
        names = {row.name for name in ("2", "sensitivity") for row in make_table(experiment, name, None, features).rows}
        assert (needs_windows | defaults) - names == expected
    gaps = {str(spec) for gap in make_table(experiment, "2", None, ENCODER).gaps for spec in gap.methods}
    assert ("source-only:target_bn=true" in gaps) == bool(shared)


class TestRunNames:
    def test_names_of_earlier_versions_stay_valid(self, tmp_path: Path) -> None:
        classes = {"arousal": [1, 1], "valence": [1, 1]}
        corpora = {
            name: {"name": name, "store": name, "fingerprint": name * 8, "language": "de", "utterances": 2,
                   "classes": classes}
            for name in ("emodb", "ravdess")
        }  # fmt: skip
        content = {
            "version": 1,
            "conditions": {"steps": 300, "feature_set": MFCC40, "settings": {}, "device": "cpu", "threads": 1},
            "corpora": corpora,
            "rows": {"dan:add=scl": {"label": "dan + scl (steps=300)", "our_reading": False, "supervision": "source"}},
            "cells": [["emodb", "ravdess", "arousal", "dan:add=scl", 0]],
        }
        (tmp_path / "bench.json").write_text(json.dumps(content))
        experiment = Experiment.read(tmp_path)
        assert experiment.feature_sets == {"mfcc40": FeatureSetSummary(MFCC40)}
        assert experiment.run_name(experiment.runs[0]) == "emodb-ravdess-arousal-dan-s0-4fefd48e"

    def test_names_depend_on_the_feature_set_and_its_defaults(self, two_sets: Experiment) -> None:
        plain, on_encoder = (
            RunSpec("emodb", "ravdess", "arousal", MethodSpec.parse(text), 0)
            for text in ("dan", "dan:feature_set=encoder")
        )
        assert two_sets.arguments(plain)["steps"] == 1000
        arguments = two_sets.arguments(on_encoder)
        assert (arguments["feature_set"], arguments["settings"]) == (ENCODER, {})
        assert arguments["fingerprints"] == ["emodb-other", "ravdess-other"]
        assert arguments["steps"] == two_sets.feature_sets["encoder"].steps
        explicit = replace(two_sets, conditions=replace(two_sets.conditions, steps=1000))
        assert explicit.run_name(plain) == two_sets.run_name(plain)
        changed = {**two_sets.feature_sets, "encoder": replace(two_sets.feature_sets["encoder"], defaults={"a": "b"})}
        other = replace(two_sets, feature_sets=changed)
        assert other.run_name(on_encoder) != two_sets.run_name(on_encoder)
        assert other.run_name(plain) == two_sets.run_name(plain)

    def test_a_view_of_a_feature_set_has_the_same_runs(self, two_sets: Experiment) -> None:
        assert Experiment.read(two_sets.out) == two_sets
        for name, folder in (("mfcc40", MFCC40), (ENCODER, ENCODER), ("encoder-tiny", ENCODER)):
            view = two_sets.select_feature_set(name)
            assert view.conditions.feature_set == folder
            own = [run for run in two_sets.runs if two_sets.find_feature_set(run.method).folder == folder]
            assert list(map(view.run_name, view.runs)) == list(map(two_sets.run_name, own))
        with pytest.raises(BenchError, match="not in the experiment"):
            two_sets.select_feature_set("logmel")

    def test_spec_of_the_default_feature_set_names_none(self, two_sets: Experiment) -> None:
        for text, expected in (
            ("dan:feature_set=mfcc40", "dan"),
            (f"dan:add=scl,feature_set={ENCODER}", "dan:add=scl,feature_set=encoder"),
            ("dan:feature_set=none", "dan:feature_set=none"),
        ):
            assert str(two_sets.resolve_spec(MethodSpec.parse(text))) == expected

    def test_dropped_feature_set_leaves_nothing_behind(self, two_sets: Experiment) -> None:
        remainder = two_sets.drop(two_sets.list_specs("encoder"), [])
        assert list(remainder.feature_sets) == ["mfcc40"]
        assert not any(corpus.others for corpus in remainder.corpora.values())
        assert {spec.feature_set for spec in remainder.methods} == {None}


class TestTables:
    def test_pairs_table_is_grouped_by_feature_set(self, two_sets: Experiment) -> None:
        table = make_table(two_sets, "pairs")
        rows = [(row.feature_set, row.name) for row in table.select_rows("entry", "ceiling")]
        assert rows == [
            ("mfcc40", "source-only"),
            ("mfcc40", "dan"),
            ("mfcc40", "upper-bound"),
            ("encoder", "dan:feature_set=encoder"),
            ("encoder", "source-only:feature_set=encoder"),
        ]

    def test_paper_table_has_one_feature_set(self, two_sets: Experiment) -> None:
        for name, war in ((None, 50.5), ("encoder", 70.5)):
            table = make_table(two_sets, "2", feature_set=name)
            (dan,) = (row for row in table.rows if row.name == "dan")
            (mean,) = {cell.mean for (_, column, score), cell in dan.cells.items()
                       if (column.name, score) == ("average", "war")}  # fmt: skip
            assert (mean, dan.feature_set) == (war, name or "mfcc40")
            assert table.other_feature_sets == (("mfcc40",) if name else ("encoder",))

    def test_constants_are_those_of_the_runs_own_utterances(self, two_sets: Experiment) -> None:
        corpora = {
            name: replace(corpus, others={ENCODER: replace(corpus, classes={"arousal": (1, 9), "valence": (5, 5)})})
            for name, corpus in two_sets.corpora.items()
        }
        uneven = replace(two_sets, corpora=corpora)
        rows = collect_results(uneven, tasks=["arousal"]).to_pylist()
        shares = {row["feature_set"]: row["always_high"] for row in rows if row["metric"] == "war"}
        assert shares["encoder"] == 90.0
        assert shares["mfcc40"] != 90.0


def test_gains_are_over_source_only_on_the_same_features(two_sets: Experiment) -> None:
    methods = tuple(map(MethodSpec.parse, ("dan", "dan:feature_set=encoder")))
    figure = make_figure("pairs", two_sets, FigureOptions(methods=methods))
    gains = [mark.values for panel in figure.panels if "gain" in panel.title for mark in panel.marks]  # type: ignore[union-attr]
    assert len(gains) == 2
    assert {value for each in gains for row in each for value in row} == {None, 0.0}


def test_vectors_of_an_utterance_are_computed_once(source: FeatureStore) -> None:
    calls = []

    def average(features: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(features))
        return features.mean(axis=0)

    vectors = UtteranceVectors(average)
    rows = np.array([3, 0, 3])
    expected = np.stack([source[row].mean(axis=0) for row in rows])
    np.testing.assert_array_equal(vectors.gather(source, rows, source.dim), expected)
    assert len(calls) == 3  # a row that occurs twice in one call is computed twice
    vectors.gather(source, np.array([0, 3, 5]), source.dim)
    assert len(calls) == 4


def test_corpora_of_other_feature_sets_are_written(two_sets: Experiment) -> None:
    content = json.loads((two_sets.out / "bench.json").read_text())
    assert content["corpora"]["emodb"]["others"][ENCODER]["fingerprint"] == "emodb-other"
    del content["corpora"]["emodb"]["others"]
    (two_sets.out / "bench.json").write_text(json.dumps(content))
    with pytest.raises(BenchError, match="damaged"):
        Experiment.read(two_sets.out)
    assert isinstance(two_sets.find_corpus("emodb", ENCODER), CorpusSummary)
