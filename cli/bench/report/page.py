"""The page: what stands on it, and one HTML file with all that it needs."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emodna.cli.bench.report.sheets import Sheet

_HERE: Final = Path(__file__).parent
_IN_A_SCRIPT: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel of a figure, as plotly takes it."""

    title: str
    document: dict[str, Any]
    """Traces, layout and, under `height`, the pixels that it needs."""
    words: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: plots side by side, and its numbers as a table where they are few."""

    id: str
    title: str
    plots: Sequence[Plot]
    note: str = ""
    numbers: Sequence[Sheet] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    sheets: Sequence[Sheet] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    """What has to be known to read them."""
    missing: Sequence[str] = ()
    """What would stand here but is not there yet, and why."""
    parts: Sequence["Section"] = ()

    def with_parts(self) -> Iterator["Section"]:
        """It, and all in it."""
        yield self
        for part in self.parts:
            yield from part.with_parts()


@dataclass(frozen=True, slots=True)
class Page:
    """All of it."""

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str = ""

    def every_section(self) -> Iterator[Section]:
        """Sections and their parts, in order."""
        for section in self.sections:
            yield from section.with_parts()


def html(page: Page) -> str:
    """The page as one HTML document, which may load nothing and runs no script but its own two."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["embedded"] = lambda document: Markup(embedded(document))  # noqa: S704 - escaped by it
    # What a browser hashes is what lies between the tags, so nothing may be added to it there.
    scripts = [(_HERE / "page.js").read_text("utf-8"), get_plotlyjs().replace("</script", r"<\/script")]
    return environment.get_template("page.html").render(
        page=page,
        style=Markup((_HERE / "page.css").read_text("utf-8")),  # noqa: S704 - ours
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours and plotly's
        hashes=[_source_hash(script) for script in scripts],
    )


def embedded(document: object) -> str:
    """JSON that can stand between script tags, whatever its strings hold."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).translate(_IN_A_SCRIPT)


def _source_hash(script: str) -> str:
    """By which a content security policy lets a script run."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() + "'"
