"""Warnings about audio that a model can only predict badly: unlike its training audio, or longer than its window."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from emodna.cli import common
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    from emodna.model.data.domain import Deviation, Measure, TrainingDomain
    from emodna.model.inference.prediction import Prediction
    from emodna.model.inference.trained_model import TrainedModel
    from emodna.pipeline.store import FeatureStore

#: Largest number of names in a warning.
_MAX_NAMES: Final = 3
#: s: part of a recording that may be left out without a warning.
_TOLERATED_LOSS: Final = 0.05
#: Name, factor, decimals and unit of each measure in a warning.
_FORMATS: Final[Mapping["Measure", tuple[str, float, int, str]]] = {
    "bandwidth": ("bandwidth", 1.0, 0, " Hz"),
    "duration": ("duration", 1.0, 1, " s"),
    "level": ("level", 1.0, 0, " dB"),
    "clipping": ("clipped samples", 100.0, 1, " %"),
    "features": ("feature distance", 1.0, 1, ""),
}


@dataclass
class _Count:
    """Recordings with a common property, and the range of a value in them."""

    recordings: int = 0
    low: float = math.inf
    high: float = -math.inf
    names: list[str] = field(default_factory=list)
    unnamed: int = 0
    """Number of recordings whose names are not in `names`."""
    _latest: object = None

    def add(self, recording: object, name: str, value: float) -> None:
        """Count a recording, once if it is the same object as the latest one."""
        self.low, self.high = min(self.low, value), max(self.high, value)
        if recording is not self._latest:
            self._latest = recording
            self.recordings += 1
            if name in self.names:
                return
            if len(self.names) < _MAX_NAMES:
                self.names.append(name)
            else:
                self.unnamed += 1

    def list_names(self) -> str:
        """Return the first names for the terminal, and the number of recordings with other names."""
        names = ", ".join(map(common.escape, self.names))
        return f"{names} and {self.unnamed} more" if self.unnamed else names


class OutsideCounts:
    """Counts of the recordings that are outside the training audio of a model, by measure."""

    def __init__(self, domain: "TrainingDomain", store: "FeatureStore | None" = None) -> None:
        self._domain = domain
        self._unknown = domain.list_unknown_measures(store)
        self._compared = _Count()
        self._by_measure: dict[Measure, _Count] = {}

    def add(self, recording: object, name: str, deviations: "Sequence[Deviation]") -> None:
        """Count a recording by its deviations, or by those of its consecutive windows."""
        self._compared.add(recording, name, 0.0)
        for measure, value in deviations:
            self._by_measure.setdefault(measure, _Count()).add(recording, name, value)

    def print(self, kind: str, prefix: str = "") -> None:
        """Print a warning for each measure in which recordings of a kind, such as "file", are outside."""
        if self._unknown:
            unknown = ", ".join(self._unknown)
            common.note(f"{prefix}not compared with the training audio, as an earlier version prepared it: {unknown}")
        for measure, wording in _FORMATS.items():
            if (count := self._by_measure.get(measure)) is None:
                continue
            found = f"{count.recordings} of {format_count(self._compared.recordings, kind)}"
            values, unit = _word_range(wording, count.low, count.high), wording[-1]
            training = " or ".join(_word_range(wording, *each) for each in self._domain.get_ranges(measure))
            common.note(
                f"[yellow]warning:[/yellow] {prefix}{found} outside the training audio: {wording[0]} {values}{unit} "
                f"(training: {training}{unit}): {count.list_names()}"
            )


class InputWarnings:
    """Collected facts on the inputs of models, by the name of the model's run.

    Parameters
    ----------
    models
        Models by the names of their runs.
    kind
        The word for an input: "file", or "row" of a table.
    names_channel
        True if the user named a channel.
    """

    def __init__(self, models: "Mapping[str, TrainedModel]", kind: str, *, names_channel: bool) -> None:
        self._kind, self._names_channel = kind, names_channel
        self._prefixes = [f"{common.escape(name)}: " if len(models) > 1 else "" for name in models]
        self._outside = [None if each.domain is None else OutsideCounts(each.domain) for each in models.values()]
        self._seconds = [model.seconds for model in models.values()]
        self._few = [_Count() for _ in models]
        self._normalised = [_Count() for _ in models]
        self._cropped = _Count()
        self._several_channels = _Count()
        self._overloaded: dict[str, float] = {}
        for name, model in models.items():
            if model.domain is None:
                common.note(f"{common.escape(name)}: of an earlier version, so no audio is compared with its training")

    def add(self, recording: object, prediction: "Prediction") -> None:
        """Count a prediction for a recording or one of its windows; all those of a recording are consecutive."""
        counts = self._outside[prediction.model]
        if counts is not None and prediction.deviations is not None:
            counts.add(recording, prediction.file, prediction.deviations)
        if prediction.peak is not None and prediction.is_overloaded:
            self._overloaded[prediction.file] = max(prediction.peak, self._overloaded.get(prediction.file, 0.0))
        if prediction.channels is not None and prediction.channels > 1 and not self._names_channel:
            self._several_channels.add(recording, prediction.file, prediction.channels)
        if prediction.has_own_statistics is not None:
            self._normalised[prediction.model].add(recording, prediction.file, 0.0)
            if not prediction.has_own_statistics:
                self._few[prediction.model].add(recording, prediction.file, 0.0)
        start, end, duration = prediction.start, prediction.end, prediction.duration
        if start is not None and end is not None and duration is not None:
            used = min(end - start, self._seconds[prediction.model])
            if duration - used > _TOLERATED_LOSS:
                self._cropped.add(recording, prediction.file, duration)

    def print(self, *, over_time: bool) -> None:
        """Print the warnings; without `over_time`, also one on files that are longer than the window."""
        from emodna.model.data.speakers import MIN_UTTERANCES
        from emodna.pipeline.audio.quality import describe_overload

        for line in describe_overload(self._overloaded):
            common.note(f"[yellow]warning:[/yellow] {common.escape(line)}")
        for counts, prefix in zip(self._outside, self._prefixes, strict=True):
            if counts is not None:
                counts.print(self._kind, prefix)
        for few, normalised, prefix in zip(self._few, self._normalised, self._prefixes, strict=True):
            if few.recordings:
                found = f"{few.recordings} of {format_count(normalised.recordings, self._kind)}"
                why = f"because their speaker has fewer than {MIN_UTTERANCES} utterances or windows"
                if self._kind == "file":
                    why = (
                        f"because each file is taken as one speaker, with fewer than {MIN_UTTERANCES} utterances or "
                        "windows (a table with a column speaker, given as --manifest, joins the files of a speaker)"
                    )
                common.note(
                    f"{prefix}{found} normalised by the statistics of the run's target, {why}: {few.list_names()}"
                )
        if self._several_channels.recordings:
            files = format_count(self._several_channels.recordings, self._kind)
            common.note(
                f"{files} with several channels, of which channel 0 is used without --channel: "
                f"{self._several_channels.list_names()}"
            )
        if self._cropped.recordings and not over_time:
            files = format_count(self._cropped.recordings, self._kind)
            common.note(
                f"{files} longer than the model's window of {min(self._seconds):.2f} s, of which only the middle is "
                f"used without --windows: {self._cropped.list_names()}"
            )


def _word_range(wording: tuple[str, float, int, str], low: float, high: float) -> str:
    _, factor, decimals, _ = wording
    return " to ".join(dict.fromkeys(f"{end * factor:.{decimals}f}" for end in (low, high)))
