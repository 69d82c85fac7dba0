"""Settings of a run: frozen dataclasses whose fields can be set by key and text."""

import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Final, Literal, TypeVar

from emodna.model.errors import ConfigError

Config = TypeVar("Config")

DEFAULT_STEPS: Final = 1000
#: Settings of layers that a network of statistics does not have.
OF_PAPER_NETWORK: Final = frozenset(
    ("tcn_blocks", "tcn_kernel", "tcn_pooling", "lstm_directions", "lstm_pooling", "batch_norm", "target_bn")
)
#: Settings of windows, which pooled statistics do not have.
OF_WINDOWS: Final = ("frames", "padding")

Padding = Literal["silence", "zero", "mask"]
PADDINGS: Final[tuple[Padding, ...]] = typing.get_args(Padding)
Normalisation = Literal["source", "none", "per-corpus", "per-speaker", "per-utterance"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = typing.get_args(Normalisation)
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint on the value of a setting, as an annotation of its field's type."""

    description: str
    """Clause that completes "must be"."""
    is_met: Callable[[Any], bool]


#: Range of float32.
_LEAST, _MOST = 1e-37, 3e38
_TYPE_NAMES: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
#: Upper bound of units, steps and the like: more must be a mistake.
_MANY = 2**20

Count = Annotated[int, Constraint(f"from 1 to {_MANY}", lambda x: 1 <= x <= _MANY)]
BatchSize = Annotated[int, Constraint("at least 2", lambda x: x >= 2)]
Blocks = Annotated[int, Constraint("from 1 to 16 (their dilation doubles)", lambda x: 1 <= x <= 16)]
Steps = Annotated[int, Constraint("0 or more", lambda x: x >= 0)]
Odd = Annotated[int, Constraint("odd and positive", lambda x: x >= 1 and x % 2 == 1)]
Positive = Annotated[float, Constraint(f"from {_LEAST:g} to {_MOST:g}", lambda x: _LEAST <= x <= _MOST)]
Ratio = Annotated[float, Constraint("a number above 1", lambda x: 1 < x <= _MOST)]
Weight = Annotated[float, Constraint(f"0, or from {_LEAST:g} to {_MOST:g}", lambda x: x == 0 or _LEAST <= x <= _MOST)]
Number = Annotated[int, Constraint("0 or more", lambda x: x >= 0)]
Share = Annotated[float, Constraint("at least 0 and below 1", lambda x: 0 <= x < 1)]
Momentum = Annotated[float, Constraint("between 0 and 1", lambda x: 0 < x < 1)]
Window = Annotated[int, Constraint("at least 8", lambda x: x >= 8)]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of the training that all methods share."""

    batch_size: BatchSize = 64
    """Number of source utterances and number of target utterances per step."""
    frames: Window = 188
    """Frames per window; 188 frames of MFCCs are 96 000 samples at 22 050 Hz. At least 0.25 s."""
    padding: Padding = "silence"
    normalisation: Normalisation = "source"
    class_weights: ClassWeights = "none"
    """`balanced` draws the classes of each source equally often, whatever their numbers of utterances are."""
    learning_rate: Positive = 1e-3
    """Learning rate of RAdam."""
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Weight = 0.0
    log_every: Count = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_seconds: Weight = 30.0
    snapshot_every: Number = 0
    """Steps between two model snapshots; 0: none, or about 20 in total if a selection or an analysis needs them."""
    validation: Share = 0.0
    """Share of each source that is held out to validate on; 0.1 to select by source accuracy."""
    deterministic: bool = False
    """True to use only deterministic algorithms on CUDA. On the CPU every run is deterministic."""


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Settings of a run's records; they change no result and may change at a resume."""

    tensorboard: bool = True
    """True to write TensorBoard events into the run folder if the extra `tensorboard` is installed."""


def apply_shared_settings(settings: Mapping[str, str]) -> tuple[TrainConfig, RecordConfig]:
    """Return the configurations that all methods share, with their settings applied.

    Ignores the settings of the method, whose module imports torch; `apply_settings` checks all. Raises ConfigError for
    a value of the wrong type or range.
    """
    train, record = TrainConfig(), RecordConfig()
    shared_keys = {*as_settings(train), *as_settings(record)}
    applied: Any = apply_settings({key: text for key, text in settings.items() if key in shared_keys}, train, record)
    return applied  # type: ignore[no-any-return]


def apply_settings(settings: Mapping[str, str], *configs: Config) -> tuple[Config, ...]:
    """Apply settings, key -> text, to the configurations; raise a ConfigError for a wrong key or value."""
    types_of_configs = [_get_types(config) for config in configs]
    keys = {key for types in types_of_configs for key in types}
    if unknown := [key for key in settings if key not in keys]:
        raise ConfigError("unknown", field="settings", value=unknown[0], valid=sorted(keys))
    changed_configs = []
    for config, types in zip(configs, types_of_configs, strict=True):
        values = {key: _parse(key, text, types[key]) for key, text in settings.items() if key in types}
        changed_configs.append(replace(config, **values))  # type: ignore[type-var]
    return tuple(changed_configs)


def build_config(defaults: Config, values: Mapping[str, Any]) -> Config:
    """Return a configuration with the values of `as_settings`; raise a ConfigError for a wrong key or value."""
    types = _get_types(defaults)
    if not isinstance(values, Mapping):
        raise ConfigError("not a table of settings")
    if unknown := sorted(values.keys() - types.keys()):
        raise ConfigError("unknown", field=unknown[0])
    validated = {key: _validate(key, value, types[key]) for key, value in values.items()}
    return replace(defaults, **validated)  # type: ignore[type-var]


def check_keys(defaults: object, *others: object) -> None:
    """Check that every field of a frozen dataclass can be set by text, together with `others`.

    Raises ConfigError for a field of an unsupported type, for a default of another type, and for a field of `others`
    with the same name and another type.
    """
    try:
        types = _get_types(defaults)
    except Exception as error:  # an annotation may be any expression
        raise ConfigError(f"its annotations cannot be read: {type(error).__name__}: {error}") from error
    other_types = {key: value_type for each in others for key, value_type in _get_types(each).items()}
    for field in fields(defaults):  # type: ignore[arg-type]
        key, value_type = field.name, types[field.name]
        if key in other_types and other_types[key] != value_type:
            raise ConfigError("the training has a key of this name with another type", field=key)
        base, *constraints = _split_annotation(value_type)
        words = typing.get_args(value_type) if typing.get_origin(value_type) is Literal else ()
        is_supported = all(isinstance(word, str) for word in words) if words else base in (bool, int, float, str)
        if not is_supported or not all(isinstance(each, Constraint) for each in constraints):
            problem = "its type must be bool, int, float, str, a Literal of words or a type of emodna.model.config"
            raise ConfigError(problem, field=key)
        _validate(key, getattr(defaults, key), value_type)


def as_settings(config: object) -> dict[str, Any]:
    """Return every key of a configuration with its value."""
    return asdict(config)  # type: ignore[call-overload,no-any-return]


def _get_types(config: object) -> dict[str, Any]:
    return typing.get_type_hints(type(config), include_extras=True)


def _split_annotation(value_type: Any) -> tuple[Any, ...]:
    return typing.get_args(value_type) if typing.get_origin(value_type) is Annotated else (value_type,)


def _parse(key: str, text: str, value_type: Any) -> object:
    """Parse a value as TOML, or keep it as plain text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if typing.get_origin(value_type) is Annotated and _split_annotation(value_type)[0] is str:
        value = value if isinstance(value, str) else text  # a number counts as a wrong word
    return _validate(key, value, value_type, text)


def _validate(key: str, value: object, value_type: Any, text: str | None = None) -> object:
    shown_text = f"{value if text is None else text!s:.40}"
    if typing.get_origin(value_type) is Literal:
        if value not in (words := typing.get_args(value_type)):
            raise ConfigError("unknown", field=key, value=shown_text, valid=words)
        return value
    base, *constraints = _split_annotation(value_type)
    if base is float and type(value) is int:
        value = float(value)
    if type(value) is not base:
        raise ConfigError(f"must be {_TYPE_NAMES[base]}", field=key, value=shown_text)
    for constraint in constraints:
        if not constraint.is_met(value):
            raise ConfigError(f"must be {constraint.description}", field=key, value=shown_text)
    return value
