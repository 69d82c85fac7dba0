"""Methods of an experiment with their own settings. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from emodna.model.errors import ConfigError
from emodna.model.label import is_oracle, uses_target_labels
from emodna.model.methods import check_method_name
from emodna.pipeline.errors import Remedy

#: Text of a valid number of training steps.
_STEPS: Final = re.compile("0*[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True, order=True)
class MethodSpec:
    """A method with its own settings, as text `dan`, `dan:add=scl` or `emo-dna:threshold=none`.

    Specs that differ only in the order of their settings are equal.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of a fit request, `steps` and `feature_set`, sorted by key."""

    @classmethod
    def parse(cls, text: str) -> "MethodSpec":
        """Parse METHOD[:KEY=VALUE[,KEY=VALUE...]].

        Raises ConfigError for another form, a repeated key, or an unknown method.
        """
        spec = cls.parse_unchecked(text)
        check_method_name(spec.name, in_spec=True)
        return spec

    @classmethod
    def parse_unchecked(cls, text: str) -> "MethodSpec":
        """Parse a spec like `parse`, but accept methods that are not installed.

        Raises ConfigError for another form, a repeated key, or an invalid number of steps.
        """
        name, colon, rest = text.strip().partition(":")
        form, remedy = "must be METHOD or METHOD:KEY=VALUE,KEY=VALUE", Remedy("repeat {methods} for several methods")
        if "," in name:
            raise ConfigError(form, field="methods", value=text, remedy=remedy)
        settings: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = (each.strip() for each in part.partition("="))
            if not (key and equals and value):
                raise ConfigError(form, field="methods", value=text, remedy=remedy)
            if key in settings:
                raise ConfigError(f"contains {key} twice", field="methods", value=text)
            settings[key] = value
        spec, steps = cls(name, tuple(sorted(settings.items()))), settings.get("steps", "1")
        if not _STEPS.fullmatch(steps):
            raise ConfigError(f"steps must be a whole number from 1 to {10**9 - 1}", field="methods", value=spec)
        return spec

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.name}:{settings}" if settings else self.name

    @property
    def steps(self) -> int | None:
        """Training steps of this spec; None: those of the experiment."""
        text = dict(self.settings).get("steps")
        return None if text is None else int(text)

    @property
    def feature_set(self) -> str | None:
        """Short name of the feature set in the experiment; None: the default one."""
        return dict(self.settings).get("feature_set")

    @property
    def overrides(self) -> Mapping[str, str]:
        """Settings of a fit request, without `steps` and `feature_set`."""
        return {key: value for key, value in self.settings if key not in ("steps", "feature_set")}

    def on(self, feature_set: str | None) -> "MethodSpec":
        """Return this spec on another feature set; None: the default one."""
        return self.set("feature_set", feature_set)

    def set(self, key: str, value: str | None) -> "MethodSpec":
        """Return this spec with another value of a setting; None: without it."""
        others = {each: text for each, text in self.settings if each != key}
        own = {} if value is None else {key: value}
        return MethodSpec(self.name, tuple(sorted({**others, **own}.items())))


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Label and supervision of a method spec, for tables and figures."""

    label: str
    """Label from `emodna.model.label.make_label`."""
    our_reading: bool
    """True if the method is our reading of its paper."""
    supervision: str
    """Labels that the method learns from, as `Supervision`."""
    short_label: str | None = None
    """Label for a table with a column of feature sets: without the feature set, but with all settings of the spec."""

    @property
    def oracle(self) -> bool:
        """True if the scored labels are learned from."""
        return is_oracle(self.supervision)

    @property
    def uses_target_labels(self) -> bool:
        """True if the method learns from target labels; tables and tests do not rank it with the others."""
        return uses_target_labels(self.supervision)
