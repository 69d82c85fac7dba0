"""Feature sets: their names, their parameters, and cropping and padding of the waveform."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from emodna.pipeline.errors import AudioError, EmodnaError
from emodna.pipeline.features import MfccSet, center_fit, feature_set, feature_set_from
from tests.pipeline.making import Float32, noise

OTHER_VALUES: dict[str, Any] = {
    "channel": 1,
    "fixed_samples": 96_000,
    "sample_rate": 16_000,
    "n_mfcc": 39,
    "n_fft": 1024,
    "hop_length": 256,
    "n_mels": 64,
    "top_db": 100.0,
}


def test_the_name_tells_what_is_inside() -> None:
    assert re.fullmatch(r"mfcc40-22050hz-[0-9a-f]{8}", MfccSet().name)
    assert replace(MfccSet(), n_mfcc=13, sample_rate=16_000).name.startswith("mfcc13-16000hz-")


def test_the_default_name_does_not_change_from_version_to_version() -> None:
    """Where it must change, because the features do, every store has to be made anew: say so in the change log."""
    assert MfccSet().name == "mfcc40-22050hz-1d163ad7"
    assert MfccSet(fixed_samples=96_000).name == "mfcc40-22050hz-f4051b6e"


def test_every_parameter_is_in_the_name() -> None:
    assert set(OTHER_VALUES) == {each.name for each in fields(MfccSet)}
    names = [MfccSet().name, *(replace(MfccSet(), **{key: value}).name for key, value in OTHER_VALUES.items())]
    assert len(set(names)) == len(names)


def test_the_parameters_are_librosas_defaults_spelled_out() -> None:
    expected = {"n_mfcc": 40, "n_fft": 2048, "hop_length": 512, "window": "hann", "center": True, "power": 2.0}
    expected |= {"pad_mode": "constant", "n_mels": 128, "mel_scale": "slaney", "mel_norm": "slaney", "fmin": 0.0}
    expected |= {"fmax": 11025.0, "amin": 1e-10, "top_db": 80.0, "dct_type": 2, "dct_norm": "ortho", "lifter": 0}
    expected |= {"sample_rate": 22050, "channel": 0, "resampler": "soxr HQ", "fixed_samples": None}
    parameters = MfccSet().parameters()
    assert parameters | expected == parameters


@pytest.mark.parametrize("changes", [{}, *({key: value} for key, value in OTHER_VALUES.items())], ids=str)
def test_a_feature_set_comes_back_from_its_parameters(changes: dict[str, Any]) -> None:
    original = replace(MfccSet(), **changes)
    written = json.loads(json.dumps(original.parameters()))
    assert feature_set_from(written) == original


@pytest.mark.parametrize("changes", [{"mel_scale": "htk"}, {"future": 1}], ids=str)
def test_parameters_that_this_version_cannot_extract_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(EmodnaError, match="cannot extract"):
        feature_set_from(MfccSet().parameters() | changes)


def test_parameters_that_lack_something_are_refused() -> None:
    parameters = MfccSet().parameters()
    del parameters["top_db"]
    with pytest.raises(EmodnaError, match="cannot extract"):
        feature_set_from(parameters)


def test_an_unknown_feature_set_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(EmodnaError, match=r"--feature-set mfcc41: unknown; valid: mfcc40"):
        feature_set("mfcc41")


def test_a_feature_set_is_chosen_by_name_and_options() -> None:
    assert feature_set("mfcc40") == MfccSet()
    assert feature_set("mfcc40", channel=1, fixed_samples=4096) == MfccSet(channel=1, fixed_samples=4096)


def test_frames_follow_from_the_length() -> None:
    for length in (2048, 2559, 2560, 22_050):
        assert MfccSet().extract(noise(length / 22_050, 22_050))[0].shape == (1 + length // 512, 40)


@pytest.mark.parametrize("fixed", [None, 96_000])
def test_less_than_one_window_is_too_short(fixed: int | None) -> None:
    with pytest.raises(AudioError, match=r"too short: 2047 samples at 22050 Hz, at least 2048"):
        MfccSet(fixed_samples=fixed).extract(np.zeros(2047, np.float32))


@pytest.mark.parametrize("length", [2048, 95_999, 96_000, 96_001, 200_000])
def test_a_fixed_length_gives_as_many_frames_to_all(length: int) -> None:
    assert MfccSet(fixed_samples=96_000).extract(noise(length / 22_050, 22_050))[0].shape == (188, 40)


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
def test_cropping_and_padding_go_about_the_middle(samples: list[int], length: int, expected: list[int]) -> None:
    assert center_fit(np.array(samples, np.float32), length).tolist() == expected


def test_a_fixed_length_is_that_of_the_waveform_before_the_features() -> None:
    samples: Float32 = noise(1.0, 22_050)
    padded = np.pad(samples, (36_975, 36_975))
    assert len(padded) == 96_000
    features, peak_db = MfccSet(fixed_samples=96_000).extract(samples)
    expected, expected_peak = MfccSet().extract(padded)
    assert np.array_equal(features, expected)
    assert peak_db == expected_peak
