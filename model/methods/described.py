"""What there is to say of each method before it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from emodna.model.config import as_settings
from emodna.model.methods import blaming, package_of, registered
from emodna.model.methods.aligning import additions
from emodna.model.methods.base import Method
from emodna.pipeline.errors import PluginError


@dataclass(frozen=True, slots=True)
class Described:
    """A method that can be used."""

    method: str
    summary: str
    reference: str
    our_reading: bool
    """Whether its layers are our reading of a paper that leaves them open."""
    oracle: bool
    """Whether it learns from the target's labels: a bound, nothing to compare with."""
    add: list[str]
    """What `--add` can add to it."""
    package: Mapping[str, str]
    """The other package that brings it, with its version; empty for a method of this one."""
    settings: Mapping[str, Any]
    """Its keys of `--set`, with their defaults."""


def described() -> dict[str, Described | PluginError]:
    """All methods by name; in place of one that cannot be used, the reason."""
    found: dict[str, Described | PluginError] = {}
    for name, kind in registered().items():
        try:
            found[name] = kind if isinstance(kind, PluginError) else _described(name, kind)
        except PluginError as error:
            found[name] = error
    return found


def _described(name: str, kind: type[Method]) -> Described:
    return Described(
        name,
        kind.summary,
        kind.reference,
        kind.our_reading,
        _is_oracle(name, kind),
        additions(kind),
        package_of(name),
        as_settings(kind.defaults),
    )


def _is_oracle(name: str, kind: type[Method]) -> bool:
    """Whether it learns from the target's labels as it comes."""
    if kind.supervision is Method.supervision:
        return False
    # That depends on the configuration, so it is asked of a method, which takes no memory here.
    with blaming(name, "()"), torch.device("meta"):
        return kind(kind.min_dim, kind.defaults, 0).supervision != "source"
