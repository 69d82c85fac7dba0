"""Get a published corpus from where its authors put it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Download:
    """One file that holds a whole corpus."""

    url: str
    file: str
    """Name under which it is kept."""
    bytes: int
    checksum: str
    """Algorithm and hexadecimal digest, such as sha256:1234..., as pooch writes it."""
    confirmed: bool
    """Whether a second, independent source gives the same checksum."""
