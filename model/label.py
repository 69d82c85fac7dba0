"""Labels of methods and names of scores in tables and charts. Needs no numpy."""

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from emodna.pipeline.tasks import VALENCE

if TYPE_CHECKING:
    from emodna.pipeline.encoders.known import Exposure

#: Supervision of runs that use no target labels.
SOURCE_SUPERVISION: Final = "source"
#: Supervision of runs that use the labels of a few target utterances, which their scores leave out.
SEMI_SUPERVISED: Final = "semi-supervised"
ORACLE: Final = "oracle"
OUR_READING: Final = "our reading"
#: Mark of a result by its exposure, see `emodna.pipeline.encoders.exposure.find_exposure`; none for "no".
EXPOSURE_MARKS: Final[Mapping["Exposure", str]] = MappingProxyType({"yes": "exposed", "unknown": "exposure unknown"})
#: Exposures, the least serious first.
_EXPOSURES: Final[tuple["Exposure", ...]] = ("no", "unknown", "yes")
#: Display name of each score in results, in display order.
SCORE_NAMES: Final = MappingProxyType({"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"})


def is_oracle(supervision: object) -> bool:
    """Return True if a run with this supervision is scored on target labels that it learns from. None: unknown."""
    return supervision not in (None, SOURCE_SUPERVISION, SEMI_SUPERVISED)


def uses_target_labels(supervision: object) -> bool:
    """Return True if a run with this supervision learns from target labels: oracles, and semi-supervised runs."""
    return is_oracle(supervision) or supervision == SEMI_SUPERVISED


def mark_supervision(method: object, supervision: object, target_labels: int = 0) -> str:
    """Return the name of a method, marked if it learns from target labels.

    `target_labels` is the number of labels per class of a semi-supervised run; 0: unknown.
    """
    if is_oracle(supervision):
        return f"{method} ({ORACLE})"
    if supervision != SEMI_SUPERVISED:
        return str(method)
    count = f", {target_labels} label{'s' * (target_labels > 1)} per class" if target_labels else ""
    return f"{method} ({SEMI_SUPERVISED}{count})"


def make_label(method: str, changed: Mapping[str, Any], *, our_reading: bool, supervision: str) -> str:
    """Return the label of a method with its non-default settings, e.g. `dann + scl` or `emo-dna (threshold=none)`.

    Settings come last, where a narrow table may cut them off.
    """
    settings = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in changed.items()
        if key not in ("add", "target_labels")
    ]
    added = f" + {changed['add']}" if "add" in changed else ""
    our_mark = f" ({OUR_READING})" if our_reading else ""
    name = mark_supervision(f"{method}{added}{our_mark}", supervision, int(changed.get("target_labels", 0)))
    return f"{name} ({', '.join(settings)})" if settings else name


def read_label(config: Mapping[str, Any]) -> str | None:
    """Return the label in a run's config.json, else the method's name, marked (earlier versions), else None."""
    if isinstance(label := config.get("label"), str):
        return label
    decisive = config.get("decisive")
    method = decisive.get("method") if isinstance(decisive, dict) else None
    return mark_supervision(method, config.get("supervision", SOURCE_SUPERVISION)) if isinstance(method, str) else None


def name_scores(classes: int) -> Mapping[str, str]:
    """Return the display name of each score that a task with this number of classes has, in display order."""
    return {key: name for key, name in SCORE_NAMES.items() if key != "f1" or classes == 2}


def name_constant(constant: str, task: str) -> str:
    """Return the name of a constant predictor of results, such as always_high or prior_proportional."""
    # Results of earlier versions name the classes of every task low and high.
    if task == VALENCE.name:
        constant = {"always_low": "always_negative", "always_high": "always_positive"}.get(constant, constant)
    always, _, name = constant.partition("_")
    return f"always {name}" if always == "always" else constant.replace("_", "-")


def mark_exposure(label: object, exposure: "Exposure") -> str:
    """Return the label of a result, marked if the training of its features contained the scored corpus, or may have.

    The mark stands before the settings, which a narrow table may cut off.
    """
    if exposure == "no":
        return str(label)
    name, settings = re.fullmatch(r"(.*?)( \(\w+=.*\))?", str(label), re.DOTALL).groups("")  # type: ignore[union-attr]
    return f"{name} ({EXPOSURE_MARKS[exposure]}){settings}"


def note_exposure(exposures: Mapping[str, "Exposure"], model: str = "the model behind the features") -> list[str]:
    """Return a sentence for each mark of results on some corpora, without a full stop; the most serious one first.

    `model` names what was trained, see `emodna.pipeline.encoders.exposure.name_trained_model`. Of corpora that are not
    registered, such as recordings of the user, nobody has told whether a training contained them.
    """
    from emodna.pipeline.corpora import find_selection  # reads the entry points of packages

    groups: dict[tuple[Exposure, bool], list[str]] = {}
    for name, exposure in exposures.items():
        is_own = exposure == "unknown" and find_selection(name) is None
        groups.setdefault((exposure, is_own), []).append(name)
    texts: dict[tuple[Exposure, bool], str] = {
        ("yes", False): "{model} was trained on {names}; scores overestimate those on unseen speech",
        ("unknown", False): "{model} may have heard {names}; if so, scores overestimate those on unseen speech",
        ("unknown", True): "it is not known if {model} has heard {names}; it has not if they were never public",
    }
    return [
        f"{EXPOSURE_MARKS[key[0]]}: {text.format(model=model, names=', '.join(groups[key]))}"
        for key, text in texts.items()
        if key in groups
    ]


def combine_exposures(exposures: Iterable["Exposure"]) -> "Exposure":
    """Return the exposure of several results together: that of the most exposed one."""
    return max(exposures, key=_EXPOSURES.index, default="no")


def merge_exposures(exposures: Iterable[Mapping[str, "Exposure"]]) -> dict[str, "Exposure"]:
    """Return the exposure of each corpus over several mappings, sorted by corpus."""
    found = list(exposures)
    return {name: combine_exposures(each.get(name, "no") for each in found) for name in sorted(set().union(*found))}


def read_exposure(document: Mapping[str, Any], corpus: str) -> "Exposure":
    """Return the exposure of a corpus in a config.json or result.json; "no" if absent, as in earlier versions."""
    exposures = document.get("exposure")
    value = exposures.get(corpus, "no") if isinstance(exposures, Mapping) else "no"
    return value if value in _EXPOSURES else "unknown"
