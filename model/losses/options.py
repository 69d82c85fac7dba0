"""Options of the losses that are words."""

import typing


def require_option(name: str, value: str, options: object) -> None:
    """Refuse a word that is not among those of a Literal type.

    Raises
    ------
    ValueError
        Names the option and the valid words.
    """
    valid = typing.get_args(options)
    if value not in valid:
        raise ValueError(f"{name} must be one of {', '.join(valid)}, got {value!r}")
