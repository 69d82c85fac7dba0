"""Feature sets: names, parameters, and cropping and padding of the waveform."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.errors import AudioError, EmodnaError
from emodna.pipeline.features import (
    FEATURE_SETS,
    SILENCE_DB,
    FeatureSet,
    MfccSet,
    make_feature_set,
    rebuild_feature_set,
)
from emodna.pipeline.features.base import crop_or_pad
from emodna.pipeline.prepare.extract import ExtractionConfig
from tests.pipeline.making import EXTRACTABLE, noise

every_set = pytest.mark.parametrize("features", FEATURE_SETS.values(), ids=FEATURE_SETS)
extractable = pytest.mark.parametrize("features", EXTRACTABLE.values(), ids=EXTRACTABLE)
with_silence = pytest.mark.parametrize("features", [each for each in EXTRACTABLE.values() if each.has_silence])

#: For each field of all sets, a value other than any default.
OTHER_VALUES: dict[str, Any] = {
    "fixed_samples": 96_000,
    "sample_rate": 24_000,
    "trim_db": 35.0,
    "n_mfcc": 38,
    "n_fft": 1024,
    "hop_length": 256,
    "n_mels": 64,
    "top_db": 100.0,
}


def test_names_are_stable_between_versions() -> None:
    """Changed features need new names. Users must prepare their stores again, and the change log says so."""
    assert {name: make_feature_set(name).name for name in FEATURE_SETS} == {
        "mfcc40": "mfcc40-22050hz-1d163ad7",
        "mfcc39": "mfcc39-22050hz-b497ad01",
        "logmel": "logmel128-22050hz-9d5b57be",
        "wave16k": "wave16k-41ed268f",
        "egemaps": "egemaps-v02-16000hz-77911208",
    }
    assert MfccSet(fixed_samples=96_000).name == "mfcc40-22050hz-f4051b6e"


def test_every_parameter_changes_the_name() -> None:
    compared = {each.name for default in FEATURE_SETS.values() for each in fields(default) if each.compare}
    assert compared == set(OTHER_VALUES)
    names = []
    for default in FEATURE_SETS.values():
        changes = [{key: value} for key, value in OTHER_VALUES.items() if hasattr(default, key)]
        changes = [change for change in changes if set(change) <= {each.name for each in fields(default)}]
        names += [default.name, *(replace(default, **change).name for change in changes)]
    # Both MFCC sets with another number of coefficients are equal.
    assert len(set(names)) == len(names) - 1


def test_parameters_are_librosas_defaults_in_a_fixed_order() -> None:
    """The order of the attributes affects the bytes of a shard."""
    expected = {"features": "mfcc", "sample_rate": 22050, "resampler": "soxr HQ", "fixed_samples": None}
    expected |= {"n_mfcc": 40, "n_fft": 2048, "hop_length": 512, "window": "hann", "center": True}
    expected |= {"pad_mode": "constant", "power": 2.0, "n_mels": 128, "mel_scale": "slaney", "mel_norm": "slaney"}
    expected |= {"fmin": 0.0, "fmax": 11025.0, "amin": 1e-10, "top_db": 80.0}
    expected |= {"dct_type": 2, "dct_norm": "ortho", "lifter": 0}
    assert list(MfccSet().parameters().items()) == list(expected.items())
    # As the stores of earlier versions have them.
    stored = [*list(expected.items())[:2], ("channel", 0), *list(expected.items())[2:]]
    assert list(ExtractionConfig(MfccSet()).store_parameters.items()) == stored


@given(data=st.data())
def test_any_feature_set_can_be_rebuilt_from_its_parameters(data: st.DataObject) -> None:
    default = data.draw(st.sampled_from(list(FEATURE_SETS.values())))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "fixed_samples": st.none() | st.integers(2048, 10**7),
        "sample_rate": st.integers(8000, 192_000),
        "top_db": st.floats(1, 200),
        "trim_db": st.none() | st.integers(1, 100) | st.floats(1, 100),
    }
    names = data.draw(st.sets(st.sampled_from([each.name for each in fields(default) if each.compare])))
    original = replace(default, **{name: data.draw(kinds.get(name, st.integers(1, 4096))) for name in sorted(names)})
    rebuilt = rebuild_feature_set(json.loads(json.dumps(original.parameters())))
    assert rebuilt == original
    assert (type(rebuilt), rebuilt.name) == (type(original), original.name)


@every_set
def test_the_place_of_the_weights_is_no_parameter(features: FeatureSet) -> None:
    moved = rebuild_feature_set(features.parameters(), "/weights")
    assert moved.location == "/weights"
    assert (moved, hash(moved), moved.name) == (features, hash(features), features.name)


@pytest.mark.parametrize("trim_db", [0.0, -30.0, float("inf"), float("nan")])
def test_silence_needs_a_level(trim_db: float) -> None:
    with pytest.raises(EmodnaError) as caught:
        make_feature_set("mfcc40", trim_db=trim_db)
    assert caught.value.field == "trim"


@every_set
def test_the_provenance_of_a_store_or_an_old_model_is_ignored(features: FeatureSet) -> None:
    stored = ExtractionConfig(features, channel=1, bandwidth=4000).store_parameters
    assert {"channel", "bandwidth"} <= stored.keys()
    assert rebuild_feature_set(stored) == features


@every_set
def test_unknown_parameters_are_refused(features: FeatureSet) -> None:
    parameters = features.parameters()
    incomplete = [{key: value for key, value in parameters.items() if key != name} for name in parameters]
    for changed in (parameters | {"mel_scale": "htk"}, parameters | {"future": 1}, *incomplete):
        with pytest.raises(EmodnaError, match="cannot extract"):
            rebuild_feature_set(changed)


@pytest.mark.parametrize("value", [-1, [], True, "128", {}])
def test_parameters_that_are_not_sizes_are_refused(value: object) -> None:
    """A damaged model file may hold anything. Found by fuzzing."""
    with pytest.raises(EmodnaError):
        rebuild_feature_set({**MfccSet().parameters(), "n_mfcc": value, "n_mels": value})


def test_an_unknown_feature_set_is_refused_with_the_valid_names() -> None:
    with pytest.raises(EmodnaError) as caught:
        make_feature_set("mfcc41")
    assert (caught.value.field, caught.value.value) == ("feature_set", "mfcc41")
    assert caught.value.valid == (*FEATURE_SETS, "encoder")


@extractable
def test_a_feature_set_describes_its_frames_correctly(features: FeatureSet) -> None:
    samples = noise(1.0, features.sample_rate)
    before = samples.copy()
    longer = np.pad(samples, (0, 4 * features.hop_length))
    extracted, peak_db = features.extract(samples)
    assert np.array_equal(samples, before)
    assert extracted.shape == (len(extracted), features.dim)
    assert extracted.dtype == np.float32
    assert extracted.flags.c_contiguous
    assert len(features.extract(longer)[0]) == len(extracted) + 4
    assert peak_db > SILENCE_DB
    assert len(features.value_names) in (0, features.dim)
    if features.has_silence:
        assert features.silence(peak_db).shape == (features.dim,)
        assert features.silence(peak_db).dtype == np.float32


@with_silence
def test_digital_silence_gives_silent_frames(features: FeatureSet) -> None:
    extracted, peak_db = features.extract(np.zeros(features.sample_rate, np.float32))
    assert peak_db == SILENCE_DB
    np.testing.assert_allclose(extracted, np.tile(features.silence(peak_db), (len(extracted), 1)), atol=1e-4)


@with_silence
def test_silent_frames_next_to_loud_ones_are_silent(features: FeatureSet) -> None:
    samples = np.pad(noise(0.5, features.sample_rate, level=0.3), features.sample_rate)
    extracted, peak_db = features.extract(samples)
    quarter = len(extracted) // 4
    silent = extracted[[*range(quarter), *range(-quarter, 0)]]
    np.testing.assert_allclose(silent, np.tile(features.silence(peak_db), (2 * quarter, 1)), atol=1e-3)


@extractable
def test_a_short_recording_is_refused_with_the_needed_length(features: FeatureSet) -> None:
    least = features.min_samples
    features.extract(noise(least / features.sample_rate, features.sample_rate))
    reason = f"too short: {least - 1} samples at {features.sample_rate} Hz, at least {least} needed"
    for each in (replace(features, fixed_samples=96_000), features):
        with pytest.raises(AudioError, match=reason):
            each.extract(np.zeros(least - 1, np.float32))


@extractable
def test_infinite_samples_are_refused(features: FeatureSet) -> None:
    with pytest.raises(AudioError, match="not finite"):
        features.extract(np.full(4096, np.inf, np.float32))


@extractable
def test_a_fixed_length_applies_to_the_waveform(features: FeatureSet) -> None:
    for seconds in (0.3, 3.0):
        samples = noise(seconds, features.sample_rate)
        extracted, peak_db = replace(features, fixed_samples=24_000).extract(samples)
        expected, expected_peak = features.extract(crop_or_pad(samples, 24_000))
        assert extracted.tobytes() == expected.tobytes()
        assert peak_db == expected_peak


@pytest.mark.parametrize(
    ("samples", "length", "expected"),
    [
        ([1, 2, 3, 4], 4, [1, 2, 3, 4]),
        ([1, 2, 3, 4], 6, [0, 1, 2, 3, 4, 0]),
        ([1, 2, 3, 4], 7, [0, 1, 2, 3, 4, 0, 0]),
        ([1, 2, 3, 4], 2, [2, 3]),
        ([1, 2, 3, 4, 5], 2, [2, 3]),
        ([1, 2, 3, 4, 5, 6], 1, [3]),
    ],
)
def test_cropping_and_padding_are_centred(samples: list[int], length: int, expected: list[int]) -> None:
    assert crop_or_pad(np.array(samples, np.float32), length).tolist() == expected
