"""A row of a table: a method, with the settings that make it another one. It needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from emodna.model.errors import ConfigError
from emodna.model.methods import check_name

#: The one key of a row that is an option of emodna-fit, and not a setting.
_STEPS: Final = "steps"
_DIGITS: Final = 9


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """A method and its own settings, as `--methods` spells them: `dan`, `dan:add=scl`, `emo-dna:threshold=fixed:0.9`.

    Two rows that differ only in the order of their settings are the same.
    """

    method: str
    settings: tuple[tuple[str, str], ...] = ()
    """Keys of emodna-fit's --set, in order, and `steps`."""

    @classmethod
    def parse(cls, text: str) -> "Row":
        """Read METHOD[:KEY=VALUE[,KEY=VALUE...]].

        Raises
        ------
        ConfigError
            Of another form, a key given twice, or a method that does not exist; says what is valid.
        """
        row = cls.read(text)
        check_name(row.method, option="--methods", adding="{}:add=scl")
        return row

    @classmethod
    def read(cls, text: str) -> "Row":
        """As `parse`, of a row that was written down: its method may be one that is no longer installed.

        Raises
        ------
        ConfigError
            Of another form, or a key given twice.
        """
        method, colon, rest = text.strip().partition(":")
        settings: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = (each.strip() for each in part.partition("="))
            if not (key and equals and value):
                raise ConfigError(f"--methods {text}: must be METHOD or METHOD:KEY=VALUE,KEY=VALUE")
            if key in settings:
                raise ConfigError(f"--methods {text}: {key} is given twice")
            settings[key] = value
        row = cls(method, tuple(sorted(settings.items())))
        _ = row.steps  # read once, so that a slip is found now
        return row

    def __str__(self) -> str:
        """As `parse` reads it."""
        settings = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.method}:{settings}" if settings else self.method

    @property
    def steps(self) -> int | None:
        """Training steps of its own; None: those of the whole grid.

        Raises
        ------
        ConfigError
            No whole number from 1 on.
        """
        text = dict(self.settings).get(_STEPS)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and 1 <= int(text[: _DIGITS + 1]) < 10**_DIGITS):
            raise ConfigError(f"--methods {self}: steps={text:.40}: must be a whole number from 1 to {10**_DIGITS - 1}")
        return int(text)

    @property
    def overrides(self) -> Mapping[str, str]:
        """Its settings for emodna-fit's --set."""
        return {key: value for key, value in self.settings if key != _STEPS}
