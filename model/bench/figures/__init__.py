"""The figures, by name. A new one is one file here with a function `picture`, and one line below."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from emodna.model.bench.pictures import Picture
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import BenchError
from emodna.pipeline.emotions import Task

_MODULES: Final[Mapping[str, str]] = {
    "ranks": "ranks",
    "pairs": "pairs",
    "languages": "languages",
    "confusion": "confusion",
    "threshold": "threshold",
    "prototypes": "prototypes",
    "losses": "losses",
    "sensitivity": "sensitivity",
    "features-methods": "features_methods",
    "features-parts": "features_parts",
    "distances": "distances",
}
"""Module of each, in the order in which they are shown; imported when it is asked for."""


OF_MODELS: Final = frozenset({"features-methods", "features-parts", "distances"})
"""Those that are worked out from the trained models, which takes long the first time."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a figure is to show; None: what it finds, the first of several."""

    task: Task = "arousal"
    src: str | None = None
    tgt: str | None = None
    seed: int | None = None
    rows: tuple[MethodSpec, ...] | None = None


class NothingToShow(BenchError):  # noqa: N818 - it is no fault
    """No finished cell has what a figure shows."""


def names() -> list[str]:
    """Names of all figures."""
    return list(_MODULES)


def summary(name: str) -> str:
    """What a figure shows, in a line: the first of its module's description."""
    return str(_module(name).__doc__).partition("\n")[0]


def figure(name: str, bench: Experiment, choice: Choice) -> Picture:
    """Make a figure.

    Raises
    ------
    BenchError
        Unknown name.
    NothingToShow
        No finished cell has what it shows; says which cells would.
    """
    found: Picture = _module(name).picture(bench, choice)
    return found


def check_name(name: str) -> None:
    """Refuse what is no figure's name.

    Raises
    ------
    BenchError
        Lists the valid ones.
    """
    if name not in _MODULES:
        raise BenchError(f"figure {name}: unknown; valid: {', '.join(_MODULES)}")


def _module(name: str) -> ModuleType:
    check_name(name)
    return importlib.import_module(f"{__name__}.{_MODULES[name]}")
