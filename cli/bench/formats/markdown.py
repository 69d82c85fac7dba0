"""A table of a benchmark in Markdown, as GitHub reads it."""

import re
from collections.abc import Iterator

from emodna.cli.bench.formats.layout import Laid, Signs, laid_out
from emodna.cli.bench.formats.words import caption, missing, notes
from emodna.cli.common import visible
from emodna.model.bench.tables.data import Table


def escape(text: str) -> str:
    """Text that Markdown and the HTML in it take literally, on one line."""
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", text)


SIGNS = Signs(
    escape=escape,
    bold=lambda text: f"**{text}**",
    plus_minus=" \u00b1 ",
    minus="\u2212",
    same=" =",
    below=" &lt;",
    up=" \u2191",
    down=" \u2193",
    unmarked="",
    indent="&nbsp;&nbsp;",
)


def markdown(table: Table) -> str:
    """The whole table."""
    parts = [f"**{escape(caption(table))}**"]
    for block in table.blocks:
        laid = laid_out(table, block, SIGNS)
        parts += [laid.title, "\n".join(_lines(laid))]
    parts.append("\n".join(f"- {escape(note)}" for note in notes(table)))
    if gaps := list(missing(table)):
        parts.append("Missing:")
        parts.append("\n".join(f"- {escape(gap)}" for gap in gaps))
    return "\n\n".join(parts) + "\n"


def _lines(laid: Laid) -> Iterator[str]:
    heads = [f"{group}<br>{head}" for group in laid.groups for head in laid.heads]
    yield f"| | {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(heads)
    for line in laid.lines:
        yield f"| {line.label} | {' | '.join(cell.replace('[', chr(92) + '[') for cell in line.cells)} |"
