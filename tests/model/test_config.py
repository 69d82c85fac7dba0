"""Settings are parsed from text, and errors list the valid values."""

import dataclasses

import pytest

from emodna.model.config import TrainConfig, apply_settings
from emodna.model.errors import ConfigError
from emodna.model.methods.emo_dna import EmoDna, EmoDnaConfig

DEFAULTS = (TrainConfig(), EmoDna.defaults)


def apply(**settings: str) -> tuple[TrainConfig, EmoDnaConfig]:
    train, method = apply_settings(settings, *DEFAULTS)
    assert isinstance(train, TrainConfig)
    assert isinstance(method, EmoDnaConfig)
    return train, method


def test_each_key_sets_a_field_of_its_configuration() -> None:
    train, method = apply(batch_size="32", scl_weight="0.5")
    assert train == dataclasses.replace(TrainConfig(), batch_size=32)
    assert method == dataclasses.replace(EmoDnaConfig(), scl_weight=0.5)


class TestTypes:
    @pytest.mark.parametrize(
        ("key", "text", "value"),
        [
            ("frames", "96", 96),
            ("learning_rate", "1e-4", 1e-4),
            ("learning_rate", "1", 1.0),
            ("weight_decay", "0", 0.0),
            ("deterministic", "true", True),
            ("padding", "mask", "mask"),
            ("padding", '"mask"', "mask"),
            ("normalisation", "per-utterance", "per-utterance"),
        ],
    )
    def test_a_value_has_the_type_of_its_field(self, key: str, text: str, value: object) -> None:
        found = getattr(apply(**{key: text})[0], key)
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("expected", "settings"),
        [
            (
                "whole number",
                "batch_size=many batch_size=8.5 batch_size=8.0 batch_size=true batch_size= batch_size=[8]",
            ),
            ("a number", "learning_rate=fast learning_rate=true scl_weight=1979-05-27"),
            ("true or false", "deterministic=1 deterministic=yes"),
        ],
    )
    def test_a_value_of_another_type_is_an_error(self, expected: str, settings: str) -> None:
        for setting in settings.split():
            key, _, text = setting.partition("=")
            with pytest.raises(ConfigError, match=expected) as raised:
                apply(**{key: text})
            assert (raised.value.field, raised.value.value) == (key, text)

    @pytest.mark.parametrize(
        ("key", "valid"),
        [
            ("padding", ("silence", "zero", "mask")),
            ("normalisation", ("source", "none", "per-corpus", "per-speaker", "per-utterance")),
        ],
    )
    @pytest.mark.parametrize("text", ["reflect", "1", "true", "[]"])
    def test_the_error_of_a_choice_lists_the_valid_values(self, key: str, valid: tuple[str, ...], text: str) -> None:
        with pytest.raises(ConfigError) as raised:
            apply(**{key: text})
        assert (raised.value.field, raised.value.value, raised.value.valid) == (key, text, valid)


def test_the_error_of_an_unknown_key_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean batch_size") as raised:
        apply(batchsize="8")
    assert (raised.value.field, raised.value.value) == ("settings", "batchsize")
    assert set(raised.value.valid) == {field.name for config in DEFAULTS for field in dataclasses.fields(config)}


OUT_OF_RANGE = """
    batch_size=1 frames=7 log_every=0 beta1=1.5 beta2=-0.1 epsilon=-1.0 weight_decay=-1.0 learning_rate=0
    learning_rate=nan learning_rate=inf learning_rate=1e300 channels=-4 dropout=1.5 dropout=nan tcn_blocks=-1
    tcn_kernel=0 projection_dim=0 mmd_kernels=4 mmd_weight=inf scl_temperature=0 prototype_temperature=-0.01
    threshold_momentum=1.5 corpus_weight=nan
"""


@pytest.mark.parametrize("setting", OUT_OF_RANGE.split())
def test_a_value_out_of_range_is_an_error(setting: str) -> None:
    key, _, text = setting.partition("=")
    with pytest.raises(ConfigError) as raised:
        apply(**{key: text})
    assert (raised.value.field, raised.value.value) == (key, text)
