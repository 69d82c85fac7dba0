"""Settings: text to typed values, and errors that say what is valid."""

import dataclasses
import re

import pytest

from emodna.model.config import TrainConfig, apply_settings
from emodna.model.errors import ConfigError
from emodna.model.methods.emo_dna import EmoDna, EmoDnaConfig

DEFAULTS = (TrainConfig(), EmoDna.defaults)


def applied(**settings: str) -> tuple[TrainConfig, EmoDnaConfig]:
    train, method = apply_settings(settings, *DEFAULTS)
    assert isinstance(train, TrainConfig)
    assert isinstance(method, EmoDnaConfig)
    return train, method


def test_each_key_finds_its_configuration() -> None:
    train, method = applied(batch_size="32", scl_weight="0.5")
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
    def test_are_those_of_the_field(self, key: str, text: str, value: object) -> None:
        found = getattr(applied(**{key: text})[0], key)
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("expected", "settings"),
        [
            ("int", "batch_size=many batch_size=8.5 batch_size=8.0 batch_size=true batch_size= batch_size=[8]"),
            ("float", "learning_rate=fast learning_rate=true scl_weight=1979-05-27"),
            ("bool", "deterministic=1 deterministic=yes"),
        ],
    )
    def test_of_another_kind_are_refused_by_name(self, expected: str, settings: str) -> None:
        for setting in settings.split():
            key, _, text = setting.partition("=")
            with pytest.raises(ConfigError, match=rf"^--set {re.escape(setting)}: [^\n]*{expected}[^\n]*$"):
                applied(**{key: text})

    @pytest.mark.parametrize(
        ("key", "valid"),
        [
            ("padding", ("silence", "zero", "mask")),
            ("normalisation", ("source", "none", "per-corpus", "per-utterance")),
        ],
    )
    @pytest.mark.parametrize("text", ["reflect", "1", "true", "[]"])
    def test_of_a_choice_list_the_valid_values(self, key: str, valid: tuple[str, ...], text: str) -> None:
        with pytest.raises(ConfigError, match=", ".join(valid)):
            applied(**{key: text})


def test_unknown_keys_list_the_valid_ones() -> None:
    with pytest.raises(ConfigError) as raised:
        applied(batchsize="8")
    message = str(raised.value)
    assert "--set batchsize" in message
    for config in DEFAULTS:
        for field in dataclasses.fields(config):
            assert field.name in message


OUT_OF_RANGE = """
    batch_size=1 frames=7 log_every=0 beta1=1.5 beta2=-0.1 epsilon=-1.0 weight_decay=-1.0 learning_rate=0
    learning_rate=nan learning_rate=inf learning_rate=1e300 channels=-4 dropout=1.5 dropout=nan tcn_blocks=-1
    tcn_kernel=0 projection_dim=0 mmd_kernels=4 mmd_weight=inf scl_temperature=0 prototype_temperature=-0.01
    threshold_momentum=1.5 corpus_weight=nan
"""


@pytest.mark.parametrize("setting", OUT_OF_RANGE.split())
def test_values_that_no_training_can_use_are_refused_by_name(setting: str) -> None:
    key, _, text = setting.partition("=")
    with pytest.raises(ConfigError, match=rf"--set {key}="):
        applied(**{key: text})
