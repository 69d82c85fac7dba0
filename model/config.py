"""Settings of a run: frozen dataclasses whose fields are the keys of `--set key=value`."""

import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, TypeVar

from emodna.model.errors import ConfigError

Config = TypeVar("Config")

#: Steps of a run, unless its user asks for another number.
DEFAULT_STEPS: Final = 1000

Padding = Literal["silence", "zero", "mask"]
PADDINGS: Final[tuple[Padding, ...]] = typing.get_args(Padding)
Normalisation = Literal["source", "none", "per-corpus", "per-utterance"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = typing.get_args(Normalisation)


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a value of a setting must be, as an annotation of its field's type."""

    says: str
    holds: Callable[[Any], bool]


#: What float32 can hold.
_LEAST, _MOST = 1e-37, 3e38
#: Of units, steps and the like; more could only be a slip.
_MANY = 2**20

Count = Annotated[int, Constraint(f"from 1 to {_MANY}", lambda value: 1 <= value <= _MANY)]
BatchSize = Annotated[int, Constraint("at least 2", lambda value: value >= 2)]
Blocks = Annotated[int, Constraint("from 1 to 16 (their dilation doubles)", lambda value: 1 <= value <= 16)]
Steps = Annotated[int, Constraint("0 or more", lambda value: value >= 0)]
Odd = Annotated[int, Constraint("odd and positive", lambda value: value >= 1 and value % 2 == 1)]
Positive = Annotated[float, Constraint(f"from {_LEAST:g} to {_MOST:g}", lambda value: _LEAST <= value <= _MOST)]
Ratio = Annotated[float, Constraint("a number above 1", lambda value: 1 < value <= _MOST)]
Weight = Annotated[
    float, Constraint(f"0, or from {_LEAST:g} to {_MOST:g}", lambda value: value == 0 or _LEAST <= value <= _MOST)
]
Number = Annotated[int, Constraint("0 or more", lambda value: value >= 0)]
Share = Annotated[float, Constraint("at least 0 and below 1", lambda value: 0 <= value < 1)]
Momentum = Annotated[float, Constraint("between 0 and 1", lambda value: 0 < value < 1)]
Window = Annotated[
    int, Constraint("at least 8 (the backbone's pools make one step of 8 frames)", lambda value: value >= 8)
]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What every method shares."""

    batch_size: BatchSize = 64
    """Utterances of the source, and as many of the target, per step."""
    frames: Window = 188
    """Length of the window that the networks see: of MFCCs, 96 000 samples at 22 050 Hz; at least 0.25 s."""
    padding: Padding = "silence"
    normalisation: Normalisation = "source"
    learning_rate: Positive = 1e-3
    """Of RAdam."""
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Weight = 0.0
    log_every: Count = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_seconds: Weight = 30.0
    snapshot_every: Number = 0
    """Steps between two snapshots; 0: none, but with --select or --oracle-analysis about twenty in all."""
    validation: Share = 0.0
    """Share of each source that is held out to validate on; 0.1 with --select source-accuracy."""
    deterministic: bool = False
    """On CUDA: use deterministic algorithms only. On the CPU every run is deterministic."""


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """What a run records beside its results: it decides no weight, and may be another one at each resume."""

    tensorboard: bool = True
    """Write TensorBoard events into the run folder, where the extra `tensorboard` is installed."""


def apply_shared_settings(settings: Mapping[str, str]) -> tuple[TrainConfig, RecordConfig]:
    """Return the configurations that no method changes, with those of the settings that are theirs.

    The other settings are the method's, whose module needs torch: `apply_settings` checks all. A value of the wrong
    type or range is a `ConfigError` that says what is valid.
    """
    train, record = TrainConfig(), RecordConfig()
    own = {*as_settings(train), *as_settings(record)}
    applied: Any = apply_settings({key: text for key, text in settings.items() if key in own}, train, record)
    return applied  # type: ignore[no-any-return]


def apply_settings(settings: Mapping[str, str], *configs: Config) -> tuple[Config, ...]:
    """Return the configurations with settings, key -> value as text; a wrong key or value is a `ConfigError`."""
    hints = [_get_types(config) for config in configs]
    known = {key for each in hints for key in each}
    for key in settings:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--set {key}: unknown{hint}; valid: {', '.join(sorted(known))}")
    changed = []
    for config, kinds in zip(configs, hints, strict=True):
        mine = {key: _parse(key, text, kinds[key]) for key, text in settings.items() if key in kinds}
        changed.append(replace(config, **mine))  # type: ignore[type-var]
    return tuple(changed)


def build_config(defaults: Config, values: Mapping[str, Any]) -> Config:
    """Return a configuration with the values of `as_settings`, else its defaults; a wrong one is a `ConfigError`."""
    kinds = _get_types(defaults)
    if not isinstance(values, Mapping):
        raise ConfigError("not a table of settings")
    if unknown := sorted(values.keys() - kinds.keys()):
        raise ConfigError(f"{unknown[0]}: unknown")
    checked = {key: _validate(key, value, str(value), kinds[key]) for key, value in values.items()}
    return replace(defaults, **checked)  # type: ignore[type-var]


def check_keys(defaults: object, *beside: object) -> None:
    """See that every field of a frozen dataclass can be a key of `--set`, `beside` those of other configurations.

    Raises ConfigError for a field whose type `--set` cannot read, whose default is not of its type, or that has another
    type than a field of that name beside it.
    """
    try:
        kinds = _get_types(defaults)
    except Exception as error:  # an annotation may be any expression
        raise ConfigError(f"its annotations cannot be read: {type(error).__name__}: {error}") from error
    taken = {key: kind for each in beside for key, kind in _get_types(each).items()}
    for field in fields(defaults):  # type: ignore[arg-type]
        key, kind = field.name, kinds[field.name]
        if key in taken and taken[key] != kind:
            raise ConfigError(f"{key}: the training has a key of that name and of another type")
        base, *checks = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
        words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        readable = all(isinstance(word, str) for word in words) if words else base in (bool, int, float, str)
        if not readable or not all(isinstance(check, Constraint) for check in checks):
            raise ConfigError(
                f"{key}: --set reads bool, int, float, str, Literal of words and those of model/config.py"
            )
        value = getattr(defaults, key)
        _validate(key, value, str(value), kind)


def as_settings(config: object) -> dict[str, Any]:
    """Every key of a configuration with its value."""
    return asdict(config)  # type: ignore[call-overload,no-any-return]


def _get_types(config: object) -> dict[str, Any]:
    """Return the type of each key of a configuration."""
    return typing.get_type_hints(type(config), include_extras=True)


def _parse(key: str, text: str, kind: Any) -> object:
    """Read a value as TOML would, or as plain text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if typing.get_origin(kind) is Annotated and typing.get_args(kind)[0] is str and not isinstance(value, str):
        value = text  # 0.9 where a word is wanted is a wrong word
    return _validate(f"--set {key}", value, text, kind)


def _validate(key: str, value: object, text: str, kind: Any) -> object:
    """A value, if it is of its field's type and range."""
    if typing.get_origin(kind) is Literal:
        valid, says = value in typing.get_args(kind), "one of " + ", ".join(map(str, typing.get_args(kind)))
    else:
        base, *checks = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
        if base is float and type(value) is int:
            value = float(value)
        valid, says = type(value) is base, f"of type {base.__name__}"
        for check in checks if valid else ():
            if not check.holds(value):
                valid, says = False, check.says
                break
    if not valid:
        raise ConfigError(f"{key}={text:.40}: must be {says}")
    return value
