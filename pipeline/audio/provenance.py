"""The part of the audio that the features of a store come from: a channel, and a band of frequencies.

It is recorded and hashed, so that stores of other parts are other stores. No model requires it: all parts have the same
kind of features.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

#: A name such as tones-440hz has no bandwidth: the least is 500 Hz.
_SUFFIXES: Final = re.compile(
    r"(?P<name>.+?)(-channel(?P<channel>[1-9]\d*))?(-(?P<bandwidth>[5-9]\d\d|[1-9]\d{3,})hz)?"
)


@dataclass(frozen=True, slots=True)
class AudioProvenance:
    """The channel of the recordings, and the limit of their frequencies."""

    channel: int = 0
    """Channel of the file, from 0."""
    bandwidth: float | None = None
    """Highest frequency in Hz, a whole number; None: that of the file."""

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> "AudioProvenance":
        """Read the provenance from the parameters of a store."""
        return cls(parameters.get("channel", 0), parameters.get("bandwidth"))

    @property
    def parameters(self) -> dict[str, int | float]:
        """Parameters of a store that record the provenance."""
        limit = {} if self.bandwidth is None else {"bandwidth": float(self.bandwidth)}
        return {"channel": self.channel, **limit}

    @property
    def suffix(self) -> str:
        """End of the store's name, such as -channel1-4000hz; empty for the whole first channel."""
        channel = f"-channel{self.channel}" if self.channel else ""
        return channel + ("" if self.bandwidth is None else f"-{self.bandwidth:.0f}hz")

    def __str__(self) -> str:
        return f"channel {self.channel}" + ("" if self.bandwidth is None else f" up to {self.bandwidth:.0f} Hz")


def remove_provenance(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a store without its provenance: those of its features."""
    kept = dict(parameters)
    for field in fields(AudioProvenance):
        kept.pop(field.name, None)
    return kept


def split_store_name(name: str) -> tuple[str, AudioProvenance]:
    """Split the name of a store into the corpus's name and the provenance that its suffix gives."""
    match = _SUFFIXES.fullmatch(name)
    if match is None:
        return name, AudioProvenance()
    limit = match["bandwidth"]
    return match["name"], AudioProvenance(int(match["channel"] or 0), None if limit is None else float(limit))
