"""Feature sets of an experiment, with the short names that its method specs and tables use. Needs no torch."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from emodna.model.config import DEFAULT_STEPS, OF_PAPER_NETWORK, OF_WINDOWS
from emodna.model.errors import BenchError
from emodna.model.feature_defaults import find_feature_defaults
from emodna.pipeline.features import FEATURE_SETS


@dataclass(frozen=True, slots=True)
class FeatureSetSummary:
    """A feature set of an experiment."""

    folder: str
    """Full name, as in the stores' folders."""
    steps: int = DEFAULT_STEPS
    """Training steps of a run if neither the experiment nor the method spec sets them."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Settings whose defaults differ from the usual ones, with their defaults on this feature set, as text."""

    @classmethod
    def of(cls, folder: str) -> "FeatureSetSummary":
        """Return a feature set, by its full name, with the defaults of this version."""
        defaults = find_feature_defaults(folder)
        return cls(folder, defaults.steps, dict(defaults.settings))

    def gives_effect(self, settings: Mapping[str, str], shared: Mapping[str, str]) -> bool:
        """Return True if each setting of a method can change its runs, besides the settings that all methods share.

        On pooled statistics, settings of windows and of the paper's network cannot. Settings that have the default of
        the feature set cannot, either.
        """
        network = {**self.defaults, **shared, **settings}.get("network", "paper")
        unused = {*OF_PAPER_NETWORK, *OF_WINDOWS} if network == "statistics" else ()
        usual = {key: value for key, value in self.defaults.items() if key not in shared}
        return not any(key in unused or usual.get(key) == value for key, value in settings.items())


def make_short_name(folder: str, taken: Collection[str] = ()) -> str:
    """Return the shortest beginning of a folder name, up to a "-", that is neither taken nor of another feature set."""
    for name in _list_beginnings(folder):
        if name not in taken and (name not in FEATURE_SETS or FEATURE_SETS[name].name == folder):
            return name
    return folder


def find_short_name(feature_sets: Mapping[str, FeatureSetSummary], name: str) -> str | None:
    """Return the short name of a feature set by its short name, its folder or a beginning of one; None if unknown.

    `feature_sets` are by short name. Raises BenchError if the beginning fits several feature sets.
    """
    if name in feature_sets:
        return name
    folder = FEATURE_SETS[name].name if name in FEATURE_SETS else name
    exact = [short for short, each in feature_sets.items() if each.folder == folder]
    found = exact or [short for short, each in feature_sets.items() if name in _list_beginnings(each.folder)]
    if len(found) > 1:
        valid = [feature_sets[short].folder for short in found]
        raise BenchError("fits several feature sets", field="feature_set", value=name, valid=valid)
    return found[0] if found else None


def name_folders(folders: Iterable[str], known: Mapping[str, FeatureSetSummary]) -> dict[str, str]:
    """Return the short name of each folder: the known one, or a new one."""
    names = {each.folder: name for name, each in known.items()}
    for folder in folders:
        if folder not in names:
            names[folder] = make_short_name(folder, names.values())
    return names


def _list_beginnings(folder: str) -> Iterator[str]:
    """Yield the beginnings of a folder name up to each "-", and the whole name."""
    parts = folder.split("-")
    return ("-".join(parts[:count]) for count in range(1, len(parts) + 1))
