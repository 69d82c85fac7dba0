"""What a benchmark is made of, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emodna.model.bench.grid import grid
from emodna.model.bench.plan import Bench, Conditions
from emodna.model.bench.rows import Row
from emodna.pipeline.store import FeatureStore
from tests.model.small import emotions_of, listed


def planned(
    out: Path, stores: Sequence[FeatureStore], rows: Sequence[str] = ("dan",), conditions: Conditions | None = None
) -> Bench:
    conditions = conditions or Conditions(2, stores[0].snapshot.feature_set)
    return grid(out, stores, ["arousal"], [Row.parse(row) for row in rows], 1, conditions)


class TestSharedRecordings:
    def test_are_counted_by_ordered_pair_where_the_source_has_their_labels(
        self, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        emotions = dict(list(emotions_of(target).items())[:3])
        first = next(iter(emotions))
        own = listed(roots["emodb"], {**emotions, first: ""}, tmp_path / "cache")
        bench = planned(tmp_path / "bench", [target, own])
        assert bench.shared == {("emodb", "own"): 3, ("own", "emodb"): 2}
        bench.write()
        assert Bench.read(bench.out).shared == bench.shared

    def test_stay_when_a_benchmark_is_extended_and_go_when_a_corpus_has_changed(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        bench = planned(tmp_path, [source, target])
        assert bench.shared == {}
        other = {**bench.corpora, "own": replace(bench.corpora["emodb"], name="own")}
        there = replace(bench, corpora=other, shared={("own", "emodb"): 2, ("ravdess", "emodb"): 5})
        assert there.extended(bench, bench.cells).shared == {("own", "emodb"): 2}
