"""Labels of runs and of the methods of experiments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emodna.model.bench.grid import describe_method, plan_experiment, update_labels
from emodna.model.bench.method_spec import MethodInfo, MethodSpec
from emodna.model.bench.paper import SENSITIVITY_METHODS
from emodna.model.bench.spec import Conditions
from emodna.model.changed_settings import find_non_defaults
from emodna.model.config import RecordConfig, TrainConfig, as_settings
from emodna.model.errors import BenchError
from emodna.model.label import name_constant
from emodna.model.methods import METHODS
from emodna.model.request import FitRequest, resolve_request
from emodna.pipeline.features import FEATURE_SETS, make_feature_set
from tests.model.small import Stores, prepare_store

DEFAULT_FEATURES = FEATURE_SETS["mfcc40"].name
#: A valid value other than the default for each setting that all methods share.
OTHERS = {
    "batch_size": "32", "frames": "94", "padding": "mask", "normalisation": "none", "learning_rate": "0.0003",
    "class_weights": "balanced", "beta1": "0.8", "beta2": "0.99", "epsilon": "1e-7", "weight_decay": "0.01",
    "validation": "0.5", "target_labels": "1",
    "deterministic": "true", "log_every": "5", "checkpoint_seconds": "7", "snapshot_every": "5", "tensorboard": "false",
}  # fmt: skip
WITHOUT_EFFECT = ("log_every", "checkpoint_seconds", "snapshot_every", "tensorboard")


def label_request(pair: Stores, **request: Any) -> str:
    return resolve_request(FitRequest([pair[0]], pair[1], **request)).label


def label_spec(spec: str, steps: int = 1000, **settings: str) -> str:
    return describe_method(MethodSpec.parse(spec), Conditions(steps, DEFAULT_FEATURES, settings)).label


class TestRun:
    @pytest.mark.parametrize("key", OTHERS)
    def test_label_has_each_shared_setting_that_changes_the_result(self, key: str, pair: Stores) -> None:
        expected = "dan" if key in WITHOUT_EFFECT else f"dan ({key}={OTHERS[key].replace('1e-7', '1e-07')})"
        if key == "target_labels":
            expected = "dan (semi-supervised, 1 label per class)"
        assert label_request(pair, method="dan", settings={key: OTHERS[key]}) == expected
        assert label_spec("dan", **{key: OTHERS[key]}) == expected

    def test_every_shared_setting_is_tested(self) -> None:
        assert OTHERS.keys() == {**as_settings(TrainConfig()), **as_settings(RecordConfig())}.keys()

    @pytest.mark.parametrize(
        ("request_fields", "label"),
        [
            ({}, "emo-dna"),
            ({"settings": {"frames": "188", "learning_rate": "1e-3"}}, "emo-dna"),
            ({"method": "dan", "steps": 300, "settings": {"add": "scl"}}, "dan + scl (steps=300)"),
            ({"settings": {"frames": "94", "channels": "32"}}, "emo-dna (channels=32, frames=94)"),
            ({"select": "entropy"}, "emo-dna (select=entropy)"),  # the interval of snapshots follows from it
            ({"select": "entropy", "settings": {"snapshot_every": "5"}}, "emo-dna (select=entropy, snapshot_every=5)"),
            ({"select": "source-accuracy"}, "emo-dna (select=source-accuracy)"),
            ({"oracle_analysis": True}, "emo-dna"),
            ({"seed": 3, "task": "valence", "threads": 1}, "emo-dna"),
        ],
    )  # fmt: skip
    def test_label_lists_what_differs_from_the_defaults(
        self, request_fields: dict[str, Any], label: str, pair: Stores
    ) -> None:
        assert label_request(pair, **request_fields) == label

    def test_features_without_a_short_name_are_named_without_their_hash(self) -> None:
        for name, expected in (
            ("encoder-any-l3.4-25hz-0a1b2c3d", "encoder-any-l3.4-25hz"),
            ("imported-deadbeef-0a1b2c3d", "imported-deadbeef"),
        ):
            assert find_non_defaults(METHODS["dan"], {}, None, name) == {"feature_set": expected}

    def test_other_features_are_named(self, roots: dict[str, Path], tmp_path: Path) -> None:
        features = make_feature_set("mfcc39")
        stores = [prepare_store(name, roots[name], tmp_path, features) for name in ("ravdess", "emodb")]
        assert label_request((stores[0], stores[1])) == "emo-dna (feature_set=mfcc39)"
        assert describe_method(MethodSpec("dan"), Conditions(1000, features.name)).label == "dan (feature_set=mfcc39)"


@pytest.mark.parametrize(
    ("constant", "task", "name"),
    [
        ("always_high", "arousal", "always high"),
        ("always_high", "valence", "always positive"),  # of earlier versions
        ("always_low", "valence", "always negative"),
        ("always_negative", "valence", "always negative"),
        ("always_very_sad", "mine", "always very_sad"),
        ("prior_proportional", "emotion", "prior-proportional"),
    ],
)
def test_constant_predictors_are_named_by_their_class(constant: str, task: str, name: str) -> None:
    assert name_constant(constant, task) == name


class TestExperiment:
    @pytest.mark.parametrize(
        ("spec", "steps", "settings", "label"),
        [
            ("emo-dna", 300, {"frames": "94"}, "emo-dna (steps=300, frames=94)"),
            ("emo-dna:frames=64", 300, {"channels": "32"}, "emo-dna (frames=64, channels=32, steps=300)"),
            ("emo-dna:frames=188", 1000, {"frames": "94"}, "emo-dna"),
            ("emo-dna:steps=300", 1000, {"frames": "94"}, "emo-dna (steps=300, frames=94)"),
            ("dan:add=scl,frames=94", 1000, {"frames": "94"}, "dan + scl (frames=94)"),
        ],
    )
    def test_settings_of_the_spec_come_before_shared_ones(
        self, spec: str, steps: int, settings: dict[str, str], label: str
    ) -> None:
        assert label_spec(spec, steps, **settings) == label

    def test_specs_with_the_same_meaning_are_an_error(self, pair: Stores, tmp_path: Path) -> None:
        conditions = Conditions(300, DEFAULT_FEATURES, {"frames": "94", "learning_rate": "0.01"})
        for spec in ("dan:frames=94", "dan:steps=300", "dan:learning_rate=1e-2,frames=94", "dan:log_every=3"):
            with pytest.raises(BenchError, match="same meaning"):
                plan_experiment(
                    tmp_path, pair, [(["arousal"], [MethodSpec("dan"), MethodSpec.parse(spec)])], 1, conditions
                )
        conditions = Conditions(1000, DEFAULT_FEATURES)
        experiment = plan_experiment(tmp_path, pair, [(["arousal"], SENSITIVITY_METHODS)], 1, conditions)
        assert len(experiment.methods) == len(SENSITIVITY_METHODS)  # one of them sets the default number of steps

    def test_labels_of_earlier_versions_are_updated_if_the_method_is_installed(
        self, pair: Stores, tmp_path: Path
    ) -> None:
        conditions = Conditions(300, DEFAULT_FEATURES, {"frames": "94"})
        experiment = plan_experiment(tmp_path, pair, [(["arousal"], [MethodSpec("dan")])], 1, conditions)
        infos = {
            MethodSpec("dan"): MethodInfo("dan", False, "source"),
            MethodSpec("gone"): MethodInfo("gone", False, "source"),
        }
        updated = update_labels(replace(experiment, methods=infos))
        assert [info.label for info in updated.methods.values()] == ["dan (steps=300, frames=94)", "gone"]
