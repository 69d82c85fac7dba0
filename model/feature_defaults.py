"""Default settings that depend on the kind of features, beneath the settings of the user."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from emodna.model.config import DEFAULT_STEPS, OF_WINDOWS, RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.errors import ConfigError
from emodna.pipeline.errors import Remedy

if TYPE_CHECKING:  # methods import torch
    from emodna.model.methods.base import Method


@dataclass(frozen=True, slots=True)
class FeatureDefaults:
    """Defaults of a kind of features."""

    steps: int = DEFAULT_STEPS
    """Number of training steps."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings with another default, as text. A method uses those that it has."""
    window_seconds: float | None = None
    """Length of a window in s, for methods that read windows; None: the default number of frames."""


#: Kinds of features for which the paper's network and training are the default.
_PAPER: Final = FeatureDefaults()
#: Kinds of features that carry emotion already, such as those of a pretrained encoder, and kinds of other packages.
_REPRESENTATION: Final = FeatureDefaults(
    steps=300,
    settings=MappingProxyType(
        {"network": "statistics", "normalisation": "per-corpus", "class_weights": "balanced", "padding": "mask"}
    ),
    window_seconds=4.375,  # the authors' window: 96 000 samples at 22 050 Hz
)
FEATURE_DEFAULTS: Final[Mapping[str, FeatureDefaults]] = MappingProxyType(
    {"mfcc": _PAPER, "logmel": _PAPER, "wave": _PAPER}
)
"""Kind of features -> its defaults; other kinds have those of a representation."""

#: Full name of a set of these kinds. The name of a plug-in may begin with the same letters.
_NAME: Final = re.compile(r"(?P<kind>[a-z]+)[\d.]+(k|-\d+hz)(-[0-9a-f]{8})?")


def find_feature_defaults(feature_set: str) -> FeatureDefaults:
    """Return the defaults of a feature set, given its full name, such as mfcc40-22050hz-1d163ad7."""
    match = _NAME.fullmatch(feature_set)
    return FEATURE_DEFAULTS.get(match["kind"] if match else "", _REPRESENTATION)


def apply_run_settings(
    settings: Mapping[str, str], kind: "type[Method]", feature_set: str
) -> tuple[TrainConfig, Any, RecordConfig]:
    """Return the configurations of a run with its settings, beneath them those of the feature set (its full name).

    Raises ConfigError for a wrong key or value, and for a setting without effect.
    """
    own_keys = {*as_settings(TrainConfig()), *as_settings(kind.defaults)}
    if "network" in settings and "network" not in own_keys:
        reads_statistics = kind.reads_statistics(kind.defaults)
        reason = "always reads statistics over the whole utterance" if reads_statistics else "has a network of its own"
        problem = f"not valid for method {kind.name}, which {reason}"
        raise ConfigError(problem, field="network", value=settings["network"], remedy="leave it out")
    below = {key: text for key, text in find_feature_defaults(feature_set).settings.items() if key in own_keys}
    train, config, record = apply_settings({**below, **settings}, TrainConfig(), kind.defaults, RecordConfig())
    if kind.reads_statistics(config):
        for key in OF_WINDOWS:
            if key in settings and key not in kind.unused_settings:
                problem = "has no effect on statistics over the whole utterance"
                remedy = Remedy("leave it out, or choose {network=paper}" if "network" in own_keys else "leave it out")
                raise ConfigError(problem, field=key, value=settings[key], remedy=remedy)
        if train.normalisation == "per-utterance":
            problem = "leaves nothing of statistics over the whole utterance"
            raise ConfigError(problem, field="normalisation", value=train.normalisation, remedy="choose another")
    return train, config, record
