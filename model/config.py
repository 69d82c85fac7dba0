"""Settings of a run: frozen dataclasses whose fields are the keys of `--set key=value`."""

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

from emodna.model.errors import ConfigError
from emodna.model.framing import Normalisation, Padding

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What every method shares."""

    batch_size: int = 64
    """Utterances of the source, and as many of the target, per step."""
    frames: int = 188
    """Length of the window that the networks see: 96 000 samples at 22 050 Hz."""
    padding: Padding = "silence"
    normalisation: Normalisation = "source"
    learning_rate: float = 1e-3
    """Of RAdam."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    log_every: int = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_seconds: float = 30.0
    deterministic: bool = False
    """On CUDA: use deterministic algorithms only. On the CPU every run is deterministic."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2")
        _require(self.frames >= 8, "frames", self.frames, "at least 8")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        _require(self.log_every >= 1, "log_every", self.log_every, "at least 1")


def apply_settings(settings: Mapping[str, str], *configs: Config) -> tuple[Config, ...]:
    """Return the configurations with settings applied, each to the one that has its key.

    Parameters
    ----------
    settings
        Key -> value as text.

    Raises
    ------
    ConfigError
        Unknown key, or a value of the wrong type; says what is valid.
    """
    known = {field.name for config in configs for field in fields(config)}  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise ConfigError(f"--set {key}: unknown; valid: {', '.join(sorted(known))}")
    changed = []
    for config in configs:
        hints = typing.get_type_hints(type(config))
        mine = {key: _parse(key, text, hints[key]) for key, text in settings.items() if key in hints}
        changed.append(replace(config, **mine))  # type: ignore[type-var]
    return tuple(changed)


def as_settings(config: object) -> dict[str, Any]:
    """Every key of a configuration with its value."""
    return asdict(config)  # type: ignore[call-overload,no-any-return]


def _parse(key: str, text: str, kind: object) -> object:
    """Read a value as TOML would, or as plain text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if typing.get_origin(kind) is Literal:
        valid = typing.get_args(kind)
        _require(value in valid, key, text, "one of " + ", ".join(map(str, valid)))
        return value
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, key, text, f"of type {getattr(kind, '__name__', kind)}")
    return value


def _require(condition: bool, key: str, value: object, valid: str) -> None:
    if not condition:
        raise ConfigError(f"--set {key}={value}: must be {valid}")
