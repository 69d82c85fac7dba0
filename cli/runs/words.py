"""Runs in words and in JSON: what `ls`, `show` and `compare` share."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from emodna.cli import common
from emodna.model.metrics import SCORE_NAMES

if TYPE_CHECKING:
    from emodna.model.runs.listing import Run

_STYLES: Final = {"done": "green", "running": "cyan", "interrupted": "yellow", "damaged": "red"}
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def as_json(run: "Run") -> dict[str, Any]:
    """A run as `--json` tells it."""
    return {
        "run": str(run.folder.path.absolute()),
        "state": run.state,
        "problem": run.problem,
        **run.asked,
        "supervision": run.supervision,
        "label": run.label,
        "step": run.step,
        **run.scores,
        "best_constant": run.best_constant,
        "changed": datetime.fromtimestamp(run.changed, UTC).isoformat(timespec="seconds"),
        "bytes": run.bytes,
    }


def state(run: "Run") -> Text:
    """How far a run is, in steps."""
    words = {
        "done": f"done {run.step}",
        "running": f"running {run.step}/{run.asked['steps']}",
        "interrupted": f"interrupted {run.step}/{run.asked['steps']}",
        "damaged": "damaged",
    }[run.state]
    return Text(words, style=_STYLES[run.state])


def pair(run: "Run") -> Text:
    """Source and target."""
    return safe_text("-" if run.asked["src"] is None else f"{run.asked['src']} -> {run.asked['tgt']}")


def method(run: "Run") -> Text:
    """The method, with what makes it another one than its name says."""
    return safe_text(run.label or "-")


def score(value: float | None, constant: float | None = None) -> Text:
    """A score; in yellow where a constant answer is as good."""
    beaten = value is not None and constant is not None and value <= constant
    return Text("-" if value is None else f"{value:.1f}", style="yellow" if beaten else "")


def scores(found: Mapping[str, float | None]) -> str:
    """All scores in one cell."""
    if all(value is None for value in found.values()):
        return "-"
    return " ".join(str(score(found[key])) for key in SCORE_NAMES)


def age(run: "Run") -> str:
    """How long ago a run last wrote."""
    seconds = max(time.time() - run.changed, 0)
    name, unit = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return f"{seconds / unit:.0f} {name}"


def safe_text(value: object) -> Text:
    """Text from outside, harmless for the terminal."""
    return Text.from_markup(common.safe(value))


def value(found: object) -> str:
    """A value of the configuration."""
    return "-" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
